"""Work shared out among a few threads: copying, hashing, reading and writing, which leave the interpreter's lock.

The threads are kept, idle, for as long as the process lives, and never keep it alive. Where none can be started (the
interpreter is about to end) the caller does everything itself.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from queue import SimpleQueue

from holdfast.scarcity import Condition

Task = Callable[[], object]

LIMIT = 4  # threads at work for one call; more gain nothing on one disk or one memory bus


def run(tasks: Iterable[Task], threads: int | None = None) -> None:
    """Carry out every task, each once, in any order and in several threads; the calling thread works too.

    Args:
        tasks: what to call; taken one by one, in order, as threads come free.
        threads: how many work, the caller included; None: as many as there are processors, at most LIMIT.
    Raises:
        BaseException: the first that a task raised, or an interrupt of the caller. Tasks that had not begun by then are
            not called; those under way have ended when this raises, whatever it is.
    """
    share = _Share(tasks)
    try:
        _crew.lend(share, (processors() if threads is None else threads) - 1)
        share.work()
    except BaseException as error:  # noqa: BLE001  an interrupt must not leave before the threads do
        share.fail(error)
    failure = share.close()
    if failure is not None:
        try:
            raise failure
        finally:
            del failure  # its traceback has this frame: they would keep each other, and what the tasks hold


def processors() -> int:
    """How many threads of one call can be at work at once: the processors this process may use, at most LIMIT."""
    try:
        found = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        found = os.cpu_count() or 1
    return min(found, LIMIT)


class _Share:
    """The tasks of one call, who is at work on them, and the first failure among them."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._tasks = iter(tasks)
        self._taking = threading.Lock()  # a generator cannot be asked by two threads at once
        self._state = Condition()  # guards what follows
        self._failure: BaseException | None = None
        self._helpers = 0
        self._closed = False

    def join(self) -> bool:
        """A lent thread comes to work; False where the call is over."""
        with self._state:
            self._helpers += not self._closed
            return not self._closed

    def leave(self) -> None:
        """A thread that has joined has nothing more to do with the tasks. A lack of memory must not keep it: the caller
        would wait for ever."""
        has_left = False
        while True:
            try:
                with self._state:
                    self._helpers -= not has_left
                    has_left = True
                    self._state.notify_all()
                return
            except MemoryError:
                continue

    def work(self) -> None:
        """Take tasks and carry them out until none is left, or one has failed."""
        while self._failure is None:
            try:
                with self._taking:
                    task = next(self._tasks, None)
                if task is None:
                    return
                task()
            except BaseException as error:  # noqa: BLE001  whatever it is, the caller raises it
                self.fail(error)

    def fail(self, error: BaseException) -> None:
        """Begin no other task; the first failure is the one that counts. Without a lock, which a lack of memory could
        refuse: of two at once either may be the first."""
        if self._failure is None:
            self._failure = error

    def close(self) -> BaseException | None:
        """Wait until every thread that joined has left; one that comes later may not. Returns the failure."""
        while True:
            try:
                with self._state:
                    self._closed = True
                    self._state.wait_for(lambda: not self._helpers)
                    failure, self._failure = self._failure, None
                    return failure
            except BaseException as error:  # noqa: BLE001  what the threads work on is in use until they have left
                self.fail(error)


class _Crew:
    """The threads of this process that have nothing to do, and those that are at work."""

    def __init__(self) -> None:
        self._orders: SimpleQueue[_Share] = SimpleQueue()
        self._guard = threading.Lock()
        self._idle = 0  # threads that wait for an order, or will, and are not promised one

    def lend(self, share: _Share, count: int) -> None:
        """Send up to `count` threads to help with a share."""
        for _ in range(count):
            with self._guard:
                found = self._idle > 0
                self._idle -= found
            if not found:
                try:
                    threading.Thread(target=self._serve, name="holdfast-crew", daemon=True).start()
                except RuntimeError:  # the interpreter is ending, or there are too many threads
                    return
            self._orders.put(share)

    def _serve(self) -> None:
        while True:
            share = self._orders.get()
            joined = share.join()
            try:
                if joined:
                    share.work()
                with self._guard:
                    self._idle += 1  # before the caller goes on, and perhaps asks for threads again
            finally:
                if joined:
                    share.leave()
            del share  # what the tasks hold must not live until the next order


_crew = _Crew()


def _forget() -> None:
    """In a forked child: the threads live on in the parent only."""
    global _crew
    _crew = _Crew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
