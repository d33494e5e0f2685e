"""snapshot and snapshot_object: Chainer's extensions, whose files are whole, durable and verified.

An extension takes a snapshot whenever its trigger fires, after everything else in the iteration; restores the newest
good one before the run, if it is told to; and removes old ones only once a newer one is durable. It runs in holdfast's
Trainer, in Chainer's own, and in the managers of pytorch-pfn-extras; how these differ stands in snapshot_hosts.py.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

from holdfast.keep import Policy
from holdfast.series import is_of_the_machine
from holdfast.state.capture import capture
from holdfast.state.load import Builder
from holdfast.state.restore import restore
from holdfast.storage.local_upload import NO_ROOM
from holdfast.training.extension import Extension
from holdfast.training.extensions import snapshot_hosts as hosts
from holdfast.training.extensions.snapshot_arguments import Savefun, check_arguments, files_and_writer
from holdfast.training.extensions.snapshot_names import Filename, Template

if TYPE_CHECKING:
    from holdfast.training.trainer import Trainer

_log = logging.getLogger("holdfast")


def snapshot_object(
    target: Any,
    filename: Template,
    savefun: Savefun | None = None,
    *,
    condition: Callable[[], bool] | None = None,
    writer: Any = None,
    snapshot_on_error: bool = False,
    n_retains: int = -1,
    autoload: bool = False,
    num_retain: int | None = None,
    keep: Policy | None = None,
    loadfun: Savefun | None = None,
    on_failure: str = "raise",
) -> Extension:
    """An extension that takes snapshots of one object; once an epoch, unless `Trainer.extend` is told otherwise.

    Args:
        target: the object: a model, an optimizer, anything that can be captured. None means the trainer.
        filename: a format string applied to the trainer as its one positional argument, such as
            "model_{.updater.iteration:06d}" or "model_{.iteration}", or a function of the trainer that returns the
            name. A name may lead into a sub-directory of the trainer's `out`, which is made. A name ending in ".npz"
            makes an npz file, any other a snapshot file.
        savefun: called as `savefun(path, mapping)` instead, with names and arrays that belong to it; it must create
            exactly `path`. The file is then made durable and gets its name.
        condition: called without arguments before each snapshot; where it returns False, nothing happens at all.
        writer: decides when and in which thread a snapshot is written: one of holdfast.writers, or any callable
            `writer(filename, outdir, mapping)`; where it has a `finalize`, that is called at the end of the run.
        snapshot_on_error: take one more when the loop fails with an Exception, whatever trigger and condition say. It
            is labelled so, and never replaces or outranks a good one: where its name is taken, ".error" is added to it.
        n_retains: keep so many of the newest; 0 and below: all.
        autoload: before the run, restore the newest one that is good, passing over damaged ones.
        num_retain: deprecated; means `n_retains`.
        keep: a policy of holdfast.keep, instead of `n_retains`.
        loadfun: called as `loadfun(path, target)` to restore what a `savefun` of one's own wrote.
        on_failure: "raise": an error of writing ends the run; "warn": where the machine could not do it (a full or
            failing disk, no memory, an OSError of a savefun), it costs that snapshot, and is logged as a WARNING.
            Errors of the program end the run in either case.
    Returns:
        The extension: trigger (1, "epoch"), priority -100.
    Raises:
        TypeError: an argument is of the wrong kind, or two that exclude one another were given.
        ValueError: the filename cannot be used, or cannot be used with `n_retains`, `keep` or `autoload`.
    """
    return _Snapshot(
        "snapshot_object", target, filename, savefun,
        condition=condition, writer=writer, snapshot_on_error=snapshot_on_error, n_retains=n_retains, autoload=autoload,
        num_retain=num_retain, keep=keep, loadfun=loadfun, on_failure=on_failure,
    )  # fmt: skip


def snapshot(
    savefun: Savefun | None = None,
    filename: Template = "snapshot_iter_{.updater.iteration}",
    *,
    target: Any = None,
    condition: Callable[[], bool] | None = None,
    writer: Any = None,
    snapshot_on_error: bool = False,
    n_retains: int = -1,
    autoload: bool = False,
    num_retain: int | None = None,
    keep: Policy | None = None,
    loadfun: Savefun | None = None,
    on_failure: str = "raise",
) -> Extension:
    """An extension that takes snapshots of the whole trainer: updater, targets, iterators, triggers, extensions,
    elapsed time, and the global random generators of Python, NumPy and torch. A run that is resumed from one goes on
    bit for bit.

    Args:
        savefun: see `snapshot_object`, as for every other argument.
        filename: by default "snapshot_iter_{.updater.iteration}".
        target: what to take snapshots of; None means the trainer.
    Returns:
        The extension: trigger (1, "epoch"), priority -100.
    Raises:
        TypeError: an argument is of the wrong kind, or two that exclude one another were given.
        ValueError: the filename cannot be used, or cannot be used with `n_retains`, `keep` or `autoload`.
    """
    return _Snapshot(
        "snapshot", target, filename, savefun,
        condition=condition, writer=writer, snapshot_on_error=snapshot_on_error, n_retains=n_retains, autoload=autoload,
        num_retain=num_retain, keep=keep, loadfun=loadfun, on_failure=on_failure,
    )  # fmt: skip


class _Snapshot(Extension):
    """Both extensions. Its name is what trainers register it under, and a key in old snapshots of trainers."""

    trigger = (1, "epoch")
    priority = -100
    is_snapshot = True
    needs_model_state = True  # a manager of pytorch-pfn-extras would close its models otherwise

    def __init__(
        self,
        function: str,  # that was called, for messages
        target: Any,
        filename: Template,
        savefun: Savefun | None,
        *,
        condition: Callable[[], bool] | None,
        writer: Any,
        snapshot_on_error: bool,
        n_retains: int,
        autoload: bool,
        num_retain: int | None,
        keep: Policy | None,
        loadfun: Savefun | None,
        on_failure: str,
    ) -> None:
        if num_retain is not None:
            warnings.warn(f"{function}: num_retain is deprecated, use n_retains", DeprecationWarning, stacklevel=3)
            n_retains = num_retain
        check_arguments(function, savefun, condition, writer, n_retains, keep, loadfun, on_failure)
        self._names = Filename(filename)
        role = "trainer" if target is None else "object"
        self.filename = filename
        self.condition = condition if condition is not None else lambda: True
        self.n_retains = n_retains
        self.autoload = autoload
        self._function = function
        self._target = target
        self._on_error = bool(snapshot_on_error)
        self._on_failure = on_failure
        self._files, self.writer = files_and_writer(
            function, self._names, role, bool(autoload), savefun, writer, n_retains, keep, loadfun
        )
        self._resumed = False
        self._restored: hosts.HostState | None = None

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """The class; in the eyes of pytorch-pfn-extras one of its own."""
        return hosts.class_for_hosts(_Snapshot)

    @property
    def resume_last(self) -> bool:  # type: ignore[override]
        """A trainer's own snapshot has the last word over those of its parts."""
        return self._target is None

    def __call__(self, trainer: Trainer) -> None:
        """Take a snapshot, where the condition holds."""
        if self.condition():
            self._take(trainer, "trigger")

    def resume(self, trainer: Trainer) -> str | None:
        """Restore the newest good snapshot, if the extension was told to; returns the file's name, or None.

        Raises:
            StoreLockedError: another process writes into the trainer's folder.
            DamagedError: there are snapshots, and every one is damaged.
            MismatchError: the newest good one does not fit; nothing was changed.
        """
        self._resumed = True
        self._open(trainer)
        try:
            return self._load(trainer) if self.autoload else None
        except BaseException:
            self._files.close()  # a trainer does not finalize what did not begin
            raise

    def initialize(self, trainer: Trainer) -> str | None:
        """Resume, in a host that does not call `resume`; where somebody else has called it, finish it."""
        if not self._resumed:
            return self.resume(trainer)
        if self._restored is not None:
            self._restored.set_generators_again()
        return None

    def on_error(self, trainer: Trainer, exc: Exception, tb: TracebackType | None) -> None:
        """Take a snapshot of the failed run, where the extension was told to."""
        if not self._on_error:
            return
        hosts.open_after_error(trainer)
        try:
            self._take(trainer, "error")
        except Exception:  # noqa: BLE001  not every host keeps it from taking the place of the loop's error
            _log.exception("the snapshot of the failed run was not taken; the error of the loop is raised")

    def finalize(self, manager: object = None) -> None:
        """Finish what is being written, and let other processes write here."""
        try:
            finalize = getattr(self.writer, "finalize", None)
            if finalize is not None:
                finalize()
        except (OSError, MemoryError) as error:
            if not self._is_only_told(error):
                raise
            self._warn("the last snapshot", error)
        finally:
            self._files.close()

    def will_resume(self, trainer: Trainer) -> bool:
        """Whether `resume` finds something to restore the whole trainer from, or to fail with."""
        if not (self.autoload and self._target is None):
            return False
        self._files.open(trainer)
        return self._files.has_any()

    def prepare(self, trainer: Trainer) -> None:
        """Have memory ready for the first snapshot; a trainer calls this once the state has its final shape."""
        self._files.prepare(self._state(trainer), self.writer)

    def state_dict(self) -> dict[str, Any]:
        """What `serialize` saves, for a host that asks for a dict."""
        state: dict[str, Any] = Builder(None).build(capture(self).root)
        return state

    def load_state_dict(self, to_load: dict[str, Any]) -> None:
        """Have `serialize` restore what `state_dict` gave."""
        restore(capture(to_load), self)

    def _open(self, trainer: Trainer) -> None:
        self._files.open(trainer)
        self._files.lock()

    def _load(self, trainer: Trainer) -> str | None:
        if self._target is not None and _is_restored_with_the_trainer(trainer, self._target):
            _log.info("%s: not loaded by itself, it is restored with the trainer", self._names.template)
            return None
        state = self._state(trainer)
        loaded = self._files.resume(state, self.writer)
        if isinstance(state, hosts.HostState):
            self._restored = state
        return loaded

    def _state(self, trainer: Trainer) -> Any:
        return hosts.state_of(trainer) if self._target is None else self._target

    def _take(self, trainer: Trainer, reason: str) -> None:
        name = self._names.of(trainer)
        which = f"the snapshot '{name}'"
        warn = partial(self._warn, which) if self._on_failure == "warn" else None
        try:
            self._open(trainer)  # a host initializes no extension whose trigger says that it will not fire
            pending = self._files.write(trainer, name, self._state(trainer), reason, self.writer, warn)
            if pending is not None and pending.unseen_failure() is not None:
                pending.result()
        except (OSError, MemoryError) as error:
            if not self._is_only_told(error):
                raise
            self._warn(which, error)

    def _is_only_told(self, error: BaseException) -> bool:
        return self._on_failure == "warn" and is_of_the_machine(error)

    def _warn(self, which: str, error: BaseException, *, is_earlier: bool = False) -> None:
        if is_earlier:  # a writer in the background says it at the next call; its error has the name
            which = "an earlier snapshot"
        why = str(error) or type(error).__name__
        if getattr(error, "errno", None) in NO_ROOM and " bytes, " not in why:  # a savefun's own words
            why = f"{why}; {self._files.needed_and_free()}"
        _log.warning("%s was not taken, and training goes on: %s", which, why)


def _is_restored_with_the_trainer(trainer: Trainer, target: Any) -> bool:
    others = [extension for extension in hosts.extensions_of(trainer) if isinstance(extension, _Snapshot)]
    return any(other.will_resume(trainer) for other in others) and hosts.holds(trainer, target)
