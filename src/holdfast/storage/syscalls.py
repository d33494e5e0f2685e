"""The system calls that matter, one thin function each.

The storages, commit.py and lock.py make them here and nowhere else, always through the module (`syscalls.fsync(fd)`),
so that a test can let any of them fail, or let the process die right before it (tests/faults/injection.py). Nothing is
decided here: no error is hidden, and nothing is tried twice but what Python itself continues after a signal.
"""

from __future__ import annotations

import errno
import os
import shutil
import struct
import sys
import threading

NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
NONBLOCK = getattr(os, "O_NONBLOCK", 0)  # opening a FIFO must not wait for its other end
_BINARY = getattr(os, "O_BINARY", 0)

_INTERRUPTS = 100  # in a row; more are no signals, but a file system at fault
NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP})
"""What a file system or platform answers that has no locks, or none of this kind."""


def open(path: str, flags: int, mode: int = 0o666) -> int:  # noqa: A001
    """A descriptor that programs started later do not inherit; a new file's mode follows the umask."""
    return os.open(path, flags | _BINARY, mode)


def close(fd: int) -> None:
    """The descriptor is gone afterwards, also where this raises."""
    os.close(fd)


def dup(fd: int) -> int:
    """A second descriptor of the same open file."""
    return os.dup(fd)


def stat(path: str, *, follow_symlinks: bool = True) -> os.stat_result:
    """What stands under a path; with follow_symlinks=False of the link itself."""
    return os.stat(path, follow_symlinks=follow_symlinks)


def fstat(fd: int) -> os.stat_result:
    """What a descriptor stands for."""
    return os.fstat(fd)


def scandir(path: str) -> list[os.DirEntry[str]]:
    """Every entry of a directory, in no order."""
    with os.scandir(path) as entries:
        return list(entries)


def fsync(fd: int) -> None:
    """Once this returns, a power cut cannot lose the file's bytes, or the directory's names."""
    os.fsync(fd)


def rename(old: str, new: str) -> None:
    """Give a file another name; a file or link that has it is replaced, on Windows too."""
    os.replace(old, new)


def unlink(path: str) -> None:
    """Remove a name of a file, or a link."""
    os.unlink(path)


def mkdir(path: str) -> None:
    """Make one directory; its mode follows the umask."""
    os.mkdir(path)


def rmdir(path: str) -> None:
    """Remove an empty directory."""
    os.rmdir(path)


def truncate(fd: int, size_bytes: int) -> None:
    """Cut a file to a size, or make it longer."""
    os.ftruncate(fd, size_bytes)


def allocate(fd: int, size_bytes: int) -> None:
    """Give a file its size, and reserve the room for it, without writing; raises OSError(ENOSYS) where there is no
    such call. Python's own posix_fallocate() writes every block where the file system cannot do it."""
    import ctypes  # not with the module: a process that only reads does without

    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    libc = ctypes.CDLL(None, use_errno=True)
    fallocate = libc["fallocate64" if hasattr(libc, "fallocate64") else "fallocate"]  # its lengths have 64 bits
    fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    for _ in range(_INTERRUPTS):
        if not fallocate(fd, 0, 0, size_bytes):
            return
        number = ctypes.get_errno()
        if number != errno.EINTR:
            break
    raise OSError(number, os.strerror(number))


def set_direct(fd: int, direct: bool) -> None:
    """Let writes go past the page cache, or through it again; raises OSError(ENOTSUP) where there is no O_DIRECT."""
    if not hasattr(os, "O_DIRECT"):
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_DIRECT if direct else flags & ~os.O_DIRECT)


def free_bytes(path: str) -> int | None:
    """What this user may still write to the file system of `path`; None where it does not say: some have no blocks."""
    if sys.platform == "win32":
        return shutil.disk_usage(path).free
    found = os.statvfs(path)
    blocks = found.f_bfree if os.geteuid() == 0 else found.f_bavail  # some are kept for root
    return blocks * found.f_frsize if found.f_blocks and found.f_frsize else None


if hasattr(os, "pwrite"):

    def pread(fd: int, size_bytes: int, offset: int) -> bytes:
        """Up to `size_bytes` bytes from `offset` on; none at the end of the file."""
        return os.pread(fd, size_bytes, offset)

    def pwrite(fd: int, view: memoryview, offset: int) -> int:
        """How many bytes of `view` were taken at `offset`; may be fewer than all."""
        return os.pwrite(fd, view, offset)

else:
    _position = threading.Lock()  # without positioned calls, the place and the transfer are two steps

    def pread(fd: int, size_bytes: int, offset: int) -> bytes:
        """Up to `size_bytes` bytes from `offset` on; none at the end of the file."""
        with _position:
            os.lseek(fd, offset, os.SEEK_SET)
            return os.read(fd, size_bytes)

    def pwrite(fd: int, view: memoryview, offset: int) -> int:
        """How many bytes of `view` were taken at `offset`; may be fewer than all."""
        with _position:
            os.lseek(fd, offset, os.SEEK_SET)
            return os.write(fd, view)


if sys.platform == "win32":

    def lock_record(fd: int, start: int) -> bool:
        """Raises OSError(ENOTSUP): there are none."""
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

else:
    import fcntl

    def lock_record(fd: int, start: int) -> bool:
        """Lock the byte at `start` for this process; False where another process has it locked.

        A forked child does not inherit it, and closing any descriptor of the file in this process lets it go.
        """
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, start)
        except (BlockingIOError, PermissionError):
            return False
        return True


if sys.platform == "linux":
    _FLOCK = struct.Struct("hhqqi4x")  # l_type, l_whence, l_start, l_len, l_pid: see fcntl(2)

    def lock_description(fd: int) -> bool:
        """Lock the whole file for this descriptor and its duplicates; False where it is locked otherwise.

        Closing other descriptors of the file leaves it alone; a forked child that keeps the descriptor keeps it, too.
        """
        try:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        except (BlockingIOError, PermissionError):
            return False
        return True

    def record_holder(fd: int, start: int) -> int | None:
        """The process that has the byte at `start` locked: its pid, 0 where only somebody else's kernel knows it, None
        where nobody else has it locked."""
        wanted = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, start, 1, 0)
        kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_GETLK, wanted)[: _FLOCK.size])
        return None if kind == fcntl.F_UNLCK else max(0, pid)

else:

    def lock_description(fd: int) -> bool:
        """Raises OSError(ENOTSUP): there are none here that holdfast knows."""
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    def record_holder(fd: int, start: int) -> int | None:
        """0: somebody, but nobody knows who."""
        return 0


if sys.platform == "win32":

    def wait_for_record(fd: int, start: int) -> None:
        """Raises OSError(ENOTSUP): there are none."""
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    def unlock_record(fd: int, start: int) -> None:
        """Raises OSError(ENOTSUP): there are none."""
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

else:

    def wait_for_record(fd: int, start: int) -> None:
        """Lock the byte at `start` for this process, once nobody else has it locked."""
        fcntl.lockf(fd, fcntl.LOCK_EX, 1, start)

    def unlock_record(fd: int, start: int) -> None:
        """Let go of the byte at `start`."""
        fcntl.lockf(fd, fcntl.LOCK_UN, 1, start)


if sys.platform == "linux":

    def share_record(fd: int, start: int) -> None:
        """Lock the byte at `start` for this descriptor and its duplicates, in whatever process, beside others that
        share it; raises BlockingIOError where a process has it for itself."""
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, start, 1, 0))

else:

    def share_record(fd: int, start: int) -> None:
        """Raises OSError(ENOTSUP): there are none here that holdfast knows."""
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
