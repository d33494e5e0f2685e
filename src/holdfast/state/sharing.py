"""Arrays that share memory: equal ones become one leaf under several names, overlapping ones windows into common bytes.

Without this a tied weight would be written twice and come back untied, and two overlapping views would come back as
two arrays that no longer change together.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

import numpy as np

from holdfast.state import arrays, dtypes
from holdfast.state.tree import SHARED, Array, Branch, Leaf, Node, View

T = TypeVar("T")
MAX_PAIRS = 4096  # of arrays whose ranges overlap, looked at one by one; more are taken to overlap
MAX_WORK = 10_000  # for one pair, numpy.shares_memory's unit


class Extent(NamedTuple):
    """Where the elements of an array lie, ordered by their lowest byte. Addresses of one `space` may be compared."""

    space: str
    low: int  # the lowest address of any element's byte
    high: int  # one above the highest
    address: int  # of the first element
    item_size: int  # bytes
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # bytes
    dense: bool  # known to have no two elements on the same bytes

    def overlaps_itself(self) -> bool:
        """Whether two elements may lie on the same bytes."""
        reach = self.item_size
        for stride, size in sorted((abs(stride), size) for stride, size in zip(self.strides, self.shape, strict=True)):
            if size > 1 and not self.dense:
                if stride < reach:
                    return True
                reach = stride * (size - 1) + reach
        return False


def extent_of(value: Any, framework: str) -> Extent | None:
    """Where an array lies; None where nothing else can lie there: it is empty, of jax, or has no bytes."""
    if framework == "numpy":
        address, strides, dense = value.ctypes.data, value.strides, value.flags.forc
        return _extent("cpu", address, value.itemsize, value.shape, strides, value.nbytes if dense else 0)
    if framework == "torch":
        if value.is_conj() or value.is_neg():
            return None  # its values are not the bytes that lie there
        space, size = "cpu" if value.is_cpu else str(value.device), value.element_size()
        strides = tuple([stride * size for stride in value.stride()])
        dense_bytes = value.numel() * size if value.is_contiguous() else 0
        return _extent(space, value.data_ptr(), size, tuple(value.shape), strides, dense_bytes)
    return None


def extent_of_node(node: Array) -> Extent | None:
    """Where the live array lies that a node was captured from."""
    source = node.leaf.source
    extent = extent_of(source, arrays.framework_of(source) or "")
    if extent is None or node.view is None:
        return extent
    view = node.view
    size = dtypes.item_size(view.dtype)
    return _extent(extent.space, extent.address + view.offset, size, view.shape, view.strides)


def _extent(
    space: str,
    address: int,
    item_size: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    dense_bytes: int = 0,
) -> Extent | None:
    if dense_bytes:
        return Extent(space, address, address + dense_bytes, address, item_size, shape, strides, True)
    if not item_size or 0 in shape:
        return None
    reach = [(size - 1) * stride for size, stride in zip(shape, strides, strict=True)]
    low = address + sum([step for step in reach if step < 0])
    high = address + sum([step for step in reach if step > 0]) + item_size
    return Extent(space, low, high, address, item_size, shape, strides, False)


def spanning(extents: list[Extent]) -> Extent:
    """The bytes between the lowest and the highest of some arrays."""
    low, high = min(extent.low for extent in extents), max(extent.high for extent in extents)
    return Extent(extents[0].space, low, high, low, 1, (high - low,), (1,), True)


def memory_of(extent: Extent, value: Any) -> Any:
    """The bytes between the lowest and the highest of an array, as a row of uint8 of the same framework and device."""
    if extent.space == "cpu":
        return np.asarray(arrays.Window(extent.low, (extent.high - extent.low,), value))
    torch = sys.modules["torch"]
    storage = value.untyped_storage()
    row = torch.empty(0, dtype=torch.uint8, device=value.device)
    return row.set_(storage, extent.low - storage.data_ptr(), (extent.high - extent.low,), (1,))


@dataclass(frozen=True, slots=True)
class Placed:
    """A leaf that was captured, and where its elements lie."""

    leaf: Leaf
    extent: Extent


def common_leaves(placed: Iterable[Placed]) -> dict[Leaf, tuple[Leaf, View]]:
    """For each leaf that overlaps another, or itself, the leaf of raw bytes to look into, and how."""
    found: dict[Leaf, tuple[Leaf, View]] = {}
    for number, group in enumerate(_groups(list(placed))):
        span = spanning([one.extent for one in group])
        source = group[0].leaf.source
        memory = memory_of(span, [one.leaf.source for one in group] if span.space == "cpu" else source)
        common = Leaf(f"{SHARED}/{number}", "U8", span.shape, span.high - span.low, memory)
        for one in group:
            extent = one.extent
            view = View(extent.address - span.low, one.leaf.dtype, extent.shape, extent.strides)
            found[one.leaf] = common, view
    return found


def with_windows(node: Node, windows: dict[Leaf, tuple[Leaf, View]]) -> Node:
    """The same tree, with a window wherever an array's leaf has one."""
    if isinstance(node, Branch):
        children = tuple(with_windows(child, windows) for child in node.children)
        return Branch(node.kind, node.keys, children, node.meta)
    if isinstance(node, Array) and node.leaf in windows:
        leaf, view = windows[node.leaf]
        return Array(leaf, node.framework, view)
    return node


def _groups(placed: list[Placed]) -> Iterator[list[Placed]]:
    """Leaves that share bytes with one another, or one leaf whose elements do; each group in the order given."""
    groups: list[list[Placed]] = []
    for cluster in overlapping([(one.extent, one) for one in placed]):
        groups += [cluster] if len(cluster) == 1 else _connected(cluster)
    if groups:
        order = {one.leaf: number for number, one in enumerate(placed)}
        for group in groups:
            group.sort(key=lambda one: order[one.leaf])
        groups.sort(key=lambda group: order[group[0].leaf])
    yield from groups


def overlapping(items: list[tuple[Extent, T]]) -> list[list[T]]:
    """What belongs to extents whose address ranges overlap, directly or through others, together; nothing that stands
    alone, unless its own elements may overlap."""
    found: list[list[T]] = []
    ordered = sorted(items, key=itemgetter(0))
    start, space, high = 0, "", -1
    for number, (extent, _) in enumerate(ordered):
        if extent.low < high and extent.space == space:
            high = max(high, extent.high)
            continue
        _add_cluster(found, ordered[start:number])
        start, space, high = number, extent.space, extent.high
    _add_cluster(found, ordered[start:])
    return found


def _add_cluster(found: list[list[T]], cluster: list[tuple[Extent, T]]) -> None:
    if len(cluster) > 1 or (cluster and not cluster[0][0].dense and cluster[0][0].overlaps_itself()):
        found.append([item for _, item in cluster])


def _connected(cluster: list[Placed]) -> list[list[Placed]]:
    """Of arrays whose ranges overlap, those that truly share bytes; interleaved columns of a matrix do not."""
    count = len(cluster)
    if count * (count - 1) // 2 > MAX_PAIRS:
        return [cluster]
    group_of = list(range(count))
    for i in range(count):
        for j in range(i):
            if group_of[i] != group_of[j] and share_bytes(cluster[i].extent, cluster[j].extent):
                old, new = group_of[i], group_of[j]
                group_of = [new if group == old else group for group in group_of]
    groups = [
        [one for one, group in zip(cluster, group_of, strict=True) if group == wanted] for wanted in set(group_of)
    ]
    return [group for group in groups if len(group) > 1 or group[0].extent.overlaps_itself()]


def share_bytes(one: Extent, other: Extent) -> bool:
    """Whether two arrays have a byte in common; True where that is too hard to find out."""
    try:
        return np.shares_memory(_outline(one), _outline(other), max_work=MAX_WORK)  # type: ignore[arg-type]
    except RuntimeError:  # numpy's TooHardError
        return True


def _outline(extent: Extent) -> np.ndarray[Any, Any]:
    """An array that lies where `extent` does; only its outline is looked at, never its elements."""
    window = arrays.Window(extent.address, extent.shape, None, f"|V{extent.item_size}")
    window.__array_interface__["strides"] = extent.strides
    return np.asarray(window)
