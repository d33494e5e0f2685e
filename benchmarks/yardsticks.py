"""What all are held against: one memcpy, one raw write, one raw read; and a page cache and a disk in a known state.

Nothing here knows of holdfast or its peers.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

BLOCK = 16 << 20
PAGE = mmap.PAGESIZE
_POPULATE_WRITE = 23  # madvise(2), Linux 5.14
_libc = ctypes.CDLL(None, use_errno=True)
_libc.memcpy.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
_libc.memcpy.restype = ctypes.c_void_p
_libc.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
_libc.mmap.restype = ctypes.c_void_p
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)


class Copier:
    """One memcpy of a state: libc's, one thread, leaf by leaf, into touched memfd memory.

    Args:
        leaves: address and bytes of each.

    Attributes:
        copies: to, from, bytes.
    """

    def __init__(self, leaves: Iterable[tuple[int, int]]) -> None:
        leaves = [(address, size) for address, size in leaves if size]
        self.size_bytes = sum(size for _, size in leaves)
        room = sum(-(-size // 64) * 64 for _, size in leaves)
        self._fd = os.memfd_create("yardstick")
        os.ftruncate(self._fd, -(-room // BLOCK) * BLOCK)
        self.map = mmap.mmap(self._fd, 0)
        populate(self.map)
        at = ctypes.addressof(ctypes.c_char.from_buffer(self.map))
        self.copies: list[tuple[int, int, int]] = []
        for address, size in leaves:
            self.copies.append((at, address, size))
            at += -(-size // 64) * 64

    def seconds(self) -> float:
        """Copy once."""
        memcpy = _libc.memcpy
        began = time.perf_counter()
        for to, source, size in self.copies:
            memcpy(to, source, size)
        return time.perf_counter() - began

    def write_seconds(self, path: Path) -> float:
        """Write as many bytes as the state has to a new file, O_DIRECT with fallocate, and fsync it."""
        return raw_write(path, memoryview(self.map), self.size_bytes)


def populate(memory: mmap.mmap) -> None:
    """Touch every page."""
    try:
        memory.madvise(_POPULATE_WRITE)
    except OSError:
        for at in range(0, len(memory), PAGE):
            memory[at] = 0


def raw_write(path: Path, source: memoryview, size_bytes: int, threads: int = 2) -> float:
    """Seconds for a new file: fallocate, O_DIRECT writes of 16 MiB from `threads` threads, fsync."""
    size_bytes = -(-size_bytes // PAGE) * PAGE
    began = time.perf_counter()
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_DIRECT", 0), 0o600)
    try:
        os.posix_fallocate(fd, 0, size_bytes)
        share(
            threads,
            range(0, size_bytes, BLOCK),
            lambda at: os.pwrite(fd, source[at : min(at + BLOCK, size_bytes)], at),
        )
        os.fsync(fd)
    finally:
        os.close(fd)
    return time.perf_counter() - began


def raw_read(path: Path, block: int = BLOCK, threads: int = 2) -> float:
    """Seconds to read a file with O_DIRECT into fresh anonymous memory that may have huge pages."""
    size = -(-path.stat().st_size // PAGE) * PAGE
    began = time.perf_counter()
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):
        memory.madvise(mmap.MADV_HUGEPAGE)
    view = memoryview(memory)
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_DIRECT", 0))
    try:
        share(threads, range(0, size, block), lambda at: os.preadv(fd, [view[at : min(at + block, size)]], at))
    finally:
        os.close(fd)
    took = time.perf_counter() - began
    view.release()
    memory.close()
    return took


READS = ((16 << 20, 2), (16 << 20, 4), (4 << 20, 4), (2 << 20, 2))  # bytes of a block, threads


def best_read(path: Path) -> tuple[int, int]:
    """The block size and the number of threads with which this file is read fastest."""
    return min(READS, key=lambda way: raw_read(path, *way))


def share(threads: int, places: Iterable[int], act: Callable[[int], object]) -> None:
    """Call `act` once for each place, from so many threads."""
    waiting, taking = iter(places), threading.Lock()
    failures: list[OSError] = []

    def work() -> None:
        while not failures:
            with taking:
                at = next(waiting, None)
            if at is None:
                return
            try:
                act(at)
            except OSError as error:
                failures.append(error)

    crew = [threading.Thread(target=work) for _ in range(threads - 1)]
    for one in crew:
        one.start()
    work()
    for one in crew:
        one.join()
    if failures:
        raise failures[0]


def files_of(path: Path) -> list[Path]:
    """The file itself, or all below the folder."""
    return [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file())


def sync_tree(path: Path) -> None:
    """fsync a file, or every file and folder of a tree, and the folder that has it."""
    folders = {path.parent} if path.is_file() else {path.parent, path, *(o for o in path.rglob("*") if o.is_dir())}
    for one in [*files_of(path), *sorted(folders, reverse=True)]:
        fd = os.open(one, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def warm(path: Path) -> None:
    """Bring every byte into the page cache."""
    buffer = bytearray(BLOCK)
    for one in files_of(path):
        with open(one, "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def drop(path: Path) -> float:
    """Take every byte out of the page cache; returns the share, 0 to 1, that is still there."""
    left = total = 0
    for one in files_of(path):
        fd = os.open(one, os.O_RDONLY)
        try:
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            pages = -(-os.fstat(fd).st_size // PAGE)
            total += pages
            left += _resident(fd, pages)
        finally:
            os.close(fd)
    return left / total if total else 0.0


def _resident(fd: int, pages: int) -> int:
    if not pages:
        return 0
    address = _libc.mmap(None, pages * PAGE, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0)
    if address in (None, ctypes.c_void_p(-1).value):
        return 0
    found = (ctypes.c_ubyte * pages)()
    _libc.mincore(address, pages * PAGE, found)
    _libc.munmap(address, pages * PAGE)
    return sum(one & 1 for one in bytes(found)) if any(bytes(found)) else 0


def settle(folder: Path, timeout: float = 20.0) -> None:
    """Return when nothing is left to be written, and the disk has been idle for a fifth of a second."""
    os.sync()
    device = os.stat(folder).st_dev
    counters = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/inflight")
    end, idle = time.monotonic() + timeout, 0
    while counters.exists() and idle < 4 and time.monotonic() < end:
        idle = idle + 1 if sum(map(int, counters.read_text().split())) == 0 else 0
        time.sleep(0.05)
