"""What the arrays of a tree are, and which of them share memory: whether others are the same in both.

Many arrays are looked at at once, each property of all of them in one go: a step of the interpreter for each would take
longer than copying them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from operator import attrgetter, eq
from typing import Any

import numpy as np

from holdfast.errors import CaptureError
from holdfast.state import arrays
from holdfast.state.reading import Reading
from holdfast.state.sharing import Extent, extent_of
from holdfast.state.tensors import are_plain, guard
from holdfast.state.tree import Array, Leaf


class Changed(Exception):
    """The target is not of the outline's shape any more."""


class Specs:
    """What the arrays of a tree are, and which of them are one."""

    def __init__(self, nodes: list[Array]) -> None:
        first: dict[Leaf, int] = {}
        self._count = len(nodes)
        self._twins = [  # of an array that is another one's: both positions
            (position, other)
            for position, node in enumerate(nodes)
            if (other := first.setdefault(node.leaf, position)) != position
        ]
        self._kept = list(first.values())  # the positions of those with a leaf of their own
        self._sizes = np.array([leaf.nbytes for leaf in first], np.int64)
        self._apart: list[int] = []  # where arrays lay that shared no memory
        self._groups = [
            kind(members)
            for kind in (_Numpy, _Torch, _Jax)
            if (members := [(at, node) for at, node in enumerate(nodes) if node.framework == kind.framework])
        ]

    def check(self, found: Reading) -> None:
        """Compare arrays with what they were; then leave one for each leaf, with its address.

        Raises:
            Changed: one is of another kind, dtype or shape, or they share memory in another way.
        """
        if len(found.arrays) != self._count:
            raise Changed
        addresses = [0] * self._count
        for group in self._groups:
            group.check(found.arrays, addresses)
        for position, other in self._twins:
            if not _is_one(found.arrays[position], found.arrays[other], addresses[position], addresses[other]):
                raise Changed
        if self._twins:
            found.arrays = [found.arrays[at] for at in self._kept]
            addresses = [addresses[at] for at in self._kept]
        found.addresses = addresses
        if addresses != self._apart:
            _check_apart(found.arrays, addresses, self._sizes)
            self._apart = addresses if all(addresses) else []


def _is_one(array: Any, other: Any, address: int, other_address: int) -> bool:
    """Whether two arrays of one dtype and shape are the same bytes."""
    if address or other_address:
        return address == other_address
    extent = _extent_of(array)
    return array is other if extent is None else extent == _extent_of(other)


def _check_apart(found: list[Any], addresses: list[int], sizes: np.ndarray[Any, Any]) -> None:
    """Raises Changed where two arrays may share memory, or two elements of one."""
    low = np.array(addresses, np.int64)
    high = low + sizes
    if not all(addresses):
        scattered = [array for array, address in zip(found, addresses, strict=True) if not address]
        extents = [extent for array in scattered if (extent := _extent_of(array)) is not None]
        unplaced = [id(array) for array in scattered if _extent_of(array) is None]
        if len(set(unplaced)) != len(unplaced) or any(extent.overlaps_itself() for extent in extents):
            raise Changed
        for space in {extent.space for extent in extents if extent.space != "cpu"}:
            there = [extent for extent in extents if extent.space == space]
            _check_ranges(np.array([one.low for one in there]), np.array([one.high for one in there]))
        here = [extent for extent in extents if extent.space == "cpu"]
        placed = low > 0
        low = np.concatenate((low[placed], np.array([one.low for one in here], np.int64)))
        high = np.concatenate((high[placed], np.array([one.high for one in here], np.int64)))
    _check_ranges(low, high)


def _check_ranges(low: np.ndarray[Any, Any], high: np.ndarray[Any, Any]) -> None:
    order = np.argsort(low)
    if (high[order[:-1]] > low[order[1:]]).any():
        raise Changed


def _extent_of(array: Any) -> Extent | None:
    return extent_of(array, arrays.framework_of(array) or "")


class _Group:
    """The arrays of one framework."""

    framework = ""

    def __init__(self, members: list[tuple[int, Array]]) -> None:
        self._positions = [position for position, _ in members]
        self._dtypes = [self.dtype_of(node) for _, node in members]
        self._shapes = [node.leaf.shape for _, node in members]

    def dtype_of(self, node: Array) -> Any:
        return node.leaf.source.dtype

    def check(self, found: list[Any], addresses: list[int]) -> None:
        """Compare the group's arrays, and note their addresses.

        Raises:
            Changed: one is not what it was.
        """
        whole = len(found) == len(self._positions)
        mine = found if whole else [found[position] for position in self._positions]
        try:
            own = self.compare(mine)
        except (CaptureError, RuntimeError, NotImplementedError):  # torch's, of what has no plain memory
            raise Changed from None
        if whole:
            addresses[:] = own
            return
        for position, address in zip(self._positions, own, strict=True):
            addresses[position] = address

    def compare(self, mine: list[Any]) -> list[int]:
        """The addresses of the group's arrays; raises Changed where one is not what it was."""
        self.check_kinds(mine)
        if not all(map(eq, self.shapes(mine), self._shapes)) or self.dtypes(mine) != self._dtypes:
            raise Changed
        return self.addresses(mine)

    def check_kinds(self, mine: list[Any]) -> None:
        raise NotImplementedError

    def shapes(self, mine: list[Any]) -> Iterable[Any]:
        return map(_SHAPE, mine)

    def dtypes(self, mine: list[Any]) -> list[Any]:
        return list(map(_DTYPE, mine))

    def addresses(self, mine: list[Any]) -> list[int]:
        return list(map(arrays.address_of, mine))


class _Numpy(_Group):
    framework = "numpy"

    def check_kinds(self, mine: list[Any]) -> None:
        if not {np.ndarray, np.memmap}.issuperset(map(type, mine)):
            raise Changed


class _Torch(_Group):
    framework = "torch"

    def __init__(self, members: list[tuple[int, Array]]) -> None:
        super().__init__(members)
        self._complex = any(dtype.is_complex for dtype in set(self._dtypes))  # only these can be conjugated
        self._are_same = guard([node.leaf.source for _, node in members], self._complex)

    def compare(self, mine: list[Any]) -> list[int]:
        if self._are_same(*mine):
            return list(map(sys.modules["torch"].Tensor.data_ptr, mine))
        addresses = super().compare(mine)
        self._are_same = guard(mine, self._complex)  # they differ from the last ones in what does not matter here
        return addresses

    def check_kinds(self, mine: list[Any]) -> None:
        torch = sys.modules["torch"]
        if not {torch.Tensor, torch.nn.Parameter}.issuperset(map(type, mine)):
            raise Changed

    def shapes(self, mine: list[Any]) -> Iterable[Any]:
        return map(sys.modules["torch"].Tensor.size, mine)  # takes two thirds of the time of .shape

    def addresses(self, mine: list[Any]) -> list[int]:
        if are_plain(mine, self._complex):
            return list(map(sys.modules["torch"].Tensor.data_ptr, mine))
        for one in mine:
            arrays.check(one, "torch")
        return super().addresses(mine)


class _Jax(_Group):
    framework = "jax"

    def dtype_of(self, node: Array) -> Any:
        return node.leaf.dtype

    def check_kinds(self, mine: list[Any]) -> None:
        for one in mine:
            if arrays.framework_of(one) != "jax" or arrays.is_jax_key(one):
                raise Changed
            arrays.check(one, "jax")

    def dtypes(self, mine: list[Any]) -> list[Any]:
        return [arrays.dtype_of(one, "jax") for one in mine]


_DTYPE: Callable[[Any], Any] = attrgetter("dtype")
_SHAPE: Callable[[Any], Any] = attrgetter("shape")
