"""Arrays into memory: what a reading found, copied in as few and as large steps as there can be.

Arrays whose bytes lie in main memory as they are to be stored are copied by address (moving.py); all others by their
framework.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from itertools import compress
from typing import Any

from holdfast import crew
from holdfast.state import arrays, cuda
from holdfast.state.arrays import Bytes
from holdfast.state.moving import Mover, move
from holdfast.state.tree import Leaf


class Copier:
    """Copies the arrays of trees of one shape to where they are to stand.

    Args:
        memory: uint8; the copies stand in it.
        places: of each array, in the order of a reading: the offset in `memory`, and how many bytes it has.
        leaves: of each array, its path, dtype name and shape.
    """

    def __init__(
        self, memory: Bytes, places: Sequence[tuple[int, int]], leaves: Sequence[tuple[str, str, tuple[int, ...]]]
    ) -> None:
        self._memory = memory
        self._places = places
        self._leaves = leaves
        start = memory.ctypes.data if memory.size else 0
        self._targets = [start + offset for offset, _ in places]
        self._sizes = [size for _, size in places]
        self._mover = Mover(self._targets, self._sizes)
        self._pin: cuda.Pin | None = None

    def pin(self, found: Sequence[Any]) -> None:
        """Let devices write to the memory directly, where any of the arrays is on one that can."""
        if self._pin is None and any(map(cuda.is_on_cuda, found)):
            self._pin = cuda.Pin(self._memory)

    def expect(self) -> None:
        """Have threads awake for a copy that is about to come."""
        self._mover.expect()

    def copy(self, found: Sequence[Any], addresses: Sequence[int]) -> None:
        """Copy every array; all of them are done on return.

        Args:
            found: arrays of numpy, torch or jax; the dtypes and shapes are those of the leaves.
            addresses: as arrays.address_of has them, one an array.
        """
        if all(addresses):
            self._mover.move(addresses)
            return
        rest = [number for number, address in enumerate(addresses) if not address and self._sizes[number]]
        far = {number for number in rest if cuda.is_on_cuda(found[number])}
        if far:
            self.pin(found)
            cuda.copy([(self._as_tensor(number, found[number]), found[number]) for number in sorted(far)])
        tasks: list[crew.Task] = [
            partial(self._by_framework, found[number], number) for number in rest if number not in far
        ]
        targets, sources, sizes = (list(compress(one, addresses)) for one in (self._targets, addresses, self._sizes))
        move(targets, sources, sizes, beside=tasks)

    def _as_tensor(self, number: int, like: Any) -> Any:
        """The place of an array, as a tensor of its dtype and shape."""
        offset, size = self._places[number]
        torch = sys.modules["torch"]
        return torch.from_numpy(self._memory[offset : offset + size]).view(like.dtype).view(like.shape)

    def _by_framework(self, source: Any, number: int) -> None:
        (offset, size), (path, dtype, shape) = self._places[number], self._leaves[number]
        arrays.copy_into(Leaf(path, dtype, shape, size, source), self._memory[offset : offset + size])
