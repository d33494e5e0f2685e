"""A series of snapshots of one collection: capture, stage, hand over to a writer. The store and the extensions use it.

Whoever saves stands still for the copy into the arena, and for as long as every arena is in use.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from typing import Any

from holdfast.catalog import Collection
from holdfast.errors import CaptureError, CommitError, StagingError
from holdfast.format.prefix import Facts
from holdfast.lock import Lock
from holdfast.memory import Memory
from holdfast.scarcity import is_lack_of_memory
from holdfast.snapshot import Json, Snapshot
from holdfast.staging import Arena, Arenas, Placed, Staged
from holdfast.storage.local import LocalStorage
from holdfast.writers import Handoff, Job, Pending, Writer, skipped

_logger = logging.getLogger("holdfast")


class Series:
    """Takes the snapshots of one collection.

    Args:
        collection: where they go.
        writer: commits them; its `slots`, `when_busy`, `budget_bytes` and `shares_memory` say how many may be under
            way, what becomes of one too many, and how much memory each may take. A writer that lacks these may have as
            many as it likes.
        lock: the right to write to the collection's directory; a writer process shares it.
    """

    def __init__(self, collection: Collection, writer: Writer, lock: Lock | None) -> None:
        self._collection = collection
        self._writer = writer
        self._lock = lock
        self._budget_bytes: int | None = getattr(writer, "budget_bytes", None)
        self._skips = getattr(writer, "when_busy", "wait") == "skip"
        self._arenas = Arenas(
            getattr(writer, "slots", None),
            budget_bytes=self._budget_bytes,
            shared=getattr(writer, "shares_memory", False),
        )
        self._pending: list[Pending] = []

    def prepare(self, target: Any) -> None:
        """Have memory ready for the first snapshot of `target`; it is touched in the background.

        Where that cannot be, the first snapshot will say why.
        """
        arena = self._arenas.take(wait=False)
        if arena is None:  # they are warm
            return
        try:
            arena.prepare(self._arenas.planner.read(target))
        except (CaptureError, StagingError) as error:
            _logger.debug("no memory was made ready for snapshots: %s", str(error))
        finally:
            self._arenas.give_back(arena, arena.lease)

    @contextmanager
    def room(self) -> Iterator[Memory | None]:
        """Memory to read a file through, which is warm for the first snapshot afterwards; None where there is none to
        spare. Nothing may look into it when the block ends."""
        arena = None if self._budget_bytes is not None else self._arenas.take(wait=False)
        try:
            yield None if arena is None else arena.memory
        finally:
            if arena is not None:
                self._arenas.give_back(arena, arena.lease)

    def save(
        self,
        target: Any,
        new_facts: Callable[[], Facts],
        name: str,
        metadata: Mapping[str, Json] | None = None,
        *,
        must: bool = False,
        warn: Callable[[BaseException], object] | None = None,
    ) -> Pending:
        """Take a snapshot of `target`: its state at this moment, whatever the caller does next.

        Args:
            new_facts: gives its facts; called once it is staged.
            name: of the file.
            must: wait for an arena, even if the writer skips snapshots while it is busy.
            warn: is told what the snapshot failed with, once, from whatever thread, where that is of the machine; it is
                then raised by nothing but the Future. None: it is raised.
        Returns:
            Its Future; cancelled where the writer is busy and skips.
        Raises:
            CaptureError: something in `target` cannot be kept; nothing was written.
            StagingError: there is no memory for a copy of the state.
            OSError: the listing of the snapshots, which gives its number, cannot be read.
            Exception: what an earlier snapshot failed with, if nobody has heard of it; this one is taken all the same.
        """
        began = time.perf_counter()
        arena = self._arenas.take(wait=must or not self._skips)
        if arena is None:
            return skipped(os.path.join(self._collection.storage.location, name))
        try:
            arena.expect()
            staged = arena.stage(self._arenas.planner.read(target))
            job = self._job(arena, staged, new_facts(), metadata)
            if warn is not None:
                job.pending.add_done_callback(partial(_tell, warn))
            self._pending = [*[one for one in self._pending if one.is_open()], job.pending]
        except BaseException as error:
            self._arenas.give_back(arena, arena.lease)
            if warn is None or not is_of_the_machine(error):
                raise
            return self._failed(name, error, warn)
        try:
            self._writer.submit(job)
        finally:
            job.pending.stall_s = time.perf_counter() - began
        return job.pending

    def pending(self) -> list[Pending]:
        """Those that are not finished, or whose failure nobody may have heard of."""
        return list(self._pending)

    def _failed(self, name: str, error: BaseException, warn: Callable[[BaseException], object]) -> Pending:
        """The Future of a snapshot that no writer was given."""
        pending = Pending(os.path.join(self._collection.storage.location, name))
        pending.set_running_or_notify_cancel()
        pending.add_done_callback(partial(_tell, warn))
        pending.set_exception(error)
        pending.finish("none")
        return pending

    def _job(self, arena: Arena, staged: Staged, facts: Facts, metadata: Mapping[str, Json] | None) -> Job:
        collection = self._collection
        placed: list[Placed] = []

        def place() -> Placed:
            placed.append(staged.image(facts, metadata))
            return placed[-1]

        def commit() -> Snapshot:
            return collection.commit(place(), facts)

        def committed() -> Snapshot:
            return collection.committed(facts, placed[-1].size_bytes)

        can_share = arena.memory.fd >= 0 and isinstance(collection.storage, LocalStorage)
        return Job(
            facts.name,
            commit,
            handoff=partial(self._handoff, place, facts.name) if can_share else None,
            committed=committed,
            release=partial(self._arenas.give_back, arena, arena.lease),
            after=collection.retain,
            size_bytes=staged.data_bytes,
        )

    def _handoff(self, place: Callable[[], Placed], name: str) -> Handoff:
        placed = place()
        image, memory = placed.image, placed.memory
        return Handoff(
            directory=self._collection.storage.location,
            name=name,
            memory_fd=memory.fd,
            memory_bytes=memory.size_bytes,
            data_bytes=placed.data_bytes,
            header_at=placed.header_at,
            header_bytes=len(image.header),
            checksums_at=image.checksums_at,
            ends_at=placed.ends_at,
            leaf_count=len(image.ends),
            lock_fd=-1 if self._lock is None else self._lock.share(),
        )


def is_of_the_machine(error: BaseException | None) -> bool:
    """Whether an error says that the machine could not do it (a full or failing disk, no memory), and not that the
    program is wrong. What a savefun raised counts as what it was, whoever wrapped it."""
    if isinstance(error, CommitError) and not error.errno and error.__cause__ is not None:
        return is_of_the_machine(error.__cause__)
    return isinstance(error, OSError) or (error is not None and is_lack_of_memory(error))


def _tell(warn: Callable[[BaseException], object], pending: Future[Snapshot]) -> None:
    """Where a failure is only to be told, hear of it before the writer raises it."""
    assert isinstance(pending, Pending)
    error = pending.unseen_failure()
    if error is not None and is_of_the_machine(error):
        pending.exception()
        warn(error)
