"""SnapshotStore: the snapshots of one run in one directory. Start here.

save: the state is captured and staged, and the caller may train on; a writer commits it; once it is durable, and never
before, retention removes what the policy no longer wants. resume: from the newest snapshot that is whole, walking back.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from functools import partial
from types import TracebackType
from typing import Any, Literal, TypeVar

from holdfast import arguments
from holdfast.catalog import Collection
from holdfast.catalog.templates import check_step_template
from holdfast.errors import StoreLockedError
from holdfast.files import restore_through
from holdfast.format import header
from holdfast.format.prefix import Facts
from holdfast.keep import Mode, Policy
from holdfast.lock import Lock, acquire
from holdfast.retention import Plan
from holdfast.scarcity import as_memory_error
from holdfast.series import Series
from holdfast.snapshot import Json, Snapshot
from holdfast.storage.base import Storage
from holdfast.storage.local import LocalStorage
from holdfast.storage.memory import MemoryStorage
from holdfast.writers import Pending, Writer

T = TypeVar("T")

_ROLE = "store"
_logger = logging.getLogger("holdfast")


class SnapshotStore:
    """A directory of snapshots, and everything that may be done to it.

    Opened for writing it is locked against other processes, and what dead writers left is swept. It is a context
    manager, which closes it. A store that is never closed does no harm: the lock ends with the process, and every
    snapshot that was acknowledged is on the disk. A forked child may read from its parent's store, but not write to it.

    Args:
        location: the directory; made, with those above it, where it is missing.
        readonly: write nothing at all, not even a lock; a missing directory is an empty store. Methods that write raise
            PermissionError.
        filename: the name of each file: a format string whose only field is `step`, in decimal digits. It may lead into
            sub-directories, which are made. Only snapshots that were saved with this template (its format spec aside)
            are the store's own.
        keep: which snapshots stay once a new one is durable: keep.last(3), best, every, joined by |. None: all.
        writer: decides when and in which thread or process a snapshot is committed: one of holdfast.writers; the store
            closes it. None: a ThreadWriter, whose thread writes while the caller trains on.
        on_failure: what becomes of a snapshot that the machine cannot make: the disk is full or fails, there is no
            memory. "raise": `save` raises it where nothing was handed to the writer; else the Future does, or, where
            nobody asks that, the next `save`, `wait` or `close`. "warn": it costs that snapshot only; it is logged
            once, as a WARNING, and only the Future raises it. Errors of the program are raised in either case.
    Raises:
        StoreLockedError: another process has this store open for writing.
        ValueError, TypeError: an argument is not as described.
        OSError: the directory cannot be made, or read.
    """

    def __init__(
        self,
        location: str | os.PathLike[str],
        *,
        readonly: bool = False,
        filename: str = "snapshot_{step:08d}.safetensors",
        keep: Policy | None = None,
        writer: Writer | None = None,
        on_failure: Literal["raise", "warn"] = "raise",
    ) -> None:
        if on_failure not in ("raise", "warn"):
            raise ValueError(f"on_failure must be 'raise' or 'warn', not {on_failure!r}")
        self._location = arguments.location(location)
        self._filename = check_step_template(filename)
        self._keep = arguments.policy(keep)
        self._writer = arguments.writer(writer)
        self._on_failure = on_failure
        self._readonly = readonly
        self._closed = False
        self._pid = os.getpid()
        self._lock: Lock | None = None
        if readonly:
            self._open(_Missing(self._location))
            self._reading()
            return
        self._open(LocalStorage(self._location))
        self._lock = acquire(self._location)
        try:
            self._storage.sweep(self._collection.catalog.depth)
            self._series = Series(self._collection, self._writer, self._lock)
            _logger.debug("%s: opened by the run %s", self._location, self._collection.run_id)  # reads the headers
        except BaseException:
            self._lock.release()
            raise

    def _open(self, storage: Storage) -> None:
        self._storage = storage
        self._collection = Collection(storage, template=self._filename, role=_ROLE, keep=self._keep)

    def __enter__(self) -> SnapshotStore:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self.close()
        except Exception as late:
            if error is None:
                raise
            _logger.error("%s; the error that ended the block is raised", str(late))

    @property
    def location(self) -> str:
        """The directory's absolute path."""
        return self._location

    @property
    def run_id(self) -> str:
        """32 hex digits, kept across the restarts of a run: those of the newest snapshot when the store was opened."""
        return self._reading().run_id

    @as_memory_error
    def save(
        self,
        step: int,
        target: object,
        *,
        metrics: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Json] | None = None,
    ) -> Pending:
        """Take a snapshot of `target`: its state at this moment, whatever the caller does next.

        Args:
            step: finished steps, 0 or more. A snapshot of the same step is replaced; the new one counts as the newest.
            target: what holdfast.save takes.
            metrics: what was measured at this step, by name: numbers, or arrays and tensors of no dimension. `best` and
                the policy keep.best look at them.
            metadata: JSON values to keep with it under str keys.
        Returns:
            A Future of the Snapshot, done when it is durable; its `stall_s` has the seconds that this call took, its
            `write_s` those until it was durable. Where the writer is busy and skips, it is cancelled. Its result()
            raises CommitError where it could not be made durable, and CaptureError where metrics, metadata and plain
            values take more room than a header has.
        Raises:
            CaptureError: something in `target` cannot be kept; names its path. Nothing was written.
            StagingError: there is no memory for a copy of the state; with on_failure="warn" the Future has it.
            TypeError, ValueError: an argument is not as described, or the store is closed.
            PermissionError: the store is readonly.
            CommitError: of an earlier snapshot, if nobody has heard of it; this one was taken nevertheless.
        """
        collection = self._writing()
        step = arguments.step(step)
        name = self._filename.format(step=step)
        measured = arguments.metrics(metrics) if metrics else None
        checked = header.check_metadata(metadata) if metadata else None

        def new_facts() -> Facts:
            return collection.new_facts(name, step=step, metrics=measured)

        warn = partial(_warn, os.path.join(self._location, name)) if self._on_failure == "warn" else None
        return self._series.save(target, new_facts, name, checked, warn=warn)

    @as_memory_error
    def prepare(self, target: object) -> None:
        """Have memory ready for the first snapshot of `target`, so that this one is no slower than later ones.

        Returns at once; the memory is touched in the background. `resume` does it, too: call this where a state has
        grown since, as an optimizer's does in its first step.

        Args:
            target: what `save` is going to be given. Where it cannot be kept, the first `save` says so.
        """
        self._writing()
        self._series.prepare(target)

    @as_memory_error
    def resume(self, target: T, *, step: int | None = None, strict: bool = True) -> tuple[T, Snapshot | None]:
        """Put the newest snapshot that is whole into `target`.

        Snapshots are tried by the order of their commits, newest first, those that were taken on an error only where
        there is no other. One that is damaged is logged and passed over. Every checksum is verified before anything is
        changed.

        Args:
            target: what holdfast.restore takes; for example a dict of a model and an optimizer.
            step: that snapshot, and no other.
            strict: as in holdfast.restore.
        Returns:
            The target, or a new object where it cannot change in place; and the snapshot, or None where the store is
            empty.
        Raises:
            MismatchError: the newest one that is whole does not fit; nothing was changed.
            DamagedError: there are snapshots, or there is one of that step, and none is whole.
            NotFoundError: there is none of that step; says which there are.
            UnknownFormatError: it holds something that this holdfast, or the target's framework, cannot read.
        """
        wanted = None if step is None else arguments.step(step)
        collection = self._reading()
        with self._series.room() if self._is_writable() else nullcontext() as room:
            found = collection.resume(
                lambda snapshot: restore_through(room, snapshot, target, strict=strict), step=wanted
            )
        resumed = (target, None) if found is None else found
        if self._is_writable():
            self._series.prepare(resumed[0])
        return resumed

    def snapshots(self) -> list[Snapshot]:
        """Every snapshot, by the order of the commits, oldest first; from the headers, so that damage to what follows
        them does not show. Files with a damaged header are left out."""
        return list(self._reading().read().snapshots)

    def at(self, step: int) -> Snapshot:
        """The snapshot of a step. Raises NotFoundError, which says which steps there are."""
        return self._reading().read().at(arguments.step(step))

    def latest(self) -> Snapshot | None:
        """The newest snapshot, or None; one that was taken on an error only where there is no other."""
        return self._reading().read().latest()

    def best(self, metric: str, *, mode: Mode) -> Snapshot | None:
        """The snapshot with the best value of a metric; of equal ones the older. None where the store is empty, or the
        value is NaN everywhere.

        Args:
            metric: a name among the metrics that snapshots were saved with.
            mode: "min" where less is better, "max" where more is.
        Raises:
            NotFoundError: no snapshot has this metric; says which there are.
            ValueError: `mode` is neither.
        """
        return self._reading().read().best(metric, mode)

    def plan(self, keep: Policy | None = None) -> Plan:
        """What `prune` would do, going by the headers: where it finds damage behind one, it keeps another instead.

        Args:
            keep: the policy; None: the store's own.
        """
        return self._reading().plan(self._keep if keep is None else arguments.policy(keep))

    def prune(self, keep: Policy | None = None) -> Plan:
        """Remove what a policy does not want. Of those that stay for the policy, and of the newest, each that this
        process does not know to be whole is read in full first.

        Args:
            keep: the policy; None: the store's own.
        Returns:
            What was kept, with the reasons, and what was removed; damaged ones are in neither, and stay.
        Raises:
            CommitError: some could not be removed; names the first.
            PermissionError: the store is readonly.
        """
        return self._writing().prune(self._keep if keep is None else arguments.policy(keep))

    def pin(self, step: int) -> Snapshot:
        """Keep the snapshot of a step, and what replaces it, whatever a policy says; durable on return.

        Raises:
            NotFoundError: there is no snapshot of that step; says which there are.
            CommitError: the pin could not be written.
            PermissionError: the store is readonly.
        """
        catalog = self._writing().catalog
        snapshot = catalog.read().at(arguments.step(step))
        catalog.pin(snapshot)
        return snapshot

    def unpin(self, step: int) -> Snapshot:
        """Let policies decide again about the snapshot of a step, pinned or not. Raises what pin raises."""
        catalog = self._writing().catalog
        snapshot = catalog.read().at(arguments.step(step))
        catalog.unpin(snapshot)
        return snapshot

    def wait(self) -> None:
        """Return when every snapshot that was saved is durable, or has failed.

        Raises:
            CommitError: one has failed, and nobody has heard of it; with on_failure="warn" the log has.
        """
        self._check_open()
        if not self._is_writable():  # a forked child: the parent writes them
            return
        pending = self._series.pending()
        for one in pending:
            one.wait_finished()
        for one in pending:
            if one.unseen_failure() is not None:
                one.result()

    def close(self) -> None:
        """Wait for what was saved, and let other processes write to the store. Again, and in a forked child: nothing.

        Raises:
            CommitError: a snapshot has failed, and nobody has heard of it; with on_failure="warn" the log has.
        """
        if self._closed:
            return
        self._closed = True
        if os.getpid() != self._pid:
            return
        try:
            self._writer.close()
        finally:
            if self._lock is not None:
                self._lock.release()

    def _reading(self) -> Collection:
        self._check_open()
        if isinstance(self._storage, _Missing):
            with suppress(FileNotFoundError):
                self._open(LocalStorage(self._location, create=False))
        return self._collection

    def _writing(self) -> Collection:
        self._check_open()
        if self._readonly:
            raise PermissionError(
                errno.EACCES, "this store was opened with readonly=True; open it without to write to it", self._location
            )
        if os.getpid() != self._pid:
            raise StoreLockedError(
                f"{self._location}: this store was opened by process {self._pid}, and this is a forked child of it; "
                "write to it there, and read from it here"
            )
        return self._collection

    def _is_writable(self) -> bool:
        return not self._readonly and os.getpid() == self._pid

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError(f"{self._location}: this store is closed; open it again")


class _Missing(MemoryStorage):
    """What a directory that is not there looks like."""

    def __init__(self, location: str) -> None:
        super().__init__()
        self._location = location

    @property
    def location(self) -> str:
        return self._location


def _warn(path: str, error: BaseException) -> None:
    _logger.warning("%s: not kept, and training goes on: %s", path, str(error) or type(error).__name__)
