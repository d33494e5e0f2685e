"""Bytes moved from place to place in main memory: by several threads where they are many, in one go where they are
small."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, compress

import numpy as np

from holdfast import crew
from holdfast.memory import Memory
from holdfast.state import arrays, memcopy
from holdfast.state.arrays import Bytes
from holdfast.state.tree import Leaf

PIECE_BYTES = 8 << 20  # moved in one call
SMALL_BYTES = 256 << 10  # below this, telling another thread costs more than moving
ALIGNMENT = 64  # bytes, of an array within common memory: as frameworks align their own
ALONE_BYTES = 64 << 10  # a smaller copy has memory of its own: one that is kept must not keep all others


class Mover:
    """Moves bytes to places that stay the same.

    Args:
        targets: addresses, which the caller keeps alive.
        sizes: bytes, one a target.
    """

    def __init__(self, targets: Sequence[int], sizes: Sequence[int]) -> None:
        self._small = [size < SMALL_BYTES for size in sizes]
        self._targets = array("Q", compress(targets, self._small))
        self._sizes = array("Q", compress(sizes, self._small))
        self._large = [
            (number, target, size)
            for number, (target, size) in enumerate(zip(targets, sizes, strict=True))
            if size >= SMALL_BYTES
        ]

    def move(self, sources: Sequence[int], beside: Sequence[crew.Task] = ()) -> None:
        """Copy to every target; all is done on return, in any order.

        Args:
            sources: addresses, one a target, of memory that overlaps no target.
            beside: what else is to be done meanwhile.
        """
        if len(sources) != len(self._small):
            raise ValueError(f"{len(self._small)} sources are needed, not {len(sources)}")
        if not self._large:
            memcopy.KERNEL.each(self._targets, sources, self._sizes)
        elif self._targets:
            memcopy.KERNEL.each(self._targets, compress(sources, self._small), self._sizes)
        if self._large or beside:
            crew.run(chain(beside, self._pieces(sources)))

    def _pieces(self, sources: Sequence[int]) -> Iterator[crew.Task]:
        copy = memcopy.KERNEL.large
        for number, target, size in self._large:
            source = sources[number]
            for at in range(0, size, PIECE_BYTES):
                yield partial(copy, target + at, source + at, min(PIECE_BYTES, size - at))


def move(
    targets: Sequence[int], sources: Sequence[int], sizes: Sequence[int], beside: Sequence[crew.Task] = ()
) -> None:
    """Move bytes once; see Mover."""
    Mover(targets, sizes).move(sources, beside)


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
