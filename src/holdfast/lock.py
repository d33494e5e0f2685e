"""Which process may write to a directory of snapshots.

One process at a time: a record lock on the first byte of `.holdfast-lock` in the directory decides, held through one
descriptor for each directory and process, whoever asks there, and however often. It ends with its process, also after
SIGKILL; a forked child does not have it. The text in the file only informs. The second byte is shared by the writer
processes that write there, which outlive a parent that was killed: whoever takes the first byte then waits for them.

The file stays when the lock is released: removing it could take it away under another process that has just opened
it. Nothing else in this process may open it, since closing that descriptor would let the lock go. Its text is written
only where the file has no other name: what it is a hard link of may be somebody else's.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import sys
import threading
from contextlib import suppress
from datetime import datetime, timezone

from holdfast.errors import StoreLockedError
from holdfast.storage import syscalls
from holdfast.storage.base import LOCK_NAME

_BYTE = 0
_SHARED_BYTE = 1
_WAIT_S = 600.0  # for a writer process that was left behind: it has one snapshot to write, or a few
_TEXT_BYTES = 512
_ATTEMPTS = 3  # the holder may leave between being in the way and being asked for its name
_logger = logging.getLogger("holdfast")

_registry = threading.Lock()  # guards what follows
_held: dict[tuple[int, int], _File] = {}
"""The lock files that this process has open, by device and inode, which cannot be reused while they are."""
_unlockable: set[str] = set()  # directories that were warned about


class _File:
    """One lock file, open in this process."""

    def __init__(self, fd: int, path: str) -> None:
        self.fd = fd
        self.path = path
        self.users = 0
        self.shared_fd: int | None = None  # locks the second byte; -1: there are no such locks
        self.fds = [fd]  # all, since closing one lets the record lock go
        self.settling = threading.Lock()  # held by the thread that waits
        self.is_settled = False  # no earlier process's writer is left


class Lock:
    """The right to write to a directory, until release() or the end of the process; acquire() makes it."""

    def __init__(self, file: _File) -> None:
        self._file: _File | None = file

    def release(self) -> None:
        """Give it up; the last one that this process holds lets others in. In a forked child, and again: nothing."""
        if self._file is not None:
            _release(self._file)
            self._file = None

    def share(self) -> int:
        """A descriptor for writer processes: as long as one of them has it open, acquire() waits in later processes.

        It stays this object's, and is the same every time. -1 where there are no such locks.
        Raises:
            ValueError: the lock was released.
            OSError: the lock file cannot be opened again.
        """
        if self._file is None:
            raise ValueError("this lock was released, and there is nothing to share")
        with _registry:
            return _share(self._file)


def acquire(directory: str) -> Lock:
    """Take the right to write to an existing directory; shared with whoever has it in this process.

    Where an earlier process was killed and its writer process still writes a snapshot there, this waits for it, and
    logs that. Where there are no locks (Windows, some network file systems), a warning is logged once and it goes
    without.

    Raises:
        StoreLockedError: another process has it; says which. Or a writer process that was left behind does not end;
            says which processes have the lock file open.
        OSError: the lock file cannot be opened, or something else has its name.
    """
    path = os.path.join(directory, LOCK_NAME)
    with _registry:
        file = _held_here(path) or _open(directory, path)
        file.users += 1
    lock = Lock(file)
    try:
        with file.settling:
            if not file.is_settled:
                _settle(directory, file.fd)
                file.is_settled = True
    except BaseException:
        lock.release()
        raise
    return lock


def share_of(directory: str) -> int:
    """What Lock.share() gives, where this process has the right to write to a directory; else -1."""
    with _registry:
        file = _held_here(os.path.join(directory, LOCK_NAME))
        return -1 if file is None else _share(file)


def _held_here(path: str) -> _File | None:
    try:
        found = syscalls.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISLNK(found.st_mode):  # opening a device may do something
        raise FileExistsError(errno.EEXIST, "this name is for the lock file, and that is no regular file", path)
    return _held.get((found.st_dev, found.st_ino))


def _open(directory: str, path: str) -> _File:
    fd = syscalls.open(path, os.O_RDWR | os.O_CREAT | syscalls.NOFOLLOW)
    try:
        found = syscalls.fstat(fd)
        _lock(directory, fd, is_ours=found.st_nlink <= 1)
    except BaseException:
        syscalls.close(fd)
        raise
    file = _File(fd, path)
    _held[found.st_dev, found.st_ino] = file
    return file


def _lock(directory: str, fd: int, *, is_ours: bool) -> None:
    try:
        for _ in range(_ATTEMPTS):
            if syscalls.lock_record(fd, _BYTE):
                if is_ours:
                    with suppress(OSError):  # it only informs
                        syscalls.pwrite(fd, memoryview(_describe_this_process()), 0)
                return
            holder = syscalls.record_holder(fd, _BYTE)
            if holder is not None:
                break
    except OSError as error:
        if error.errno not in syscalls.NO_LOCKS:
            raise
        if directory not in _unlockable:
            _unlockable.add(directory)
            _logger.warning(
                "%s: cannot be locked here (%s); nothing keeps a second process from writing to this store",
                directory,
                error.strerror,
            )
        return
    raise StoreLockedError(
        f"{directory}: another process is writing to this store: {_describe_holder(holder, fd)}; stop it or wait for "
        "its end, choose another directory, or open this one with readonly=True"
    )


def _settle(directory: str, fd: int) -> None:
    """Return once no earlier process's writer is at work in the directory."""
    try:
        if not syscalls.lock_record(fd, _SHARED_BYTE):
            _logger.info(
                "%s: an earlier run was killed, and its writer process is still writing a snapshot; waiting for it, at "
                "most %d s; %s",
                directory,
                _WAIT_S,
                _describe_sharers(directory),
            )
            _wait(directory, fd)
        syscalls.unlock_record(fd, _SHARED_BYTE)
    except OSError as error:
        if error.errno not in syscalls.NO_LOCKS:
            raise


def _wait(directory: str, fd: int) -> None:
    ended: list[bool] = []

    def wait() -> None:
        with suppress(OSError):  # the descriptor was closed: nobody waits any more
            syscalls.wait_for_record(fd, _SHARED_BYTE)
            ended.append(True)

    # A thread, since such a wait has no limit of its own; the system undoes what it gets after the file was closed.
    thread = threading.Thread(target=wait, name="holdfast-lock", daemon=True)
    thread.start()
    thread.join(_WAIT_S)
    if not ended:
        raise StoreLockedError(
            f"{directory}: the writer process of an earlier run is still writing here, after {_WAIT_S:.0f} s; "
            f"{_describe_sharers(directory)}; wait for its end or stop it, then try again"
        )


def _share(file: _File) -> int:
    if file.shared_fd is None:
        fd = syscalls.open(file.path, os.O_RDWR | syscalls.NOFOLLOW)
        file.fds.append(fd)
        file.shared_fd = -1
        if os.path.samestat(syscalls.fstat(fd), syscalls.fstat(file.fd)):  # else the file was removed meanwhile
            try:
                syscalls.share_record(fd, _SHARED_BYTE)
                file.shared_fd = fd
            except OSError as error:
                if error.errno not in syscalls.NO_LOCKS:
                    raise
    return file.shared_fd


def _release(file: _File) -> None:
    with _registry:
        file.users -= 1
        if file.users:
            return
        for key in [key for key, held in _held.items() if held is file]:
            del _held[key]
            for fd in file.fds:
                with suppress(OSError):
                    syscalls.close(fd)


def _describe_this_process() -> bytes:
    program = os.path.basename(sys.argv[0]) if sys.argv else ""
    since = datetime.now(timezone.utc).isoformat(timespec="seconds")
    text = f"pid {os.getpid()} on {os.uname().nodename}, program {program or 'unknown'}, since {since}"
    return text.encode("utf-8", "replace")[: _TEXT_BYTES - 1].ljust(_TEXT_BYTES - 1) + b"\n"


def _describe_holder(pid: int | None, fd: int) -> str:
    """The kernel knows the pid; the rest is what the file says, which may be an older holder's."""
    who = f"pid {pid}" if pid else "its pid is not known here"
    with suppress(OSError):
        text = syscalls.pread(fd, _TEXT_BYTES, 0).decode("utf-8", "replace").strip()
        if text:
            who += f" (the lock file says: {text!r:.200})"
    return who


def _describe_sharers(directory: str) -> str:
    """The other processes that have the lock file open, as far as this one may look.

    It is a writer process; or a worker that a library of the killed run's forked without Python's knowledge, which
    writes nothing, and can be stopped. The system does not tell who has such a lock, only who has the file.
    """
    path = os.path.join(os.path.realpath(directory), LOCK_NAME)
    found = []
    with suppress(OSError):  # there is no /proc
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with suppress(OSError):  # it has ended, or is somebody else's
                fds = os.listdir(f"/proc/{pid}/fd")
                if int(pid) != os.getpid() and any(_link(f"/proc/{pid}/fd/{fd}") == path for fd in fds):
                    with open(f"/proc/{pid}/cmdline", "rb") as file:
                        command = file.read(_TEXT_BYTES).replace(b"\0", b" ").decode("utf-8", "replace")
                    found.append(f"pid {pid} ({' '.join(command.split())})")
    if not found:
        return "look for a process of 'helper_process.py'"
    return f"the lock file is open in {', '.join(found)}"


def _link(path: str) -> str:
    with suppress(OSError):
        return os.readlink(path)
    return ""


def _forget() -> None:
    """In a forked child: the parent holds the locks. Closing the descriptors here does not release them there."""
    global _registry
    _registry = threading.Lock()  # another thread of the parent's may have had it
    for file in _held.values():
        for fd in file.fds:
            with suppress(OSError):
                os.close(fd)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
