"""Bytes moved from place to place in main memory: by several threads where they are many, in one go where they are
few."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import compress

import numpy as np

from holdfast import crew
from holdfast.memory import Memory
from holdfast.state import arrays, memcopy
from holdfast.state.arrays import Bytes
from holdfast.state.tree import Leaf

SMALL_BYTES = 256 << 10  # of an array: below this, it is moved in one go with others
FEW_BYTES = 2 << 20  # of all large ones: below this, telling another thread costs more than moving
ALIGNMENT = 64  # bytes, of an array within common memory: as frameworks align their own
ALONE_BYTES = 64 << 10  # a smaller copy has memory of its own: one that is kept must not keep all others


class Mover:
    """Moves bytes to places that stay the same.

    Args:
        targets: addresses, which the caller keeps alive.
        sizes: bytes, one a target.
    """

    def __init__(self, targets: Sequence[int], sizes: Sequence[int]) -> None:
        kernel = memcopy.KERNEL
        self._count = len(sizes)
        which = [size >= SMALL_BYTES for size in sizes]
        much = sum(compress(sizes, which)) >= FEW_BYTES
        self._large = _Some(kernel.large, targets, sizes, which) if much else None
        rest = [not one for one in which] if much else [True] * len(sizes)
        self._small = _Some(kernel.small, targets, sizes, rest) if any(rest) else None

    def expect(self) -> None:
        """Have threads awake for a move that is about to come."""
        if self._large is not None:
            memcopy.KERNEL.call_up()

    def move(self, sources: Sequence[int], beside: Sequence[crew.Task] = ()) -> None:
        """Copy to every target; all is done on return, in any order.

        Args:
            sources: addresses, one a target, of memory that overlaps no target.
            beside: what else is to be done meanwhile.
        """
        if len(sources) != self._count:
            raise ValueError(f"{self._count} sources are needed, not {len(sources)}")
        if self._small is not None:
            self._small.copy(sources)
        if beside:
            large: list[crew.Task] = [] if self._large is None else [partial(self._large.copy, sources)]
            crew.run([*large, *beside])
        elif self._large is not None:
            self._large.copy(sources)


class _Some:
    """Those of a mover's targets that are copied to in one way."""

    def __init__(
        self, prepare: memcopy.Prepare, targets: Sequence[int], sizes: Sequence[int], which: Sequence[bool]
    ) -> None:
        self._which = None if all(which) else which
        self._copy = prepare(array("Q", compress(targets, which)), array("Q", compress(sizes, which)))

    def copy(self, sources: Sequence[int]) -> None:
        self._copy(sources if self._which is None else compress(sources, self._which))


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
