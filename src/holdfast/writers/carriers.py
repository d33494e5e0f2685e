"""Where jobs are carried out: in the thread that submits them, or in one thread beside it."""

from __future__ import annotations

import logging
import threading
from queue import Empty, SimpleQueue
from typing import Protocol

from holdfast.writers.base import Job
from holdfast.writers.outcome import abandon, carry_out

_logger = logging.getLogger("holdfast")

_Jobs = SimpleQueue["Job | None"]


class Carrier(Protocol):
    """Carries out jobs in some thread or process, in the order in which it takes them."""

    @property
    def shares_memory(self) -> bool:
        """Whether another process reads what they hold."""

    def take(self, job: Job) -> None:
        """Have a job carried out; one that was taken before is left alone. It ends in succeed() or fail().

        Raises:
            BaseException: only what is no Exception. The job was taken all the same.
        """

    def work(self) -> None:
        """Make sure that what was taken is being carried out, if need be here and now; called before waiting for it."""

    def stop(self, *, wait: bool) -> None:
        """Once all that was taken is done, end; with `wait`, return only then."""


class Inline:
    """The thread that submits a job carries it out."""

    shares_memory = False

    def take(self, job: Job) -> None:
        """See Carrier."""
        if job.pending.is_finished():
            return
        try:
            carry_out(job, "inline")
        except BaseException as error:
            abandon(job, "inline", error)
            job.pending.exception()  # it is raised here and now, and not again
            raise

    def work(self) -> None:
        """Nothing is ever left to do."""

    def stop(self, *, wait: bool) -> None:
        """Nothing is left to do."""


class Threaded:
    """One daemon thread, started for the first job. Where none can be started, as at the interpreter's end, whoever
    asks for the work does it."""

    shares_memory = False

    def __init__(self) -> None:
        self._jobs: _Jobs = SimpleQueue()
        self._turn = threading.Lock()  # held by the one thread that carries out jobs
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def take(self, job: Job) -> None:
        """See Carrier."""
        self._jobs.put(job)
        if self._thread is None or not self._turn.locked():  # else it is at work
            self.work()

    def work(self) -> None:
        """See Carrier."""
        if not self._start():
            _serve(self._jobs, self._turn, wait=False)

    def stop(self, *, wait: bool) -> None:
        """See Carrier."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._jobs.put(None)
            if wait:
                thread.join()

    def _start(self) -> bool:
        """Whether there is a thread now, or none is needed."""
        with self._starting:
            if self._jobs.empty() or (self._thread is not None and self._thread.is_alive()):
                return True
            thread = threading.Thread(target=_serve, args=(self._jobs, self._turn), name="holdfast-writer", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the interpreter is ending, or there are too many threads
                return False
            self._thread = thread
            return True


def _serve(jobs: _Jobs, turn: threading.Lock, *, wait: bool = True) -> None:
    """Carry out jobs until a None comes; without `wait`, until there are none."""
    if not turn.acquire(blocking=False):  # a thread whose start was interrupted is there already
        return
    try:
        while _serve_one(jobs, wait=wait):
            pass
    finally:
        turn.release()


def _serve_one(jobs: _Jobs, *, wait: bool) -> bool:
    """Carry out the next job; whether there may be more. It lets go of it before the next one is waited for."""
    job: Job | None = None
    try:
        job = jobs.get(block=wait)
        if job is not None and not job.pending.is_finished() and job.claim(jobs):
            carry_out(job, "thread")
    except Empty:
        return False
    except BaseException as error:  # noqa: BLE001  such as a sys.exit() of a savefun's; the job has failed with it
        if job is None:  # there was no memory to take it out with; it is still there
            return True
        abandon(job, "thread", error)
        _logger.debug("%s: %r in the thread that writes", job.name, error)
    return job is not None
