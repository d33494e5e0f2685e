"""What every writer offers, and what it is given to do. Writers know nothing of trees and formats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

from holdfast.snapshot import Snapshot
from holdfast.writers.pending import Pending

WhenBusy = Literal["wait", "skip"]


class Parcel(Protocol):
    """What another process is given to write a snapshot from."""

    def message(self) -> dict[str, Any]:
        """What it must know, as JSON values."""

    def descriptors(self) -> Sequence[int]:
        """The files that it must have open: the memory first."""


@dataclass(frozen=True, slots=True)
class Handoff:
    """A snapshot file in shared memory, for another process to write: the data from the start of the memory on, then
    the header, which lacks the checksums, and a table of uint64 that says where each leaf ends in the data."""

    directory: str  # of the storage, absolute
    name: str  # inside it
    memory_fd: int  # a memfd
    memory_bytes: int
    data_bytes: int
    header_at: int
    header_bytes: int
    checksums_at: int  # in the header
    ends_at: int
    leaf_count: int
    lock_fd: int  # as long as any process has it open, later processes wait; -1 where there are no locks

    def message(self) -> dict[str, Any]:
        """See Parcel."""
        return asdict(self)

    def descriptors(self) -> Sequence[int]:
        """See Parcel."""
        return [fd for fd in (self.memory_fd, self.lock_fd) if fd >= 0]


def nothing(*arguments: object) -> None:
    """Does nothing."""


@dataclass(eq=False, slots=True)
class Job:
    """One snapshot to be committed.

    Whoever carries it out calls `release`, then sets the result of `pending`, then calls `after`; it lets go of all of
    them, and of what they hold, when it is done.
    """

    name: str
    commit: Callable[[], Snapshot]  # writes it in this process, from any thread; durable on return
    handoff: Callable[[], Parcel] | None = None
    """Makes it ready for another process, within submit(); None: only this process can write it."""
    committed: Callable[[], Snapshot] | None = None
    """What commit() would have returned, once another process has written it."""
    release: Callable[[], object] = nothing
    """Its memory may be used again. Called whatever came of it, as soon as nothing reads the memory any more; once more
    where something ended that half-way, which then does what is left, or nothing."""
    after: Callable[[Snapshot], object] = nothing  # called once it is durable and its Future done
    size_bytes: int = 0  # of the file; 0: as the Snapshot says
    pending: Pending = field(init=False)
    _owner: dict[str, object] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.pending = Pending(self.name, self.size_bytes)
        self._owner = {}

    def claim(self, by: object) -> bool:
        """Whether `by` is to carry it out: the first who asks, in whatever thread, and nobody else. It may ask again:
        an interrupt may have taken the answer away."""
        return self._owner.setdefault("", by) is by

    def disclaim(self) -> None:
        """Let somebody else claim it."""
        self._owner.clear()

    def forget(self) -> None:
        """Let go of everything but the name and the Future."""
        self.commit = _forgotten
        self.handoff = self.committed = None
        self.release = self.after = nothing


class Writer(Protocol):
    """Carries out jobs, one after the other, in the order in which they were submitted.

    A failure that its Pending has not handed out is raised at the next submit(), which takes its own job nevertheless:
    a loop that ends there has lost one snapshot and not two. At the latest it is raised at close().

    Attributes:
        slots: how many jobs may be unfinished at once. A caller that stages needs as many arenas.
        when_busy: what the caller does while all of them are in use: "wait", or "skip" the snapshot.
        budget_bytes: the most that one arena may take; None: as far as there is memory.
        shares_memory: whether another process reads the arenas, which must be in shared memory then.
    """

    slots: int
    when_busy: WhenBusy
    budget_bytes: int | None

    @property
    def shares_memory(self) -> bool: ...

    def submit(self, job: Job) -> Pending:
        """Have a job carried out; returns once fewer than `slots` others are unfinished.

        Raises:
            ValueError, RuntimeError: the writer is closed, or belongs to the process that forked this one. The job was
                not taken; its memory was released.
            Exception: what an earlier job failed with; this one was submitted all the same.
        """

    def close(self) -> None:
        """Return when every job is done; submit() may not be called any more. Again: does nothing.

        Raises:
            Exception: what a job failed with.
        """


def _forgotten() -> Snapshot:
    raise RuntimeError("this job was carried out before")
