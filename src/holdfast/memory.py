"""Host memory for bulk bytes: page-aligned, kept and used again, able to grow, touched in the background.

Private memory has huge pages where the system gives them, which are touched several times as fast. Shared memory is a
memfd, a file without a name: any process may map it that is handed its descriptor, and it is gone when the last of them
lets go.
"""

from __future__ import annotations

import mmap
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np

from holdfast import crew

Bytes = np.ndarray[Any, np.dtype[np.uint8]]

PAGE = mmap.PAGESIZE
_POPULATE_WRITE = 23  # madvise(2), Linux 5.14; Python has no name for it
_STRIDE = 16 << 20  # touched in one call: between two of them the memory can be given up


class Memory:
    """So many bytes of memory, which are not taken before somebody writes to them or asks for `prefault`.

    Args:
        size_bytes: rounded up to whole pages.
        shared: another process is to see it; where the system cannot, it is private, and `fd` is -1.
    Raises:
        OSError, ValueError, OverflowError: there is no room for so much.
    """

    def __init__(self, size_bytes: int, *, shared: bool = False) -> None:
        self.fd = -1  # of shared memory
        self.view: Bytes = np.empty(0, np.uint8)
        self._faulted: dict[int, int] = {}  # strides that were touched: where each begins and how far it was
        self._faulting: threading.Thread | None = None
        self._enough = threading.Event()
        if shared and hasattr(os, "memfd_create"):
            with suppress(OSError):  # a kernel, or a sandbox, without them
                self.fd = os.memfd_create("holdfast", os.MFD_CLOEXEC)
        try:
            self.grow(size_bytes)
        except BaseException:
            self.close()
            raise

    @property
    def size_bytes(self) -> int:
        """Whole pages."""
        return len(self.view)

    def grow(self, size_bytes: int) -> None:
        """Have at least so many bytes. `view` may be another one then; what was in the memory may be lost.

        Raises:
            OSError, ValueError, OverflowError: there is no room for so much; less may be left than before.
        """
        size_bytes = -(-size_bytes // PAGE) * PAGE
        if size_bytes <= self.size_bytes:
            return
        self._stop_faulting()
        if self.fd >= 0:
            os.ftruncate(self.fd, size_bytes)
            memory = mmap.mmap(self.fd, size_bytes, flags=mmap.MAP_SHARED)
        else:
            self.view = np.empty(0, np.uint8)  # give the old memory back before asking for new
            memory = _anonymous(size_bytes)
        self._faulted.clear()  # a new mapping has no pages yet, even of a file that does
        self.view = np.frombuffer(memory, np.uint8)

    def prefault(self, size_bytes: int | None = None) -> None:
        """Begin to touch the memory in the background, so that the first copy into it finds its pages there.

        Args:
            size_bytes: from the start; None: all of it.
        """
        size_bytes = self.size_bytes if size_bytes is None else min(size_bytes, self.size_bytes)
        wanted = {start: min(start + _STRIDE, size_bytes) for start in range(0, size_bytes, _STRIDE)}
        missing = [(start, end) for start, end in wanted.items() if self._faulted.get(start, 0) < end]
        populate = _populate()
        if not missing or populate is None:
            return
        self._stop_faulting()
        self._enough.clear()
        touch = [partial(self._touch, populate, self.view, start, end) for start, end in missing]
        thread = threading.Thread(target=_touch_all, args=(touch,), name="holdfast-prefault", daemon=True)
        with suppress(RuntimeError):  # no thread can be started: the first copy touches it
            thread.start()
            self._faulting = thread

    def wait_prefaulted(self, timeout: float | None = None) -> bool:
        """Wait for what `prefault` began; whether it has ended."""
        thread = self._faulting
        if thread is not None:
            thread.join(timeout)
        return thread is None or not thread.is_alive()

    def close(self) -> None:
        """Let go of the memory; it is given back when no array looks into it any more."""
        self._stop_faulting()
        self.view = np.empty(0, np.uint8)
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        if getattr(self, "fd", -1) >= 0:
            self.close()

    def _touch(self, populate: Callable[[int, int], bool], view: Bytes, start: int, end: int) -> None:
        if not self._enough.is_set() and populate(view.ctypes.data + start, end - start):
            self._faulted[start] = end

    def _stop_faulting(self) -> None:
        self._enough.set()
        thread, self._faulting = self._faulting, None
        if thread is not None and thread is not threading.current_thread():
            thread.join()


def _touch_all(tasks: list[Callable[[], None]]) -> None:
    with suppress(MemoryError):  # the first copy touches what is left
        crew.run(tasks)


def _populate() -> Callable[[int, int], bool] | None:
    """A function of address and length that touches memory; None where there is none. Not mmap's own madvise(), which
    keeps the interpreter's lock: every other thread stood still for tenths of a second."""
    if sys.platform != "linux":
        return None
    import ctypes  # not with the module: only who prefaults needs it

    madvise = ctypes.CDLL(None)["madvise"]
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    # It fails on an older kernel, or where no memory is left: whoever writes there finds out.
    return lambda address, size_bytes: madvise(address, size_bytes, _POPULATE_WRITE) == 0


def _anonymous(size_bytes: int) -> mmap.mmap:
    if not hasattr(mmap, "MAP_PRIVATE"):
        return mmap.mmap(-1, size_bytes)
    memory = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel without them
            memory.madvise(mmap.MADV_HUGEPAGE)  # the first copy into small pages takes five times as long
    return memory
