"""The engine behind every writer: takes jobs, has them carried out, and loses no failure.

It bounds how many are unfinished, hands failures to the caller at the next call and at close(), and finishes at the
interpreter's end what nobody has waited for. In which thread or process a job is carried out is its carrier's business.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref

from holdfast.writers import exits
from holdfast.writers.base import Job
from holdfast.writers.carriers import Carrier
from holdfast.writers.outcome import refuse
from holdfast.writers.pending import Pending

_logger = logging.getLogger("holdfast")


class Engine:
    """See holdfast.writers.base.Writer for the contract. An interrupt in any of its methods loses no job.

    Args:
        carrier: where jobs are carried out.
        slots: how many may be unfinished when submit() returns.
    """

    def __init__(self, carrier: Carrier, slots: int) -> None:
        self._carrier = carrier
        self._slots = slots
        self._book = _Book(carrier)
        self._pid = os.getpid()
        self._closed = False
        weakref.finalize(self, _leave_alone, self._book, self._pid).atexit = False

    def submit(self, job: Job) -> Pending:
        """Have a job carried out; see Writer."""
        try:
            self._check_usable(job.name)
        except BaseException:
            refuse(job)
            raise
        pending = job.pending
        try:
            pending.set_running_or_notify_cancel()
            self._book.add(pending)
            self._carrier.take(job)
        except BaseException:  # an interrupt: whether it came before the job was taken cannot be known
            self._carrier.take(job)
            raise
        if exits.is_ending() or not self._book.has_only(pending):
            self._book.wait(0 if exits.is_ending() else self._slots, but=pending)
            self._book.raise_unseen(but=pending)
        return pending

    def flush(self) -> None:
        """Return when every job is done.

        Raises:
            Exception: what one failed with, if nobody has heard of it. Further ones are logged.
        """
        if os.getpid() == self._pid:
            self._book.wait()
            self._book.raise_unseen(only=True)

    def close(self) -> None:
        """Return when every job is done; take no more. See Writer."""
        self._closed = True
        if os.getpid() == self._pid:
            self._book.wait()
            self._carrier.stop(wait=True)
            self._book.raise_unseen(only=True)

    def _check_usable(self, name: str) -> None:
        if self._closed:
            raise ValueError(f"{name}: this writer is closed, and writes no more; make another")
        if os.getpid() != self._pid:
            raise RuntimeError(
                f"{name}: this writer belongs to the process {self._pid}, and this is a forked child of it; write "
                "there, or make a writer here"
            )


class _Book:
    """The jobs of one engine that are not finished, or that have failed and nobody has heard of it. It outlives the
    engine for as long as there are any."""

    def __init__(self, carrier: Carrier) -> None:
        self.carrier = carrier
        self._open: list[Pending] = []
        self._guard = threading.Lock()

    def add(self, pending: Pending) -> None:
        with self._guard:
            self._open = [*[one for one in self._open if one.is_open()], pending]
            exits.before_exit(self, self.finish)

    def has_only(self, pending: Pending) -> bool:
        """Whether no other is unfinished, or has failed unheard."""
        return self._open == [pending]

    def wait(self, slots: int = 1, *, but: Pending | None = None) -> None:
        """Return once fewer than `slots` are unfinished, `but` not counted; with 0, once that is finished too."""
        while waiting := [one for one in self._open if not one.is_finished() and (one is not but or not slots)]:
            if len(waiting) < slots:
                return
            self.carrier.work()
            waiting[0].wait_finished()

    def raise_unseen(self, *, but: Pending | None = None, only: bool = False) -> None:
        """Raise the first failure that nobody has heard of; with `only`, log the others, and forget them."""
        failures = self._failures(but)
        if only:
            for pending in failures[1:]:
                _log(pending)
                pending.exception()
        if failures:
            failures[0].result()

    def log_unseen(self) -> None:
        for pending in self._failures():
            _log(pending)

    def finish(self) -> None:
        """The interpreter is about to end."""
        self.wait()
        self.carrier.stop(wait=True)
        self.log_unseen()

    def is_finished(self) -> bool:
        return all(one.is_finished() for one in self._open)

    def _failures(self, but: Pending | None = None) -> list[Pending]:
        with self._guard:
            self._open = [one for one in self._open if one.is_open()]
            if not self._open:
                exits.forget(self)
            return [one for one in self._open if one.is_finished() and one is not but]


def _leave_alone(book: _Book, pid: int) -> None:
    """The engine is gone, and was perhaps never closed: what it was given is written all the same."""
    if os.getpid() != pid:  # a forked child: the parent does it
        return
    book.carrier.stop(wait=False)
    if book.is_finished():
        book.log_unseen()
        exits.forget(book)


def _log(pending: Pending) -> None:
    _logger.error("%s: not kept, and nobody was told: %s", pending.name, str(pending.unseen_failure()))
