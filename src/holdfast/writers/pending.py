"""What a writer hands out for each snapshot: a Future that knows whether anybody has heard of its failure."""

from __future__ import annotations

from concurrent.futures import Future

from holdfast.snapshot import Snapshot


class Pending(Future[Snapshot]):
    """A snapshot on its way to the disk; result() returns it once it is durable, and raises why it could not be.

    Attributes:
        name: of the snapshot.
        stall_s: seconds that the caller stood still for it.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.stall_s = 0.0
        self._seen = False

    def result(self, timeout: float | None = None) -> Snapshot:
        """The snapshot, once it is durable.

        Args:
            timeout: seconds to wait for that; None: as long as it takes.
        Raises:
            CommitError: it could not be made durable; and whatever else kept it from being written.
            TimeoutError: it is not done yet.
        """
        self.exception(timeout)
        return super().result()

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Why it could not be made durable, or None; waits as result() does. Its writer does not raise it any more."""
        error = super().exception(timeout)
        self._seen = True
        return error

    def unseen_failure(self) -> BaseException | None:
        """The failure, where there is one by now and neither result() nor exception() has handed it out."""
        if self._seen or not self.done() or self.cancelled():
            return None
        return super().exception()
