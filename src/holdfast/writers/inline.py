"""The writer that commits within the call: nothing is left to do when submit() returns."""

from __future__ import annotations

import logging
import os
import time
import weakref

from holdfast.writers.base import Job
from holdfast.writers.pending import Pending

_logger = logging.getLogger("holdfast")


class InlineWriter:
    """Commits each snapshot in the thread that submits it; see Writer for the contract.

    What is no Exception, such as a KeyboardInterrupt, passes through submit() at once. A failure that nobody has heard
    of by the end of the program is logged then.
    """

    def __init__(self) -> None:
        self._closed = False
        self._last: list[Pending] = []  # at most one: the last that may have failed unseen
        weakref.finalize(self, _log_unseen, self._last, os.getpid())

    def submit(self, job: Job) -> Pending:
        """Carry out a job.

        Returns:
            A Future that is done.
        Raises:
            ValueError: the writer is closed.
            Exception: what the job before failed with, if nobody has heard of it; this one is done all the same.
        """
        if self._closed:
            raise ValueError(f"{job.name}: this writer is closed, and writes no more; make another")
        began = time.perf_counter()
        pending = Pending(job.name)
        pending.set_running_or_notify_cancel()
        try:
            pending.set_result(job())
        except Exception as error:  # noqa: BLE001  whatever it is, it is handed over, and raised later if nobody takes it
            pending.set_exception(error)
        pending.stall_s = time.perf_counter() - began
        earlier, self._last[:] = self._last[:], [pending]
        _raise_unseen(earlier)
        return pending

    def close(self) -> None:
        """Take no more jobs. Again: does nothing.

        Raises:
            Exception: what the last job failed with, if nobody has heard of it.
        """
        self._closed = True
        earlier, self._last[:] = self._last[:], []
        _raise_unseen(earlier)


def _raise_unseen(earlier: list[Pending]) -> None:
    for pending in earlier:
        if pending.unseen_failure() is not None:
            pending.result()


def _log_unseen(last: list[Pending], pid: int) -> None:
    if os.getpid() != pid:  # a forked child: the parent says it
        return
    for pending in last:
        if (error := pending.unseen_failure()) is not None:
            _logger.error("%s: not kept, and nobody was told: %s", pending.name, str(error))
