"""Copies by address, in two ways: memcopy.c, where installing could compile it, and C's memmove where not.

The compiled one stores large copies past the caches, which takes little more than half the time, and shares them out
among threads that never wait for the interpreter's lock; nothing else differs.
"""

from __future__ import annotations

import ctypes
import os
import sys
from array import array
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from holdfast import crew

Copy = Callable[[Iterable[int]], None]
Prepare = Callable[["array[int]", "array[int]"], Copy]

PIECE_BYTES = 8 << 20  # of memmove, in one call
LIBRARY = os.path.join(os.path.dirname(__file__), "libmemcopy.so")


@dataclass(frozen=True, slots=True)
class Kernel:
    """How memory is copied here.

    `small` and `large` are given the addresses of targets, and how many bytes each has; both array("Q"), which may not
    change any more. They return a function that copies to them from as many sources, which overlap no target. It raises
    ValueError where it is given more or fewer.
    """

    small: Prepare  # copies in one go, and keeps the interpreter's lock
    large: Prepare  # leaves the lock to others meanwhile, and uses as many threads as the machine has use for
    call_up: Callable[[], object]  # a large copy will be made at once: have its threads awake


def compiled() -> Kernel | None:
    """The kernel of memcopy.c; None where it was not compiled, or not for this system."""
    try:
        released, locked = ctypes.CDLL(LIBRARY), ctypes.PyDLL(LIBRARY)
        move, each, call_up = released.holdfast_move, locked.holdfast_copy_each, locked.holdfast_call_up
    except (OSError, AttributeError):
        return None
    each.argtypes, each.restype = [ctypes.c_size_t] * 4, None
    move.argtypes, move.restype = [*each.argtypes, ctypes.c_int], None
    call_up.argtypes, call_up.restype = [ctypes.c_int], None

    def prepared(call: Callable[[int, int, int, int], object]) -> Prepare:
        def prepare(targets: array[int], sizes: array[int]) -> Copy:
            to, size, count = targets.buffer_info()[0], sizes.buffer_info()[0], len(targets)

            def copy(sources: Iterable[int]) -> None:
                rows = _sources(targets, sources, sizes)
                call(to, rows.buffer_info()[0], size, count)

            return copy

        return prepare

    large = prepared(lambda *rows: move(*rows, crew.processors() - 1))
    return Kernel(prepared(each), large, lambda: call_up(crew.processors() - 1))


def plain() -> Kernel:
    """C's memmove."""
    alone = _memmove(ctypes.PyDLL)  # keeps the interpreter's lock, which another thread may be slow to give back
    released = _memmove(ctypes.CDLL)

    def small(targets: array[int], sizes: array[int]) -> Copy:
        def copy(sources: Iterable[int]) -> None:
            rows = _sources(targets, sources, sizes)
            deque(map(alone, targets, rows, sizes), maxlen=0)  # without a step of the interpreter in between

        return copy

    def large(targets: array[int], sizes: array[int]) -> Copy:
        def copy(sources: Iterable[int]) -> None:
            rows = _sources(targets, sources, sizes)
            crew.run(
                partial(released, target + at, source + at, min(PIECE_BYTES, size - at))
                for target, source, size in zip(targets, rows, sizes, strict=True)
                for at in range(0, size, PIECE_BYTES)
            )

        return copy

    return Kernel(small, large, lambda: None)


def _sources(targets: array[int], sources: Iterable[int], sizes: array[int]) -> array[int]:
    rows = array("Q", sources)
    if not len(rows) == len(targets) == len(sizes):
        found = [len(one) for one in (targets, rows, sizes)]
        raise ValueError(f"as many targets, sources and sizes as each other, not {found}")
    return rows


def _memmove(library: type[ctypes.CDLL]) -> Callable[[int, int, int], object]:
    function = library("msvcrt" if sys.platform == "win32" else None).memmove
    function.argtypes, function.restype = [ctypes.c_size_t] * 3, None
    return function


KERNEL = compiled() or plain()
