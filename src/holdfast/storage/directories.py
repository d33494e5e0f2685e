"""Directories that a power cut cannot take away.

A file is only as durable as the name of every directory above it. Whoever made them, a user's makedirs or a process
that was killed before it could sync, they are synced before the first commit relies on them.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from contextlib import suppress

from holdfast.storage import syscalls

_CANNOT_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP})
"""What a network file system answers that has no such thing as syncing a directory."""


def make(directory: str) -> bool:
    """Make a directory and those above it where they are missing; says whether it was.

    Raises:
        NotADirectoryError: something else stands under that name.
    """
    try:
        if not stat.S_ISDIR(syscalls.stat(directory).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), directory)
    except FileNotFoundError:
        make(os.path.dirname(directory))
        with suppress(FileExistsError):  # another thread or process was faster
            syscalls.mkdir(directory)
        return True
    return False


def sync(directory: str) -> None:
    """Make durable which names are in a directory; until this returns, a power cut can undo the last changes to them.

    Windows, and file systems that cannot sync a directory, do it in their own time.
    """
    if sys.platform == "win32":
        return
    fd = syscalls.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        syscalls.fsync(fd)
        syscalls.fstat(fd)  # XFS that has shut down, its disk failing, says yes to the sync, and no to this
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
    finally:
        syscalls.close(fd)


def sync_upwards(directory: str) -> None:
    """Make a directory and every name that leads to it on its file system durable.

    One above it that this process may not read is passed over: it did not make anything there.
    """
    sync(directory)
    inner = os.path.realpath(directory)
    device = syscalls.stat(inner).st_dev
    while (outer := os.path.dirname(inner)) != inner and syscalls.stat(outer).st_dev == device:
        with suppress(PermissionError):
            sync(outer)
        inner = outer
