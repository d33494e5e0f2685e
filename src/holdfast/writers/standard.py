"""StandardWriter: one worker for each snapshot, one at a time; ThreadWriter and ProcessWriter are made of it.

Users override `create_worker`; what it returns is started, and joined before the next one. A worker that fails is heard
of: its join() raises, or the save() that it calls did, or it has an exit code.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from holdfast import lock
from holdfast.errors import CommitError
from holdfast.memory import Memory
from holdfast.writers import calls, exits
from holdfast.writers.base import Job
from holdfast.writers.carriers import Carrier, Threaded
from holdfast.writers.engine import Engine
from holdfast.writers.helper import Helped
from holdfast.writers.outcome import named
from holdfast.writers.simple import EngineWriter, Savefun


class Worker(Protocol):
    """What writes one snapshot: a thread, a process, or something like it."""

    def start(self) -> object:
        """Begin."""

    def join(self) -> object:
        """Return when it is done. What it raises, the snapshot has failed with."""


class BackgroundWriter(EngineWriter):
    """What writers in the background have in common: they end with finalize(), and belong to one process."""

    def __init__(self, savefun: Savefun | None = None, **arguments: Any) -> None:
        super().__init__(savefun, **arguments)
        self._is_finalized = False
        self._pid = os.getpid()

    def finalize(self) -> None:
        """Return when everything is written; the writer takes no more. Again, and in a forked child: nothing.

        Raises:
            Exception: what a snapshot failed with, if nobody has heard of it.
        """
        self._is_finalized = True
        if os.getpid() != self._pid:
            return
        try:
            self._finish()
        finally:
            exits.forget(self)
            if self._engine is not None:
                self._engine.close()

    def close(self) -> None:
        """As finalize."""
        self.finalize()

    def _finish(self) -> None:
        """Return when everything is written that was given to it as a mapping; raise what has failed."""

    def _jobs_engine(self) -> Engine:
        engine = super()._jobs_engine()
        if self._is_finalized:
            engine.close()
        return engine

    def _check_usable(self, filename: str) -> None:
        if self._is_finalized:
            raise ValueError(f"{filename}: this writer was finalized, and writes no more; make another")
        if os.getpid() != self._pid:
            raise RuntimeError(
                f"{filename}: this writer belongs to the process {self._pid}, and this is a forked child of it; write "
                "there, or make a writer here"
            )


class StandardWriter(BackgroundWriter):
    """Has each snapshot written by a worker of its own; the next call waits for the last one.

    A subclass defines `create_worker`. See EngineWriter for the arguments.
    """

    def __init__(self, savefun: Savefun | None = None, **arguments: Any) -> None:
        super().__init__(savefun, **arguments)
        self._last: tuple[str, Worker] | None = None  # that was started, and not joined
        self._failed: list[BaseException] = []  # in save(), in the worker's thread

    def __call__(self, filename: str, outdir: str | os.PathLike[str], target: Mapping[str, Any]) -> None:
        """Have `target` written; returns once the worker has begun.

        Raises:
            Exception: what the last one failed with; this one is written all the same.
        """
        self._check_usable(filename)
        failure = self._join_last()
        worker = self.create_worker(filename, outdir, target, **self._kwds)
        worker.start()
        self._last = (filename, worker)
        if not isinstance(worker, EngineWorker):  # whose engine sees to it
            exits.before_exit(self, self.finalize)
        if failure is not None:
            raise failure

    def create_worker(
        self, filename: str, outdir: str | os.PathLike[str], target: Mapping[str, Any], **kwds: Any
    ) -> Worker:
        """What writes this snapshot, with start() and join(); it may call `save`."""
        raise NotImplementedError(f"{type(self).__name__} does not define create_worker(filename, outdir, target)")

    def save(
        self, filename: str, outdir: str | os.PathLike[str], target: Mapping[str, Any], savefun: Savefun, **kwds: Any
    ) -> None:
        """Write one file with `savefun(path, target, **kwds)`; see Writer. A failure is also kept for the next call."""
        try:
            super().save(filename, outdir, target, savefun, **kwds)
        except Exception as error:
            self._failed.append(named(error, filename))
            raise

    def _finish(self) -> None:
        failure = self._join_last()
        if failure is not None:
            raise failure

    def _join_last(self) -> BaseException | None:
        if self._last is None:
            return None
        filename, worker = self._last
        failure: BaseException | None = None
        try:
            worker.join()
        except Exception as error:  # noqa: BLE001  whatever it is, the caller raises it
            failure = named(error, filename)
        self._last = None
        failed, self._failed = self._failed, []
        code = getattr(worker, "exitcode", None)  # of a process
        if failure is None and not failed and code:
            failure = CommitError(f"{filename}: not committed: the worker process ended with exit code {code}")
        return failure or (failed[0] if failed else None)


class ThreadWriter(StandardWriter):
    """Writes snapshots in a thread, while the training goes on; see EngineWriter for the arguments."""

    def create_worker(
        self, filename: str, outdir: str | os.PathLike[str], target: Mapping[str, Any], **kwds: Any
    ) -> Worker:
        """Writes it in the writer's thread."""
        return EngineWorker(
            self._jobs_engine(),
            Job(
                filename,
                partial(_saved, self.save, filename, outdir, target, self._savefun, **kwds),
                size_bytes=bytes_of(target),
            ),
        )

    def _new_carrier(self) -> Carrier:
        return Threaded()


class ProcessWriter(StandardWriter):
    """Writes snapshots in a process of its own, which also finishes when the training is killed.

    Where the system cannot share memory between processes (macOS, Windows), a thread writes them. See EngineWriter for
    the arguments.

    Raises:
        TypeError: the process could not find `savefun` by its name, or a keyword argument is no JSON value.
    """

    def __init__(self, savefun: Savefun | None = None, **arguments: Any) -> None:
        super().__init__(savefun, **arguments)
        self._calls = Calls(calls.reference(self._savefun, "savefun", self._kwds))

    def create_worker(
        self, filename: str, outdir: str | os.PathLike[str], target: Mapping[str, Any], **kwds: Any
    ) -> Worker:
        """Writes it in the writer's process."""
        here = partial(self.save, filename, outdir, target, self._savefun, **kwds)
        return EngineWorker(self._calls.engine(), self._calls.job(filename, outdir, target, here, self._post_save))

    def finalize(self) -> None:
        """As StandardWriter's; the processes have ended, too."""
        try:
            super().finalize()
        finally:
            self._calls.close()

    def _new_carrier(self) -> Carrier:
        return Helped()


class EngineWorker:
    """A worker that is a job of an engine's."""

    def __init__(self, engine: Engine, job: Job) -> None:
        self._engine = engine
        self._job = job

    def start(self) -> None:
        """Hand it over."""
        began = time.perf_counter()
        try:
            self._engine.submit(self._job)
        finally:
            self._job.pending.stall_s = time.perf_counter() - began

    def join(self) -> None:
        """Return when it is written. Raises what it failed with."""
        self._job.pending.wait_finished()
        self._job.pending.result()


class Calls:
    """Has mappings written by a function that another process calls.

    Args:
        reference: see calls.reference.
        slots: how many may be under way when a call returns.
    """

    def __init__(self, reference: Mapping[str, Any], slots: int = 1) -> None:
        self._reference = reference
        self._slots = slots
        self._engine: Engine | None = None

    def engine(self) -> Engine:
        """What carries the jobs out; its process starts with the first."""
        if self._engine is None:
            self._engine = Engine(Helped(self._reference), self._slots)
        return self._engine

    def job(
        self,
        filename: str,
        outdir: str | os.PathLike[str],
        target: Mapping[str, Any],
        here: Callable[[], object],
        saved: Callable[[], object],
    ) -> Job:
        """One mapping to be written.

        Args:
            here: does it in this process, where there can be no other.
            saved: called once another process has done it.
        """
        memories: list[Memory] = []

        def handoff() -> calls.Call:
            memory, index_at, index_bytes = calls.packed(target)
            memories.append(memory)
            place = os.path.abspath(os.fspath(outdir))
            return calls.Call(filename, place, memory.fd, index_at, index_bytes, lock.share_of(place))

        def release() -> None:
            for memory in memories:
                memory.close()

        return Job(
            filename,
            partial(_saved, here),
            handoff=handoff,
            committed=partial(_saved, saved),
            release=release,
            size_bytes=bytes_of(target),
        )

    def close(self) -> None:
        """Return when all is written and the process has ended. Raises what one failed with."""
        if self._engine is not None:
            self._engine.close()


def bytes_of(target: Mapping[str, Any]) -> int:
    """Of the arrays in a mapping."""
    return sum(getattr(value, "nbytes", 0) for value in target.values()) if isinstance(target, Mapping) else 0


def _saved(function: Callable[..., object], *arguments: Any, **kwds: Any) -> Any:
    """A savefun's file is no Snapshot: there is nothing to return."""
    function(*arguments, **kwds)
