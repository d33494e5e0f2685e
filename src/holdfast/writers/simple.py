"""Writer and SimpleWriter: Chainer's face of a writer, `writer(filename, outdir, target)`, over holdfast's.

Users subclass these, so the methods are called as in Chainer. What a savefun writes is made durable, and then gets its
name, in the same order as a snapshot file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from holdfast.storage.handover import handed_over
from holdfast.writers.base import Job
from holdfast.writers.inline import InlineWriter
from holdfast.writers.pending import Pending

Savefun = Callable[..., Any]


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


class SimpleWriter(Writer):
    """Writes each snapshot while the training thread waits.

    Args:
        savefun: called as `savefun(path, target, **kwds)`. None: the snapshot's own format; of a mapping, by the ending
            of the name, npz or a snapshot file.
        kwds: passed on to it.
    """

    def __init__(self, savefun: Savefun | None = None, **kwds: Any) -> None:
        super().__init__()
        if savefun is not None and not callable(savefun):
            raise TypeError(f"savefun must be callable, not {type(savefun).__name__}")
        self.savefun = savefun
        self._kwds = kwds
        self._inline = InlineWriter()

    def __call__(self, filename: str, outdir: str | os.PathLike[str], target: Mapping[str, Any]) -> None:
        """Write `target`; the file is durable on return.

        Raises:
            CommitError: it could not be made so; what had its name before is untouched.
        """
        savefun = self.savefun if self.savefun is not None else _savefun_for(filename)
        self.save(filename, outdir, target, savefun, **self._kwds)

    def submit(self, job: Job) -> Pending:
        """Commit a snapshot; see holdfast.writers.base.Writer."""
        pending = self._inline.submit(job)
        if pending.exception() is None:
            self._post_save()
        return pending

    def close(self) -> None:
        """Nothing is left to do."""
        self._inline.close()

    def finalize(self) -> None:
        """Nothing is left to do."""


def _savefun_for(filename: str) -> Savefun:
    from holdfast import files, serializers

    if not filename.endswith(".npz"):
        return files.save
    return lambda path, target: serializers.save_npz(path, target, compression=False)
