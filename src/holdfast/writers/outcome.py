"""What becomes of a job: it is carried out here, or it has been done, or it has failed. Each job ends in exactly one
succeed() or fail()."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable

from holdfast.errors import CommitError, HoldfastError
from holdfast.snapshot import Snapshot
from holdfast.writers.base import Job

_logger = logging.getLogger("holdfast")


def carry_out(job: Job, by: str) -> None:
    """Commit a snapshot in this thread.

    Args:
        by: what the log calls the writer.
    Raises:
        BaseException: what is no Exception, such as a KeyboardInterrupt; the job has failed with it.
    """
    try:
        began = time.perf_counter()
        snapshot = job.commit()
    except Exception as error:  # noqa: BLE001  whatever it is, it is handed over, and raised later if nobody takes it
        fail(job, by, error)
    except BaseException as error:
        fail(job, by, error)
        raise
    else:
        succeed(job, by, snapshot, time.perf_counter() - began)


def succeed(job: Job, by: str, snapshot: Snapshot, write_s: float) -> None:
    """A snapshot is durable: its memory may be used, its Future is done, and older ones may go.

    Args:
        write_s: seconds that it took.
    """
    pending, after = job.pending, job.after
    try:
        _release(job)
        job.forget()
        pending.size_bytes = pending.size_bytes or getattr(snapshot, "size_bytes", 0)
        pending.write_s = write_s
        pending.set_result(snapshot)
        _guarded(job.name, lambda: after(snapshot))
        pending.finish(by)
    except BaseException:
        _end(job, by, snapshot=snapshot)
        raise


def fail(job: Job, by: str, error: BaseException) -> None:
    """A snapshot could not be made durable: its memory may be used, and its Future has the error."""
    try:
        _end(job, by, error=error)
    except BaseException:
        _end(job, by, error=error)
        raise


def abandon(job: Job, by: str, error: BaseException) -> None:
    """Whoever was to carry a job out could not, and raised this: where the job has not ended, it has failed."""
    if not job.pending.is_finished():
        _end(job, by, error=error)


def _end(job: Job, by: str, *, snapshot: Snapshot | None = None, error: BaseException | None = None) -> None:
    """End a job, from wherever an interrupt, or a lack of memory, has stopped its end: whoever waits must not wait for
    ever."""
    pending = job.pending
    try:
        _release(job)
    finally:
        job.forget()
        if pending.done():
            pending.wake()
        elif error is not None:
            pending.set_exception(named(error, job.name))
        else:
            assert snapshot is not None
            pending.set_result(snapshot)
        pending.finish(by)


def refuse(job: Job) -> None:
    """A job was not taken: its memory may be used, and its Future is cancelled."""
    _release(job)
    job.forget()
    job.pending.cancel()
    job.pending.set_running_or_notify_cancel()
    job.pending.finish("none")


def named(error: BaseException, name: str) -> BaseException:
    """The error itself where it says which snapshot it is about, or is one of holdfast's own; else one that does."""
    if isinstance(error, HoldfastError) or re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w.-])", str(error)):
        return error
    if not isinstance(error, Exception | SystemExit):  # such as an interrupt; a sys.exit() would end the trainer
        return error
    what = f"{name}: not committed: {type(error).__name__}: {error}"
    wrapped = CommitError(error.errno, what) if isinstance(error, OSError) and error.errno else CommitError(what)
    wrapped.__cause__ = error
    return wrapped


def _release(job: Job) -> None:
    try:
        job.release()
    except MemoryError:  # it may not have begun; a second call does what is left
        _guarded(job.name, job.release)
    except Exception:
        _logger.exception("%s: an error when its memory was given back", job.name)


def _guarded(name: str, function: Callable[[], object]) -> None:
    """What goes wrong here costs no snapshot, and must not keep its Future from being done."""
    try:
        function()
    except Exception:
        _logger.exception("%s: an error after it was written", name)
