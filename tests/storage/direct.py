"""How tests see whether bytes go past the page cache, and what a kernel does that is strict about it."""

from __future__ import annotations

import errno
import fcntl
import os
import threading

import pytest

from holdfast.storage import direct_io

BLOCK = direct_io.BLOCK_BYTES


def is_direct(fd):
    """Whether writes to a descriptor go past the page cache."""
    return bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT)


def needs_direct_io(directory):
    """Skip the test where the file system of a directory does not take O_DIRECT."""
    path = os.path.join(directory, "probe of O_DIRECT")
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_DIRECT)
        try:
            os.pwrite(fd, direct_io._aligned(BLOCK), 0)
        finally:
            os.close(fd)
    except (OSError, AttributeError):
        pytest.skip("the file system of the temporary directory takes no O_DIRECT")
    finally:
        os.unlink(path)


class Kernel:
    """Stands in for pwrite: refuses what is not whole blocks, as the strictest disk does, and notes what it was given.

    `refuse(direct, count, view)`, of a call that is in order, says which error it gets or None; `take` at most so many
    bytes of a direct write.
    """

    def __init__(self, refuse=lambda direct, count, view: None, take=None):
        self.calls = []  # (direct, offset, size_bytes)
        self._refuse = refuse
        self._take = take
        self._guard = threading.Lock()

    def __call__(self, real, fd, view, offset):
        direct = is_direct(fd)
        with self._guard:
            self.calls.append((direct, offset, len(view)))
            count = len(self.calls)
        number = errno.EINVAL if direct and (offset % BLOCK or len(view) % BLOCK) else self._refuse(direct, count, view)
        if number:
            raise OSError(number, os.strerror(number))
        if direct and self._take and self._take < len(view):
            # Nobody may count on a block that was taken in part: here nothing of it is.
            if whole := self._take - self._take % BLOCK:
                real(fd, view[:whole], offset)
            return self._take
        return real(fd, view, offset)
