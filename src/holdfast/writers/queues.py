"""QueueWriter: snapshots wait in a bounded queue for one consumer; ThreadQueueWriter and ProcessQueueWriter.

Users override `create_task`, `create_queue`, `create_consumer` and `consume`. A queue holds
`[task, filename, outdir, target]`, and None at its end. Its consumer is started by the first call, and again by the
next one where it has died; nothing here waits for one that is dead.
"""

from __future__ import annotations

import inspect
import logging
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from holdfast.errors import CommitError
from holdfast.writers import calls, exits
from holdfast.writers.base import nothing
from holdfast.writers.carriers import Carrier, Threaded
from holdfast.writers.helper import Helped
from holdfast.writers.outcome import named
from holdfast.writers.simple import Savefun, SimpleWriter
from holdfast.writers.standard import BackgroundWriter, Calls, EngineWorker

_logger = logging.getLogger("holdfast")

Task = Callable[[str, Any, Mapping[str, Any]], Any]

_LOOK_S = 0.1  # how often to look whether a consumer that takes nothing from a full queue is alive


class QueueWriter(BackgroundWriter):
    """Has snapshots written by a consumer, one after the other; a call returns once its snapshot is in the queue.

    A subclass defines `create_queue` and `create_consumer`. See EngineWriter for the other arguments; of mappings,
    `slots` may wait in the queue.

    Args:
        task: called as `task(filename, outdir, target)` for each, instead of a savefun.
    """

    def __init__(self, savefun: Savefun | None = None, task: Task | None = None, **arguments: Any) -> None:
        if savefun is not None and task is not None:
            raise TypeError("savefun and task cannot be specified together")
        if task is not None and not callable(task):
            raise TypeError(f"task must be callable, not {type(task).__name__}")
        super().__init__(savefun, **arguments)
        self._has_task = task is not None
        self._task: Task = self.create_task(self._savefun) if task is None else task
        self._queue: Any = None
        self._consumer: Any = None
        self._names: deque[str] = deque(maxlen=self.slots + 1)  # the last that went into the queue
        self._failures: list[BaseException] = []  # that nobody has heard of
        self._death: BaseException | None = None  # what consume() raised

    @property
    def takes_jobs(self) -> bool:
        """See EngineWriter; and no task was given."""
        return super().takes_jobs and not self._has_task

    def __call__(self, filename: str, outdir: str | os.PathLike[str], target: Mapping[str, Any]) -> None:
        """Put a snapshot into the queue, once there is room.

        Raises:
            Exception: what an earlier one failed with; this one is in the queue all the same.
        """
        self._check_usable(filename)
        if self._queue is None:
            self._queue = self.create_queue()
        exits.before_exit(self, self.finalize)
        self._have_consumer()
        self._put([self._task, filename, outdir, target])
        self._names.append(filename)
        self._raise_first()

    def create_task(self, savefun: Savefun) -> Task:
        """What the consumer calls for each snapshot: `task(filename, outdir, target)`."""
        return SimpleWriter(savefun=savefun, **self._kwds)

    def create_queue(self) -> Any:
        """What snapshots wait in: it has put() and get()."""
        raise NotImplementedError(f"{type(self).__name__} does not define create_queue()")

    def create_consumer(self, q: Any) -> Any:
        """What takes them out again, with start() and join(): a thread or process that calls `consume(q)`."""
        raise NotImplementedError(f"{type(self).__name__} does not define create_consumer(queue)")

    def consume(self, q: Any) -> None:
        """Carry out what comes out of a queue, until a None does."""
        while True:
            item = q.get()
            try:
                if item is None:
                    return
                task, filename, outdir, target = item
                try:
                    task(filename, outdir, target)
                    self._post_save()
                except Exception as error:  # noqa: BLE001  the next call raises it
                    self._failures.append(named(error, filename))
                del item, task, target  # a state's worth of memory
            finally:
                q.task_done()

    def _finish(self) -> None:
        if self._queue is not None:
            self._have_consumer()  # for what a dead one has left
            try:
                self._put(None)
            except CommitError as error:
                self._failures.append(error)
            else:
                self._consumer.join()
                self._bury()
            self._queue = None
        for failure in self._failures[1:]:
            _logger.error("not kept, and nobody was told: %s", str(failure))
        del self._failures[1:]
        self._raise_first()

    def _have_consumer(self) -> None:
        self._bury()
        if self._consumer is None:
            self._consumer = self.create_consumer(self._queue)
            self._consumer.start()

    def _bury(self) -> None:
        """Take note of a consumer that has ended before its time."""
        consumer = self._consumer
        if consumer is None or (_is_alive(consumer) and self._death is None):
            return
        self._consumer = None
        death, self._death = self._death, None
        code = getattr(consumer, "exitcode", None)  # of a process
        if death is None and (self._is_finalized and not code):
            return
        names = ", ".join(f"'{name}'" for name in self._names)
        why = (
            f"{type(death).__name__}: {death}" if death is not None else f"exit code {code}" if code else "it returned"
        )
        failure = CommitError(
            f"the consumer of the queue ended ({why}); of the last snapshots given to it, {names}, those that are not "
            "there were not committed"
        )
        failure.__cause__ = death
        self._failures.append(failure)

    def _put(self, item: Any) -> None:
        """Put something into the queue, however full it is, unless nobody takes anything out of it."""
        revived = 0
        while True:
            try:
                if _takes_timeout(self._queue):
                    self._queue.put(item, timeout=_LOOK_S)
                else:
                    self._queue.put(item)
                return
            except queue.Full:
                before = self._consumer
                self._have_consumer()
                revived += self._consumer is not before
                if revived > 1:
                    what = "the end" if item is None else f"'{item[1]}'"
                    raise CommitError(
                        f"{what} could not be put into the queue: one consumer after the other ends"
                    ) from (self._failures[-1])

    def _raise_first(self) -> None:
        if self._failures:
            raise self._failures.pop(0)

    def _consume(self, q: Any) -> None:
        """The consumer's thread."""
        try:
            self.consume(q)
        except BaseException as error:  # noqa: BLE001  the next call raises it
            self._death = error


class ThreadQueueWriter(QueueWriter):
    """Writes snapshots in a thread, while the training goes on; see QueueWriter for the arguments."""

    def create_queue(self) -> Any:
        """One for threads, with as many places as the writer has slots."""
        return queue.Queue(self.slots)

    def create_consumer(self, q: Any) -> Any:
        """A thread that does not keep the interpreter alive."""
        return threading.Thread(target=self._consume, args=(q,), name="holdfast-consumer", daemon=True)

    def _new_carrier(self) -> Carrier:
        return Threaded()


class ProcessQueueWriter(ThreadQueueWriter):
    """Writes snapshots in a process of its own, which also finishes what waits when the training is killed.

    A subclass that overrides a method of the queue has queue and consumer in the training's process, and the other one
    for the savefun alone. Where the system cannot share memory between processes (macOS, Windows), a thread writes. See
    QueueWriter for the arguments.

    Raises:
        TypeError: the process could not find `savefun` or `task` by its name, or a keyword argument is no JSON value.
    """

    _calls: Calls | None = None

    def __init__(self, savefun: Savefun | None = None, task: Task | None = None, **arguments: Any) -> None:
        super().__init__(savefun, task, **arguments)
        if task is not None:
            self._calls = Calls(calls.reference(task, "task", {}, is_task=True), self.slots + 1)
        self._has_queue = self._overrides(*"create_task create_queue create_consumer consume save".split())

    def __call__(self, filename: str, outdir: str | os.PathLike[str], target: Mapping[str, Any]) -> None:
        """Hand a snapshot over, once there is room.

        Raises:
            Exception: what an earlier one failed with; this one is handed over all the same.
        """
        if self._has_queue or self._calls is None:
            super().__call__(filename, outdir, target)
            return
        self._check_usable(filename)
        here = partial(self._write_here, filename, outdir, target)
        EngineWorker(self._calls.engine(), self._calls.job(filename, outdir, target, here, self._post_save)).start()

    def create_task(self, savefun: Savefun) -> Task:
        """Has the savefun called by the other process, and waits for it."""
        made = self._calls = Calls(calls.reference(savefun, "savefun", self._kwds), self.slots + 1)
        local = super().create_task(savefun)

        def task(filename: str, outdir: str | os.PathLike[str], target: Mapping[str, Any]) -> None:
            here = partial(local, filename, outdir, target)
            worker = EngineWorker(made.engine(), made.job(filename, outdir, target, here, nothing))
            worker.start()
            worker.join()

        return task

    def finalize(self) -> None:
        """As QueueWriter's; the process has ended, too."""
        try:
            super().finalize()
        finally:
            if self._calls is not None:
                self._calls.close()

    def _new_carrier(self) -> Carrier:
        return Helped()

    def _write_here(self, filename: str, outdir: str | os.PathLike[str], target: Mapping[str, Any]) -> None:
        if self._has_task:
            self._task(filename, outdir, target)
            self._post_save()
        else:
            self.save(filename, outdir, target, self._savefun, **self._kwds)


def _is_alive(consumer: Any) -> bool:
    ask = getattr(consumer, "is_alive", None)
    return ask() if callable(ask) else True


def _takes_timeout(waiting: Any) -> bool:
    try:
        return "timeout" in inspect.signature(waiting.put).parameters
    except (TypeError, ValueError):
        return False
