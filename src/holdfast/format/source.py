"""Where the bytes of a file that is read come from: memory that is there, a map of the file, or reads past the cache.

Whoever is going to touch bytes asks for them with `bring` first, from any thread: what the disk does not give is an
error then, and not the end of the process.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from holdfast.memory import Memory
from holdfast.state.arrays import Bytes

BLOCK_BYTES = 16 << 20  # brought in one call
DIRECT_FROM = 32 << 20  # bytes of a file; a smaller one is there in a moment in any way
READS = 4  # under way at once
SAMPLES = 64  # places of a file that are asked for in the page cache
_NO_RESERVE: int = getattr(  # Python has it from 3.13 on
    mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64") else 0
)
_POPULATE_READ = 22  # madvise(2), Linux 5.14; Python has no name for it


class Source:
    """A file in memory, or memory that becomes the file as its bytes are brought.

    Attributes:
        memory: the whole file, read-only.
        threads: how many are to bring bytes at once; None: as many as there are processors.
        is_slow: whether it pays to bring bytes before their turn comes.
    """

    threads: int | None = None
    is_slow = False

    def __init__(self, memory: Bytes) -> None:
        memory = memory.view()
        memory.flags.writeable = False
        self.memory = memory

    def bring(self, start: int, stop: int) -> None:
        """Have these bytes in memory.

        Raises:
            OSError: the disk does not give them; touching them might end the process.
        """

    def close(self) -> None:
        """Let go of the file; arrays that look into its memory keep that."""


class MappedSource(Source):
    """A file, mapped privately (FUSE refuses shared maps)."""

    def __init__(self, descriptor: int, *, writable: bool = False) -> None:
        """
        Args:
            writable: others than numpy may write to the memory; the file never changes.
        """
        self._map = _map(descriptor, writable)
        super().__init__(np.frombuffer(memoryview(self._map).toreadonly(), np.uint8))
        self._address: int = self.memory.ctypes.data

    def bring(self, start: int, stop: int) -> None:
        if _madvise is None or start >= stop:
            return  # of other systems nothing is known
        start -= start % mmap.PAGESIZE
        failure = _madvise(self._address + start, stop - start, _POPULATE_READ)
        if failure not in (0, errno.EINVAL):  # before Linux 5.14 nothing is known either
            raise OSError(failure, os.strerror(failure))


class DirectSource(Source):
    """A file that is read from the disk into memory of its own, past the page cache, block by block as it is asked for.

    Args:
        path: of the file.
        descriptor: of the same file, open for reading; it is not kept.
        room: memory to read into; it grows where it is too small. None: memory that is given back at the end.
    Raises:
        OSError, ValueError, OverflowError, MemoryError: there is no room, or the file system does not read like that.
    """

    threads = READS
    is_slow = True

    def __init__(self, path: str, descriptor: int, room: Memory | None = None) -> None:
        found = os.fstat(descriptor)
        self._size = found.st_size
        self._own = None if room is not None else Memory(self._size)
        room = room or self._own
        assert room is not None
        room.grow(self._size)
        self._view = room.view  # whole pages, as such reads want them
        super().__init__(self._view[: self._size])
        self._guard = threading.Lock()
        self._blocks: dict[int, _Block] = {}
        self._buffered, self._direct = os.dup(descriptor), -1
        try:
            self._direct = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECT)
            if not os.path.samestat(os.fstat(self._direct), found):
                raise OSError(errno.ESTALE, "was replaced while it was opened", path)
        except BaseException:
            self.close()
            raise

    def bring(self, start: int, stop: int) -> None:
        for number in range(start // BLOCK_BYTES, -(-stop // BLOCK_BYTES)):
            low, high = number * BLOCK_BYTES, min((number + 1) * BLOCK_BYTES, self._size)
            with self._guard:
                block = self._blocks.get(number)
                is_mine = block is None
                if block is None:
                    block = self._blocks[number] = _Block()
            if is_mine:
                try:
                    with suppress(OSError):
                        self._read(low, high)
                        block.is_whole = True
                finally:
                    block.done.set()
            else:
                block.done.wait()
            if not block.is_whole:  # a part of it may be: what is asked for here
                low = max(low, start - start % mmap.PAGESIZE)
                self._read(low, min(high, stop))

    def _read(self, start: int, stop: int) -> None:
        """From a page on; more than `stop` may be read."""
        descriptor = self._direct
        while start < stop:
            room = self._view[start : -(-stop // mmap.PAGESIZE) * mmap.PAGESIZE].data
            try:
                count = os.preadv(descriptor, [room], start)
            except OSError as error:
                if error.errno != errno.EINVAL or descriptor == self._buffered:
                    raise
                descriptor = self._buffered  # the file system wants another alignment
                continue
            if not count:
                raise OSError(errno.EIO, "the file ends before its end")
            start += count

    def close(self) -> None:
        for descriptor in (self._buffered, self._direct):
            if descriptor >= 0:
                os.close(descriptor)
        self._buffered = self._direct = -1
        self._view = np.empty(0, np.uint8)
        if self._own is not None:
            self._own.close()


class _Block:
    """A part of a file that somebody has begun to read."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.is_whole = False


def open_source(path: str, descriptor: int, *, whole: bool, writable: bool, room: Memory | None) -> Source:
    """The best source for a file.

    Args:
        path, descriptor: of it, open for reading; the descriptor is not kept.
        whole: all of it is going to be read, and nothing looks into its memory afterwards.
        writable: as MappedSource has it.
        room: as DirectSource has it, where that is used; else it is left alone.
    """
    size = os.fstat(descriptor).st_size
    if not size:
        return Source(np.empty(0, np.uint8))  # nothing cannot be mapped
    past_the_cache = whole and size >= DIRECT_FROM and hasattr(os, "O_DIRECT") and is_cold(descriptor, size)
    if past_the_cache and (room is not None or size < available_bytes()):
        with suppress(OSError, ValueError, OverflowError, MemoryError):
            return DirectSource(path, descriptor, room)
    return MappedSource(descriptor, writable=writable)


def is_cold(descriptor: int, size: int) -> bool:
    """Whether most of a file is not in the page cache; False where the system does not tell."""
    if not hasattr(os, "RWF_NOWAIT") or not hasattr(os, "posix_fadvise"):
        return False
    missing, byte = 0, bytearray(1)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)  # else asking would begin to read what is around
    try:
        for number in range(SAMPLES):
            try:
                os.preadv(descriptor, [byte], (2 * number + 1) * size // (2 * SAMPLES), os.RWF_NOWAIT)
            except BlockingIOError:
                missing += 1
    except OSError:  # a file system that cannot say
        return False
    finally:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_NORMAL)
    return missing > SAMPLES // 2


def available_bytes() -> int:
    """How much memory can be had without anything being paged out or killed; very much where that is not known."""
    found = 1 << 62
    with suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found = next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    with suppress(OSError, ValueError, IndexError, StopIteration):
        group = Path("/proc/self/cgroup").read_text().strip().rpartition("::")[2]
        folder = Path("/sys/fs/cgroup") / group.lstrip("/")
        most, used = ((folder / name).read_text() for name in ("memory.max", "memory.current"))
        cached = next(
            int(line.split()[1])
            for line in (folder / "memory.stat").read_text().splitlines()
            if line.startswith("inactive_file ")
        )
        found = min(found, int(most) - int(used) + cached)
    return found


def _map(descriptor: int, writable: bool) -> mmap.mmap:
    if not hasattr(mmap, "MAP_PRIVATE"):
        return mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY if writable else mmap.ACCESS_READ)
    if not writable:
        return mmap.mmap(descriptor, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
    # Linux would keep memory free for a write to every page, and refuse to map a file that is larger than memory.
    flags = mmap.MAP_PRIVATE | _NO_RESERVE
    return mmap.mmap(descriptor, 0, flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE)


def _find_madvise() -> Callable[[int, int, int], int] | None:
    """madvise(2), which gives 0 or the error's number. Python's keeps the interpreter's lock while the disk works."""
    if sys.platform != "linux":
        return None
    try:
        function = ctypes.CDLL(None, use_errno=True).madvise
    except (OSError, AttributeError):
        return None
    function.argtypes, function.restype = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int], ctypes.c_int
    return lambda address, size, advice: ctypes.get_errno() if function(address, size, advice) else 0


_madvise = _find_madvise()
