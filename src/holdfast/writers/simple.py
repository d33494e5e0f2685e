"""Writer, Chainer's face of a writer, `writer(filename, outdir, target)`; what holdfast's own have beside it; and the
one that writes while the training waits.

Users subclass these, so the methods are called as in Chainer. What a savefun writes is made durable, and then gets its
name, in the same order as a snapshot file.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from holdfast.snapshot import Snapshot
from holdfast.storage.handover import handed_over
from holdfast.writers.base import Job, WhenBusy
from holdfast.writers.carriers import Carrier, Inline
from holdfast.writers.engine import Engine
from holdfast.writers.outcome import refuse
from holdfast.writers.pending import Pending

Savefun = Callable[..., Any]

CHAINER_METHODS = "__call__ save create_worker create_task create_queue create_consumer consume".split()


class Writer:
    """The base of snapshot writers.

    A subclass defines `__call__(filename, outdir, target)`, where `target` maps names to arrays that belong to it, and
    calls `save` there, in whatever thread or process.
    """

    def __init__(self) -> None:
        self._post_save_hooks: list[Callable[[], None]] = []

    def __call__(self, filename: str, outdir: str | os.PathLike[str], target: Mapping[str, Any]) -> None:
        """Write `target` to the file `filename` in the folder `outdir`."""
        raise NotImplementedError(f"{type(self).__name__} does not define __call__(filename, outdir, target)")

    def finalize(self) -> None:
        """Called at the end of the run: whatever was given to the writer is written when it returns."""

    def save(
        self, filename: str, outdir: str | os.PathLike[str], target: Mapping[str, Any], savefun: Savefun, **kwds: Any
    ) -> None:
        """Write one file with `savefun(path, target, **kwds)`; durable under its name on return, or not there at all.

        Raises:
            CommitError: the savefun did not write exactly `path`, or the file could not be made durable; what had its
                name before is untouched.
        """
        with handed_over(os.path.join(outdir, filename)) as path:
            savefun(path, target, **kwds)
        self._post_save()

    def _add_cleanup_hook(self, hook: Callable[[], None]) -> None:
        """Have `hook()` called after each file that was saved."""
        self._post_save_hooks.append(hook)

    def _post_save(self) -> None:
        for hook in self._post_save_hooks:
            hook()


class EngineWriter(Writer):
    """A writer with an engine behind it, which takes jobs as holdfast.writers.base.Writer says. What a mapping is
    written with, and how, is a subclass's.

    Args:
        savefun: called as `savefun(path, target, **kwds)`. None: the snapshot's own format; of a mapping, by the ending
            of the name, npz or a snapshot file.
        slots: how many snapshots may be on their way at once; each takes as much memory as the state.
        when_busy: what becomes of a snapshot while all slots are in use: "wait" for one, or "skip" it.
        budget_bytes: the most memory that the copy of a state may take; None: as much as there is.
        kwds: passed on to `savefun`.
    """

    def __init__(
        self,
        savefun: Savefun | None = None,
        *,
        slots: int = 1,
        when_busy: WhenBusy = "wait",
        budget_bytes: int | None = None,
        **kwds: Any,
    ) -> None:
        super().__init__()
        if savefun is not None and not callable(savefun):
            raise TypeError(f"savefun must be callable, not {type(savefun).__name__}")
        if savefun is None and kwds:
            raise TypeError(f"{type(self).__name__}: {', '.join(kwds)}: keyword arguments are for a savefun; pass one")
        if when_busy not in ("wait", "skip"):
            raise ValueError(f"when_busy must be 'wait' or 'skip', not {when_busy!r}")
        self.savefun = savefun
        self.slots = _positive("slots", slots)
        self.when_busy: WhenBusy = when_busy
        self.budget_bytes = None if budget_bytes is None else _positive("budget_bytes", budget_bytes)
        self._savefun: Savefun = save_by_name if savefun is None else savefun  # Chainer's name for it
        self._kwds = kwds
        self._engine: Engine | None = None
        self._carrier = self._new_carrier()

    @property
    def takes_jobs(self) -> bool:
        """Whether it can write snapshot files itself: no savefun was given, and no method of Chainer's overridden, that
        would have to be called."""
        return self.savefun is None and self._carrier is not None and not self._overrides(*CHAINER_METHODS)

    @property
    def shares_memory(self) -> bool:
        """See holdfast.writers.base.Writer."""
        return self._carrier is not None and self._carrier.shares_memory

    def submit(self, job: Job) -> Pending:
        """Commit a snapshot; see holdfast.writers.base.Writer."""
        try:
            engine = self._jobs_engine()
            job.after = partial(self._after, job.after)
        except BaseException:
            refuse(job)
            raise
        return engine.submit(job)

    def close(self) -> None:
        """Return when everything is written; take no more. See holdfast.writers.base.Writer."""
        self._jobs_engine().close()

    def finalize(self) -> None:
        """Return when everything is written.

        Raises:
            Exception: what a snapshot failed with, if nobody has heard of it.
        """
        if self._engine is not None:
            self._engine.flush()

    def _after(self, after: Callable[[Snapshot], object], snapshot: Snapshot) -> None:
        after(snapshot)
        self._post_save()

    def _new_carrier(self) -> Carrier | None:
        """Where jobs are carried out; None: it takes none."""
        return None

    def _jobs_engine(self) -> Engine:
        if self._carrier is None:
            raise TypeError(f"{type(self).__name__} writes mappings, with methods of its own, and takes no jobs")
        if self._engine is None:
            self._engine = Engine(self._carrier, self.slots)
        return self._engine

    def _overrides(self, *names: str) -> bool:
        """Whether a subclass of the user's has a method of its own by one of these names."""
        owners = (next((one for one in type(self).__mro__ if name in vars(one)), Writer) for name in names)
        return any(not owner.__module__.startswith("holdfast.writers.") for owner in owners)


class SimpleWriter(EngineWriter):
    """Writes each snapshot while the training thread waits; see EngineWriter for the arguments."""

    def __call__(self, filename: str, outdir: str | os.PathLike[str], target: Mapping[str, Any]) -> None:
        """Write `target`; the file is durable on return.

        Raises:
            CommitError: it could not be made so; what had its name before is untouched.
        """
        self.save(filename, outdir, target, self._savefun, **self._kwds)

    def _new_carrier(self) -> Carrier:
        return Inline()


def save_by_name(path: str, target: Mapping[str, Any]) -> None:
    """The savefun where none is given: for a name that ends in ".npz" an npz file, else a snapshot file."""
    from holdfast import files, serializers

    if path.endswith(".npz"):
        serializers.save_npz(path, target, compression=False)
    else:
        files.save(path, target)


def _positive(name: str, value: Any) -> int:
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an int, not {value!r}") from None
    if number < 1:
        raise ValueError(f"{name} must be 1 or more, not {number}")
    return number
