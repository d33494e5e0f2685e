"""Temporary files: what is still being written, beside the name that it will get.

Each is locked for as long as its writer lives, so that sweep() can tell a dead writer's from a living one's: on Linux
with a lock of the open file, elsewhere, and where the file system lacks those, with a record lock. Where there are no
locks at all nothing is swept, and never anything that has not exactly such a name as holdfast gives.
"""

from __future__ import annotations

import errno
import logging
import os
import re
from collections.abc import Callable, Iterable
from contextlib import suppress

from holdfast.storage import syscalls
from holdfast.storage.base import TEMPORARY_SUFFIX

_ATTEMPTS = 100
_NAME = re.compile(r"\.[0-9a-f]{16}" + re.escape(TEMPORARY_SUFFIX))
_logger = logging.getLogger("holdfast")

_own: dict[str, Temporary] = {}
"""This process's, by their names, which are unique everywhere. A record lock does not keep its own process out, and
opening and closing such a file would let the lock go: sweep() must not even touch these."""


class Temporary:
    """One file being written, with its descriptor; end it with release() or discard()."""

    def __init__(self, directory: str) -> None:
        self._name = f".{os.urandom(8).hex()}{TEMPORARY_SUFFIX}"
        self._locked = False
        self.path = os.path.join(directory, self._name)
        self.fd = -1  # also where the process that forked this one goes on writing it

    def open(self) -> bool:
        """Make the file and lock it; False, with nothing left, where the name is taken or another process has just
        swept the file away."""
        _own[self._name] = self
        try:
            self.fd = syscalls.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            self.release()
            return False
        except BaseException:
            self.release()
            raise
        try:
            locked = _lock(self.fd)
            self._locked = bool(locked)
            swept = locked is False or syscalls.fstat(self.fd).st_nlink == 0
        except BaseException:
            self.discard()
            raise
        if swept:
            self.discard()
        return not swept

    def close(self) -> None:
        """Close the file, and see the errors that only this tells, but keep the lock: a file that is about to get its
        name must not be taken for a dead writer's."""
        fd, self.fd = self.fd, syscalls.dup(self.fd) if self._locked else -1
        syscalls.close(fd)

    def release(self) -> None:
        """Let go of the file, which has its name. Never raises OSError."""
        _own.pop(self._name, None)
        fd, self.fd = self.fd, -1
        if fd >= 0:
            try:  # noqa: SIM105  suppress() takes memory, and there may be none
                syscalls.close(fd)
            except OSError:
                pass

    def discard(self) -> None:
        """Remove the file. Never raises OSError: what cannot be removed now is swept later."""
        self.release()
        try:  # noqa: SIM105  as above
            syscalls.unlink(self.path)
        except OSError:
            pass


def create(directory: str) -> Temporary:
    """A new, empty file in `directory`, which no other process takes for a dead writer's."""
    for _ in range(_ATTEMPTS):
        temporary = Temporary(directory)
        if temporary.open():
            return temporary
    raise FileExistsError(errno.EEXIST, f"none of {_ATTEMPTS} random names for a temporary file could be had")


def sweep(entries: Iterable[os.DirEntry[str]]) -> list[str]:
    """Remove what dead writers left among the entries of a directory; returns the names of those files."""
    return [
        entry.name
        for entry in entries
        if is_own_name(entry.name)
        and entry.name not in _own
        and entry.is_file(follow_symlinks=False)
        and _remove_if_dead(entry.path)
    ]


def is_own_name(name: str) -> bool:
    """Whether a file name is one that create() gives: base.is_temporary() keeps more names for holdfast than that."""
    return _NAME.fullmatch(name) is not None


def disown() -> None:
    """Forget every temporary file without removing one, as a forked child must: its parent goes on writing them. An
    inherited descriptor would keep a lock, and the disk space of a file long removed."""
    for temporary in list(_own.values()):
        fd, temporary.fd = temporary.fd, -1
        if fd >= 0:
            with suppress(OSError):
                os.close(fd)
    _own.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=disown)


def _lock(fd: int) -> bool | None:
    """True: locked; False: somebody else has it locked; None: there are no locks here, and nothing is known."""
    locks: tuple[Callable[[], bool], ...] = (
        lambda: syscalls.lock_description(fd),
        lambda: syscalls.lock_record(fd, 0),
    )
    for lock in locks:
        try:
            return lock()
        except OSError as error:
            if error.errno not in syscalls.NO_LOCKS:
                raise
    return None


def _remove_if_dead(path: str) -> bool:
    try:
        fd = syscalls.open(path, os.O_RDWR | syscalls.NOFOLLOW)
        try:
            if not _lock(fd):
                return False
            # A writer may have renamed the file since it was opened: then this name is gone, and the file stays.
            syscalls.unlink(path)
        finally:
            syscalls.close(fd)
    except FileNotFoundError:
        return False
    except OSError as error:
        _logger.warning("%s: left by a writer that died, but it cannot be removed: %s", path, error)
        return False
    _logger.info("%s: removed, left by a writer that died", path)
    return True
