"""What a writer hands out for each snapshot: a Future that knows whether anybody has heard of its failure, and how long
everything took."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress

from holdfast.scarcity import Condition, as_memory_error
from holdfast.snapshot import Snapshot

_DONE = frozenset({"CANCELLED", "CANCELLED_AND_NOTIFIED", "FINISHED"})  # states of a Future
_logger = logging.getLogger("holdfast")


class Pending(Future[Snapshot]):
    """A snapshot on its way to the disk; result() returns it once it is durable, and raises why it could not be.

    Attributes:
        name: of the snapshot.
        size_bytes: of the file, as far as it is known.
        write_s: seconds that the writing took, until it was durable; None until then.
    """

    def __init__(self, name: str, size_bytes: int = 0) -> None:
        super().__init__()
        self._condition = Condition()
        self.name = name
        self.size_bytes = size_bytes
        self.write_s: float | None = None
        self._stall_s: float | None = None
        self._seen = False
        self._has_failed = False
        self._finished_by: str | None = None  # which writer; set once the job is over
        # A lock for each who waits, for either: an interrupt, or a lack of memory, leaves nothing locked that a writer
        # would need, as it may inside a Condition.
        self._waiting_done: list[threading.Lock] = []
        self._waiting_finished: list[threading.Lock] = []
        self._untold = [True]  # taken out by the thread that tells

    @property
    def stall_s(self) -> float:
        """Seconds that the caller stood still for it; set by whoever took the snapshot."""
        return self._stall_s or 0.0

    @stall_s.setter
    def stall_s(self, seconds: float) -> None:
        self._stall_s = seconds
        self._tell_once()

    @property
    def gb_per_s(self) -> float | None:
        """How fast it was written, in 1e9 bytes a second; None until it is durable."""
        return self.size_bytes / max(self.write_s, 1e-9) / 1e9 if self.write_s is not None else None

    def result(self, timeout: float | None = None) -> Snapshot:
        """The snapshot, once it is durable.

        Args:
            timeout: seconds to wait for that; None: as long as it takes.
        Raises:
            CommitError: it could not be made durable; and whatever else kept it from being written.
            CancelledError: it was skipped.
            TimeoutError: it is not done yet.
        """
        self.exception(timeout)
        return super().result()

    @as_memory_error
    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Why it could not be made durable, or None; waits as result() does. Its writer does not raise it any more."""
        if not self._is_done():
            _wait(self._waiting_done, self._is_done, timeout)
        error = super().exception(timeout if self._is_done() else 0)
        self._seen = True
        return error

    def unseen_failure(self) -> BaseException | None:
        """The failure, where there is one by now and neither result() nor exception() has handed it out."""
        if self._seen or not self._is_done() or self.cancelled():
            return None
        return super().exception()

    def is_open(self) -> bool:
        """Whether something is left to do for it, or nobody has heard of its failure."""
        return self._finished_by is None or (self._has_failed and self.unseen_failure() is not None)

    def set_result(self, result: Snapshot) -> None:
        """It is durable. For writers."""
        super().set_result(result)
        self.wake()

    def set_exception(self, exception: BaseException | None) -> None:
        """It has failed. For writers."""
        self._has_failed = True
        super().set_exception(exception)
        self.wake()

    def cancel(self) -> bool:
        """Whether it could be cancelled: not once a writer has it."""
        cancelled = super().cancel()
        if cancelled:
            self.wake()
        return cancelled

    def is_finished(self) -> bool:
        """Whether nothing is left to do for it: older snapshots are removed, too."""
        return self._finished_by is not None

    def wait_finished(self, timeout: float | None = None) -> bool:
        """Wait until nothing is left to do for it, at most `timeout` seconds; whether that is so."""
        _wait(self._waiting_finished, self.is_finished, timeout)
        return self.is_finished()

    def finish(self, writer: str) -> None:
        """Nothing is left to do for it. For writers.

        Args:
            writer: what the log calls the writer.
        """
        self._finished_by = writer
        _open(self._waiting_finished)
        self._tell_once()

    def wake(self) -> None:
        """Wake those who wait for it, which is done: what ended its setting half-way may have left them asleep. For
        writers."""
        _open(self._waiting_done)

    def _is_done(self) -> bool:
        """What done() says, without its lock, which a lack of memory might leave locked."""
        return self._state in _DONE

    def _tell_once(self) -> None:
        """One line a snapshot, when it is finished and its caller has said how long it stood still."""
        if self._finished_by is not None and self._stall_s is not None and self.write_s is not None:
            with suppress(IndexError):  # the other thread tells
                self._untold.pop()
                self._tell()

    def _tell(self) -> None:
        _logger.debug(
            "%s: %d bytes, stalled %.4f s, written in %.4f s, %.2f GB/s, by the writer '%s'",
            self.name,
            self.size_bytes,
            self.stall_s,
            self.write_s,
            self.gb_per_s,
            self._finished_by,
        )


def _wait(gates: list[threading.Lock], is_over: Callable[[], bool], timeout: float | None) -> None:
    """Wait at most `timeout` seconds until it is over, and the gates are opened."""
    gate = threading.Lock()
    gate.acquire()
    gates.append(gate)
    if not is_over():
        gate.acquire(timeout=-1 if timeout is None else max(0.0, timeout))
    gates.remove(gate)


def _open(gates: list[threading.Lock]) -> None:
    for gate in tuple(gates):  # those who go on remove theirs meanwhile
        if gate.locked():  # not in an earlier call, which something ended half-way
            gate.release()


def skipped(name: str) -> Pending:
    """What a caller hands out for a snapshot that it did not take because the writer was busy: it is cancelled."""
    pending = Pending(name)
    pending.cancel()
    pending.set_running_or_notify_cancel()  # or futures.wait() would wait for it
    pending.finish("none")
    _logger.info("%s: skipped, an earlier snapshot is still being written", name)
    return pending
