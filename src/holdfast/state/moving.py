"""Bytes moved from place to place in main memory: by several threads where they are many, in one go where they are
small."""

from __future__ import annotations

import ctypes
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import compress

import numpy as np

from holdfast import crew
from holdfast.memory import Memory
from holdfast.state import arrays
from holdfast.state.arrays import Bytes
from holdfast.state.tree import Leaf

PIECE_BYTES = 8 << 20  # moved in one call
SMALL_BYTES = 256 << 10  # below this, telling another thread costs more than moving
ALIGNMENT = 64  # bytes, of an array within common memory: as frameworks align their own
ALONE_BYTES = 64 << 10  # a smaller copy has memory of its own: one that is kept must not keep all others


def _memmove(library: type[ctypes.CDLL]) -> Callable[[int, int, int], object]:
    function = library("msvcrt" if sys.platform == "win32" else None).memmove
    function.argtypes, function.restype = [ctypes.c_size_t] * 3, None
    return function


_in_threads = _memmove(ctypes.CDLL)
_alone = _memmove(ctypes.PyDLL)  # keeps the interpreter's lock, which another thread may be slow to give back


def move(targets: list[int], sources: list[int], sizes: list[int]) -> None:
    """C's memmove for each target, source and size; all of them are done on return, and in any order.

    Args:
        targets, sources: addresses, which the caller keeps alive.
        sizes: bytes.
    """
    small = [size < SMALL_BYTES for size in sizes]
    if all(small):
        _each(targets, sources, sizes)
        return
    _each(compress(targets, small), compress(sources, small), compress(sizes, small))
    crew.run(_pieces(targets, sources, sizes))


def _each(targets: Iterable[int], sources: Iterable[int], sizes: Iterable[int]) -> None:
    deque(map(_alone, targets, sources, sizes), maxlen=0)  # without a step of the interpreter in between


def _pieces(targets: list[int], sources: list[int], sizes: list[int]) -> Iterator[Callable[[], object]]:
    for target, source, size in zip(targets, sources, sizes, strict=True):
        if size >= SMALL_BYTES:
            for at in range(0, size, PIECE_BYTES):
                yield partial(_in_threads, target + at, source + at, min(PIECE_BYTES, size - at))


def copies(leaves: Iterable[Leaf]) -> dict[Leaf, Bytes]:
    """A private, writable copy of the bytes of each leaf, in C order: uint8 of shape (leaf.nbytes,).

    The large ones are made together, by several threads, in memory that they share: it lives as long as any of them.
    """
    made: dict[Leaf, Bytes] = {}
    large: list[Leaf] = []
    for leaf in dict.fromkeys(leaves):
        if leaf.nbytes < ALONE_BYTES:
            made[leaf] = np.empty(leaf.nbytes, np.uint8)
        else:
            large.append(leaf)
    room = Memory(sum([_aligned(leaf.nbytes) for leaf in large])).view if large else np.empty(0, np.uint8)
    offset = 0
    for leaf in large:
        made[leaf] = room[offset : offset + leaf.nbytes]
        offset += _aligned(leaf.nbytes)
    targets, sources, sizes = [], [], []
    for leaf, copy in made.items():
        source = leaf.address or arrays.address_of(leaf.source)
        if source:
            targets.append(arrays.address_of(copy))
            sources.append(source)
            sizes.append(leaf.nbytes)
        else:
            arrays.copy_into(leaf, copy)
    move(targets, sources, sizes)
    return made


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
