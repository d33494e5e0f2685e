"""A process that writes snapshots, seen from the trainer: started for the first job, told what to write through a
socket, and survived by nothing. See helper_process.py for the other side.

When the trainer dies, the process writes what was handed over before, and leaves. When the process dies, the jobs that
it had fail, and the next job starts another.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import xxhash

from holdfast.errors import CommitError
from holdfast.writers import exits
from holdfast.writers.base import Job, Parcel
from holdfast.writers.carriers import Threaded
from holdfast.writers.helper_process import MESSAGE_BYTES
from holdfast.writers.outcome import abandon, fail, succeed

_logger = logging.getLogger("holdfast")

_PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "helper_process.py")


def is_possible() -> bool:
    """Whether this system can share memory with a process that it hands descriptors to, and start one."""
    return (
        hasattr(os, "memfd_create")
        and hasattr(socket, "send_fds")
        and hasattr(socket, "SOCK_SEQPACKET")
        and bool(sys.executable)
        and not getattr(sys, "frozen", False)  # sys.executable is the program then, and no Python
    )


class Helped:
    """A process carries out the jobs; where there can be none, a thread.

    Args:
        savefun: what holdfast.writers.calls.Reference says of a function to call; None: it writes snapshot files.
    """

    def __init__(self, savefun: Mapping[str, Any] | None = None) -> None:
        self._savefun = savefun
        self._local = Threaded()
        self._helper: _Helper | None = None
        self._starting = threading.Lock()
        self._was_told = False

    @property
    def shares_memory(self) -> bool:
        """See Carrier."""
        return is_possible()

    def take(self, job: Job) -> None:
        """See Carrier."""
        try:
            if job.pending.is_finished() or self._has(job) or not job.claim(self):
                return
            if job.handoff is None or job.committed is None or not is_possible():
                self._tell("this system, or this place, has no memory that a process could share")
                self._take_here(job)
            else:
                self._hand_over(job, job.handoff())
        except Exception as error:  # noqa: BLE001  the snapshot fails with it
            if not self._has(job) and job.claim(self):  # else a process, or the thread, has it
                abandon(job, "helper", error)
        except BaseException:
            if not self._has(job):
                self._take_here(job)
            raise

    def work(self) -> None:
        """See Carrier."""
        self._local.work()

    def stop(self, *, wait: bool) -> None:
        """See Carrier."""
        helper, self._helper = self._helper, None
        if helper is not None:
            helper.stop(wait=wait)
        self._local.stop(wait=wait)

    def _has(self, job: Job) -> bool:
        """Whether a process was given it, which says what becomes of it."""
        return self._helper is not None and self._helper.newest is job

    def _take_here(self, job: Job) -> None:
        job.disclaim()
        self._local.take(job)

    def _hand_over(self, job: Job, parcel: Parcel) -> None:
        with self._starting:
            if self._helper is None or not self._helper.send(job, parcel):
                try:
                    self._helper = _Helper(self._savefun, self._local)
                except (OSError, RuntimeError, subprocess.SubprocessError) as error:
                    self._tell(f"no process could be started ({error})", logging.WARNING)
                    self._take_here(job)
                    return
                if not self._helper.send(job, parcel):
                    raise CommitError(f"{job.name}: not committed: {self._helper.death()}")

    def _tell(self, why: str, level: int = logging.INFO) -> None:
        if not self._was_told:
            _logger.log(level, "snapshots are written by a thread, and not by a process of its own: %s", why)
        self._was_told = True


class _Helper:
    """One process, from its start to its end."""

    def __init__(self, savefun: Mapping[str, Any] | None, local: Threaded) -> None:
        self._local = local  # for what a process leaves that could not even begin
        self._jobs: dict[int, Job] = {}  # handed over, and not answered
        self._last_id = 0
        self._memories: dict[int, int] = {}  # the descriptors of those that were handed over, by their inodes
        self.newest: Job | None = None  # of those that were handed over
        self._guard = threading.Lock()
        self._is_ready = False
        self._is_gone = False
        self._pidfd = -1
        self._channel, self._process = _start(savefun)
        self.pid = self._process.pid
        with suppress(AttributeError, OSError):  # else the end of the channel tells
            self._pidfd = os.pidfd_open(self.pid)
        _living.add(self)
        try:
            self._channel.send(json.dumps({"id": 0, "paths": _paths(savefun), "savefun": savefun}).encode())
            self._thread = threading.Thread(target=self._serve, name="holdfast-helper", daemon=True)
            self._thread.start()
        except BaseException:
            self._end_channel()
            self._process.wait()
            self._close()
            raise
        exits.before_exit(self, lambda: self.stop(wait=True))

    def send(self, job: Job, parcel: Parcel) -> bool:
        """Hand a job over; False where the process is gone, and the job is still the caller's."""
        with self._guard:
            if self._is_gone:
                return False
            number = self._last_id = self._last_id + 1
            own = {"id": number, "parent": os.getpid(), "memories": self._living_memories(parcel.descriptors()[0])}
            message = json.dumps({**parcel.message(), **own}).encode()
            if len(message) > MESSAGE_BYTES:
                raise CommitError(f"{job.name}: not committed: its name or place is too long to be handed over")
            try:
                self._jobs[number] = self.newest = job
                socket.send_fds(self._channel, [message], parcel.descriptors())
            except OSError as error:
                self._jobs.pop(number, None)
                self.newest = None
                if isinstance(error, BrokenPipeError | ConnectionResetError):
                    return False
                raise
            except BaseException:  # an interrupt, before or after it was sent; of one number the process takes one
                socket.send_fds(self._channel, [message], parcel.descriptors())
                raise
        return True

    def _living_memories(self, newest: int) -> list[int]:
        """Which are still in use here, so that the process lets go of the others."""
        known = {**self._memories, os.fstat(newest).st_ino: newest}
        self._memories = {inode: fd for inode, fd in known.items() if _inode(fd) == inode}
        return list(self._memories)

    def stop(self, *, wait: bool) -> None:
        """Let it end once it has done what it was given."""
        self._end_channel()
        if wait:
            self._thread.join()

    def death(self) -> str:
        """How it ended, in words."""
        code = self._process.wait()
        with suppress(ValueError):
            if code < 0:
                return f"the helper process (pid {self.pid}) was killed by {signal.Signals(-code).name}"
        return f"the helper process (pid {self.pid}) ended with status {code}"

    def disown(self) -> None:
        """In a forked child: it is the parent's."""
        self._close()
        self._process.returncode = 0  # or its end would be asked for

    def _serve(self) -> None:
        try:
            while (answer := self._next()) is not None:
                self._hear(answer)
        except MemoryError:  # for an answer; whose it was nobody knows, so that all of them have an unknown outcome
            self._end_channel()
        how = self.death()
        with self._guard:
            self._is_gone = True
            left = list(self._jobs.values())
            self._jobs.clear()
        self._close()
        for job in left:
            self._give_up(job, how)
        exits.forget(self)

    def _hear(self, answer: Mapping[str, Any]) -> None:
        if "ready" in answer:
            self._is_ready = True
            return
        job = self._jobs.pop(answer["id"], None)
        if job is None:
            return
        try:
            _settle(job, answer)
        except BaseException as error:  # noqa: BLE001  such as a sys.exit() of a hook's: the snapshot is there
            abandon(job, "helper", error)
            _logger.warning("%s: %r after it was written", job.name, error)

    def _next(self) -> dict[str, Any] | None:
        """The next answer; None when the process is gone."""
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        if self._pidfd >= 0:
            poll.register(self._pidfd, select.POLLIN)
        while True:
            ready = [fd for fd, _ in poll.poll()]
            try:
                text = self._channel.recv(MESSAGE_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                if self._pidfd in ready:  # children of a savefun's may hold the channel open
                    return None
                continue
            except ConnectionResetError:  # it did not read everything; its answers are still there
                continue
            return json.loads(text) if text else None

    def _give_up(self, job: Job, how: str) -> None:
        if not self._is_ready and self._process.returncode >= 0:
            _logger.warning(
                "%s: written by a thread: %s before it could begin; its own words stand above", job.name, how
            )
            job.disclaim()
            self._local.take(job)
            return
        fail(
            job,
            "helper",
            CommitError(
                f"{job.name}: the outcome is unknown: {how} before it had said that the snapshot is durable; either "
                "all of it is there or nothing. Save again: the next snapshot starts another process"
            ),
        )

    def _end_channel(self) -> None:
        with suppress(OSError):
            self._channel.shutdown(socket.SHUT_WR)  # for the processes that were forked with it, too

    def _close(self) -> None:
        self._channel.close()
        pidfd, self._pidfd = self._pidfd, -1
        if pidfd >= 0:
            os.close(pidfd)


def _inode(fd: int) -> int:
    with suppress(OSError):
        return os.fstat(fd).st_ino
    return -1


def _start(savefun: Mapping[str, Any] | None) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    options = ["-I"] if savefun else ["-I", "-S"]  # a savefun may need what a .pth file sees to
    try:
        return ours, subprocess.Popen(
            [sys.executable, *options, _PROGRAM, str(theirs.fileno()), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=None if savefun else subprocess.DEVNULL,  # who reads the trainer's output waits for its end
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # an interrupt from the terminal is for the trainer
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()


def _settle(job: Job, answer: Mapping[str, Any]) -> None:
    if "seconds" not in answer:
        fail(job, "helper", _rebuilt(job.name, answer))
        return
    assert job.committed is not None
    try:
        snapshot = job.committed()
    except Exception as error:  # noqa: BLE001  the caller is told
        fail(job, "helper", error)
    else:
        succeed(job, "helper", snapshot, answer["seconds"])


def _rebuilt(name: str, answer: Mapping[str, Any]) -> CommitError:
    """The error of another process."""
    kind, number, message = answer["kind"], answer["errno"], answer["message"]
    if kind == CommitError.__name__:
        error = CommitError(number, message) if number else CommitError(message)
        if name in message:
            return error
    what = f"{name}: not committed: {kind} in the helper process: {message}"
    error = CommitError(number, what) if number else CommitError(what)
    cause = _MachineElsewhere if answer.get("of_the_machine") else _Elsewhere
    error.__cause__ = cause(f"\n{answer['trace']}")
    return error


class _Elsewhere(Exception):
    """What was raised in another process, as its traceback says."""


class _MachineElsewhere(_Elsewhere, OSError):
    """The same, of an OSError or MemoryError."""


def _paths(savefun: Mapping[str, Any] | None) -> list[str]:
    """Where the process finds what it imports."""
    if savefun is not None:
        return [os.path.abspath(path) for path in sys.path]
    places = []
    for name in ("holdfast", xxhash.__name__):
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            places.append(os.path.dirname(os.path.dirname(os.path.abspath(spec.origin))))
    return list(dict.fromkeys(places))


_living: weakref.WeakSet[_Helper] = weakref.WeakSet()


def _disown_all() -> None:
    for helper in list(_living):
        helper.disown()
    _living.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown_all)
