"""Arrays into memory: what a reading found, copied in as few and as large steps as there can be.

Arrays whose bytes lie in main memory as they are to be stored are copied by address: small ones one after the other,
large ones in pieces by several threads, as fast as the memory goes. All others are copied by their framework.
"""

from __future__ import annotations

import ctypes
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import compress
from typing import Any

from holdfast import crew
from holdfast.state import arrays, cuda
from holdfast.state.arrays import Bytes
from holdfast.state.tree import Leaf

PIECE_BYTES = 8 << 20  # copied in one call
SMALL_BYTES = 256 << 10  # below this, telling another thread costs more than copying


@lru_cache(maxsize=1)
def _memmove() -> tuple[Callable[[int, int, int], object], Callable[[int, int, int], object]]:
    """C's memmove, for threads and for one: the second keeps the interpreter's lock, which another thread may be slow
    to give back."""
    functions = []
    for library in (ctypes.CDLL, ctypes.PyDLL):
        function = library(None).memmove if sys.platform != "win32" else library("msvcrt").memmove
        function.argtypes, function.restype = [ctypes.c_size_t] * 3, None
        functions.append(function)
    return functions[0], functions[1]


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
        start = memory.__array_interface__["data"][0] if memory.size else 0
        self._targets = [start + offset for offset, _ in places]
        self._sizes = [size for _, size in places]
        self._pin: cuda.Pin | None = None
        self._is_small = [size < SMALL_BYTES for size in self._sizes]
        self._in_threads, self._alone = _memmove()

    def pin(self, found: Sequence[Any]) -> None:
        """Let devices write to the memory directly, where any of the arrays is on one that can."""
        if self._pin is None and any(map(cuda.is_on_cuda, found)):
            self._pin = cuda.Pin(self._memory)

    def copy(self, found: Sequence[Any], addresses: Sequence[int]) -> None:
        """Copy every array; all of them are done on return.

        Args:
            found: arrays of numpy, torch or jax; the dtypes and shapes are those of the leaves.
            addresses: as arrays.address_of has them, one an array.
        """
        targets, sizes, small, rest = self._targets, self._sizes, self._is_small, list[int]()
        if not all(addresses):
            rest = [number for number, address in enumerate(addresses) if not address and sizes[number]]
            targets, sizes, small = (list(compress(one, addresses)) for one in (targets, sizes, small))  # type: ignore[assignment]
            addresses = list(compress(addresses, addresses))
        far = [number for number in rest if cuda.is_on_cuda(found[number])]
        if far:
            self.pin(found)
            cuda.copy([(self._as_tensor(number, found[number]), found[number]) for number in far])
            rest = [number for number in rest if number not in set(far)]
        tasks: list[crew.Task] = [partial(self._by_framework, found[number], number) for number in rest]
        if all(small):
            _call(self._alone, targets, addresses, sizes)
        else:
            tasks += self._pieces(zip(targets, addresses, sizes, small, strict=True))
            _call(self._alone, compress(targets, small), compress(addresses, small), compress(sizes, small))
        crew.run(tasks)

    def _pieces(self, rows: Iterable[tuple[int, int, int, bool]]) -> Iterator[crew.Task]:
        for target, source, size, small in rows:
            if small:
                continue
            for start in range(0, size, PIECE_BYTES):
                yield partial(self._in_threads, target + start, source + start, min(PIECE_BYTES, size - start))

    def _as_tensor(self, number: int, like: Any) -> Any:
        """The place of an array, as a tensor of its dtype and shape."""
        offset, size = self._places[number]
        torch = sys.modules["torch"]
        return torch.from_numpy(self._memory[offset : offset + size]).view(like.dtype).view(like.shape)

    def _by_framework(self, source: Any, number: int) -> None:
        (offset, size), (path, dtype, shape) = self._places[number], self._leaves[number]
        arrays.copy_into(Leaf(path, dtype, shape, size, source), self._memory[offset : offset + size])


def _call(function: Callable[[int, int, int], object], *arguments: Any) -> None:
    """Call it for every row of arguments, without a step of the interpreter in between."""
    deque(map(function, *arguments), maxlen=0)
