"""Copies by address, in two ways: memcopy.c, where installing could compile it, and C's memmove where not.

The compiled one stores large copies past the caches, which takes little more than half the time; nothing else differs.
"""

from __future__ import annotations

import ctypes
import os
import sys
from array import array
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

Addresses = Iterable[int]
Copy = Callable[[int, int, int], object]

LIBRARY = os.path.join(os.path.dirname(__file__), "libmemcopy.so")


@dataclass(frozen=True, slots=True)
class Kernel:
    """How memory is copied here."""

    large: Copy  # target, source, size: leaves the interpreter's lock to others meanwhile
    each: Callable[[Addresses, Addresses, Addresses], None]  # likewise for many small ones, and keeps the lock


def compiled() -> Kernel | None:
    """The kernel of memcopy.c; None where it was not compiled, or not for this system."""
    try:
        large = ctypes.CDLL(LIBRARY).holdfast_stream
        each = ctypes.PyDLL(LIBRARY).holdfast_copy_each
    except (OSError, AttributeError):
        return None
    large.argtypes, large.restype = [ctypes.c_size_t] * 3, None
    each.argtypes, each.restype = [ctypes.c_size_t] * 4, None

    def copy_each(targets: Addresses, sources: Addresses, sizes: Addresses) -> None:
        rows = [one if isinstance(one, array) else array("Q", one) for one in (targets, sources, sizes)]
        if len({len(one) for one in rows}) != 1:
            raise ValueError(f"as many targets, sources and sizes as each other, not {[len(one) for one in rows]}")
        each(*[one.buffer_info()[0] for one in rows], len(rows[0]))

    return Kernel(large, copy_each)


def plain() -> Kernel:
    """C's memmove."""
    alone = _memmove(ctypes.PyDLL)  # keeps the interpreter's lock, which another thread may be slow to give back

    def copy_each(targets: Addresses, sources: Addresses, sizes: Addresses) -> None:
        deque(map(alone, targets, sources, sizes), maxlen=0)  # without a step of the interpreter in between

    return Kernel(_memmove(ctypes.CDLL), copy_each)


def _memmove(library: type[ctypes.CDLL]) -> Copy:
    function = library("msvcrt" if sys.platform == "win32" else None).memmove
    function.argtypes, function.restype = [ctypes.c_size_t] * 3, None
    return function


KERNEL = compiled() or plain()
