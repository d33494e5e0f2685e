"""The bytes of a large file on their way past the page cache (O_DIRECT), where the file system takes them so.

The kernel then takes whole blocks, at multiples of their size, straight from the caller's memory. Blocks that several
writes share, and the last one of the file, are put together in memory of their own; the file is cut to its size in the
end. Memory that the kernel cannot use is copied, a piece at a time, to some that it can. Where even that is refused,
the page cache takes the rest, and every later file of that directory in this process: the first write is the probe,
since some file systems accept the flag and refuse the bytes.

What a failed call has done is never repeated here: only refusals, before which nothing was written, change the way.
"""

from __future__ import annotations

import errno
import logging
import mmap
from contextlib import suppress

from holdfast.scarcity import Condition
from holdfast.storage import syscalls

BLOCK_BYTES = 4096  # no disk that holdfast has met wants larger ones; one that does refuses, and the page cache is used
FROM_BYTES = 1 << 20  # smaller files are on the disk as soon through the page cache
_INTERRUPTS = 100  # in a row; more are no signals, but a file system at fault
_COPY_BYTES = 4 << 20  # of memory that the kernel cannot use, at a time

_REFUSALS = frozenset({errno.EINVAL, errno.EFAULT, errno.ENOTSUP, errno.EOPNOTSUPP})
"""What a direct write answers, having done nothing, where the place, the memory or the file system is not for it."""
_CANNOT_RESERVE = frozenset(
    {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM, errno.EACCES, errno.EINTR}
)
"""What a file system, a platform or a sandbox answers that has no such thing as reserving room."""

_logger = logging.getLogger("holdfast")
_refused: set[str] = set()  # directories whose file system does without


class Content:
    """What is being written to one file; any thread may call write().

    Each call keeps two blocks of its own at most, until its neighbours have brought the rest of them.
    """

    def __init__(self, fd: int, directory: str, size_bytes: int) -> None:
        """Nothing is written; a large file's room is reserved, so that a full disk is known at once.

        Args:
            fd: of the empty file; its flags may change, and nobody else may write to it until finish().
            directory: where the file is, as it is logged.
            size_bytes: of the whole file.
        Raises:
            OSError: there is no room for the file.
        """
        self._directory = directory
        self._size_bytes = size_bytes
        self._parts: dict[int, _Part] = {}  # by their place in the file
        self._state = Condition()  # guards what follows, and the parts
        self._in_flight = 0  # direct writes
        if size_bytes >= FROM_BYTES:
            _reserve(fd, size_bytes)
        self._direct = size_bytes >= FROM_BYTES and directory not in _refused and self._enter(fd)
        self._in_blocks = self._direct  # stays so to the end: the parts are whole blocks, however they are written

    def write(self, fd: int, view: memoryview, offset: int) -> None:
        """Put all of `view`, of bytes, at `offset`, or keep what does not fill a block until the rest of it comes."""
        if not self._in_blocks:
            _write(fd, view, offset)
            return
        head = min(-offset % BLOCK_BYTES, len(view))
        body = len(view) - (len(view) - head) % BLOCK_BYTES
        for start, end in ((0, head), (body, len(view))):
            if start < end:
                self._write_part(fd, view[start:end], offset + start)
        if head < body:
            self._write_blocks(fd, view[head:body], offset + head)

    def finish(self, fd: int) -> None:
        """Cut the file to its size, once every byte of it was given to write()."""
        if self._in_blocks and self._size_bytes % BLOCK_BYTES:
            syscalls.truncate(fd, self._size_bytes)

    def _write_part(self, fd: int, view: memoryview, offset: int) -> None:
        place = offset - offset % BLOCK_BYTES
        with self._state:
            part = self._parts.get(place)
            if part is None:
                part = self._parts[place] = _Part(min(BLOCK_BYTES, self._size_bytes - place))
            if not part.fill(view, offset - place):
                return
            del self._parts[place]
        self._write_blocks(fd, part.view, place)

    def _write_blocks(self, fd: int, view: memoryview, offset: int) -> None:
        if self._begin_direct():
            try:
                done = _write_direct(fd, view, offset)
            finally:
                self._end_direct()
            if done == len(view):
                return
            view, offset = view[done:], offset + done
            self._leave(fd)
        _write(fd, view, offset)

    def _begin_direct(self) -> bool:
        with self._state:
            self._in_flight += self._direct
            return self._direct

    def _end_direct(self) -> None:
        with self._state:
            self._in_flight -= 1
            self._state.notify_all()

    def _enter(self, fd: int) -> bool:
        try:
            syscalls.set_direct(fd, True)
        except OSError as error:  # nothing was written, and nothing is lost
            self._refuse(error.strerror or str(error))
            return False
        return True

    def _leave(self, fd: int) -> None:
        """From here on through the page cache; not before the direct writes under way have ended, since a page of the
        cache may hold more than a block."""
        with self._state:
            self._state.wait_for(lambda: not self._in_flight)
            if self._direct:  # no other thread was faster
                syscalls.set_direct(fd, False)
                self._direct = False
                self._refuse("a write was refused")

    def _refuse(self, why: str) -> None:
        if self._directory not in _refused:
            _refused.add(self._directory)
            _logger.debug("%s: written through the page cache, not by O_DIRECT: %s", self._directory, why)


class _Part:
    """A block of which bytes are missing."""

    def __init__(self, size_bytes: int) -> None:
        self.view = _aligned(BLOCK_BYTES)  # what the file does not need of it stays zero
        self._missing_bytes = size_bytes

    def fill(self, view: memoryview, start: int) -> bool:
        """Put bytes into it; whether it is whole now."""
        self.view[start : start + len(view)] = view
        self._missing_bytes -= len(view)
        return self._missing_bytes <= 0


def _reserve(fd: int, size_bytes: int) -> None:
    try:
        syscalls.allocate(fd, size_bytes)
    except OSError as error:
        if error.errno not in _CANNOT_RESERVE:
            raise


def _write_direct(fd: int, view: memoryview, offset: int) -> int:
    """Write whole blocks; returns how many bytes were, fewer than all where the file system refuses the rest."""
    done = _write_as_it_lies(fd, view, offset)
    if done == len(view):
        return done
    usable = _aligned(min(_COPY_BYTES, len(view) - done))
    while done < len(view):
        piece = usable[: len(view) - done]
        piece[:] = view[done : done + len(piece)]
        taken = _write_as_it_lies(fd, piece, offset + done)
        if not taken:
            break
        done += taken
    return done


def _write_as_it_lies(fd: int, view: memoryview, offset: int) -> int:
    """Write whole blocks; returns how many bytes were, fewer than all where the kernel refuses the rest."""
    done = 0
    while done < len(view):
        try:
            taken = _write_once(fd, view[done:], offset + done)
        except OSError as error:
            if error.errno in _REFUSALS:
                break
            raise
        if taken < BLOCK_BYTES:
            break
        done += taken - taken % BLOCK_BYTES  # a block that was taken in part is written again, whole
    return done


def _write(fd: int, view: memoryview, offset: int) -> None:
    while view:
        taken = _write_once(fd, view, offset)
        if taken <= 0:
            raise OSError(errno.EIO, "the file system took nothing")
        view = view[taken:]
        offset += taken


def _write_once(fd: int, view: memoryview, offset: int) -> int:
    """One write, begun again where it was interrupted before it took anything; not for ever."""
    for _ in range(_INTERRUPTS):
        with suppress(InterruptedError):
            return syscalls.pwrite(fd, view, offset)
    return syscalls.pwrite(fd, view, offset)


def _aligned(size_bytes: int) -> memoryview:
    """Memory that starts at a page, of zeroes."""
    return memoryview(mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
