"""Arrays that holdfast copies itself: in place into numpy arrays and tensors, by a new value for jax.

Targets that share memory are tried out on a copy first, those that a load method will write to among them: what two
arrays of the snapshot say of one byte must agree.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from holdfast.errors import MismatchError
from holdfast.state import arrays, dtypes, moving, sharing
from holdfast.state.fit import Misfits
from holdfast.state.sharing import Extent
from holdfast.state.tree import Array, Key, Leaf, StateTree, join


@dataclass(eq=False, slots=True)
class Write:
    """One array to be copied."""

    at: str | tuple[str, Key]  # its path, or that of its container and its key there: most paths are never asked for
    node: Array
    target: Any
    framework: str
    dtype: str  # of the target
    address: int = 0  # where the target lies, if that is main memory, in C order; else 0
    size_bytes: int = 0  # of what lies there
    source: int = 0  # where the bytes lie that may be moved to that address as they are; else 0
    window: Extent | None = None  # where it lies, if that is a part of the target
    held: bool = False  # by an object whose load method will write it: it is only looked at here
    made: Any = None  # by `prepare`, in the place of a jax array
    shared: list[Write] | None = None  # all that go to the same memory, at the first of them; [] at the others

    @property
    def path(self) -> str:
        return self.at if isinstance(self.at, str) else join(*self.at)

    def extent(self) -> Extent | None:
        """Where the target lies."""
        return self.window or sharing.extent_of(self.target, self.framework)

    def data(self) -> np.ndarray[Any, Any]:
        """Carried bits of the target's dtype."""
        return arrays.cast(arrays.carried(self.node), arrays.dtype_name(self.node), self.dtype)

    def result(self) -> Any:
        """What is to stand at the place."""
        return self.made if self.framework == "jax" else self.target


def write_of(at: str | tuple[str, Key], node: Array, target: Any, framework: str, dtype: str) -> Write:
    """The write of a node to an array of any kind."""
    address = arrays.address_of(target) if framework != "jax" else 0
    leaf = node.leaf
    as_it_lies = address and node.view is None and leaf.dtype == dtype
    source = (leaf.address or arrays.address_of(leaf.source)) if as_it_lies else 0
    return Write(at, node, target, framework, dtype, address, target.nbytes if address else 0, source)


def hold(held: list[Write], path: str, node: Array, today: Array) -> None:
    """An array that a load method is going to write."""
    live = today.leaf.source
    write = write_of(path, node, live, arrays.framework_of(live) or "numpy", arrays.dtype_name(today))
    write.held = True
    if today.view is not None:
        write.address, write.source, write.window = 0, 0, sharing.extent_of_node(today)
    held.append(write)


def is_all_of(held: list[Write], today: StateTree) -> bool:
    """Whether writing these writes all that a module holds, which is arrays that may be written to."""
    nodes = [node for node in today.holders() if isinstance(node, Array) and node.view is None]
    writable = [node for node in nodes if arrays.refuses_writes(node.leaf.source, node.framework) is None]
    return len(list(today.holders())) == len(writable) == len(held)


def would_change(writes: list[Write], leaves: Iterable[Leaf]) -> bool:
    """Whether a write may change what a later one copies: a state that was captured from the arrays it goes into."""
    captured = [leaf for leaf in leaves if leaf.start < 0]  # others are parts of a file's memory
    sources = [
        extent
        for leaf in captured
        if not (type(leaf.source) is np.ndarray and not leaf.source.flags.writeable)
        and (framework := arrays.framework_of(leaf.source)) is not None
        and (extent := sharing.extent_of(leaf.source, framework)) is not None
    ]
    if not sources:
        return False
    targets = [(extent, True) for write in writes if (extent := write.extent()) is not None]
    clusters = sharing.overlapping([*targets, *[(extent, False) for extent in sources]])
    return any(len(set(cluster)) > 1 for cluster in clusters)


def prepare(writes: list[Write], misfits: Misfits) -> None:
    """Make what is new, and find the writes that go to the same memory; note whatever cannot be, and change nothing."""
    made: dict[object, Any] = {}  # tied in the target as in the snapshot
    for write in writes:
        if write.source:
            continue
        if write.framework == "jax":
            if not write.held:
                place = (id(write.target), write.node.leaf, write.node.view)
                if place not in made:
                    made[place] = _on_jax(write, misfits)
                write.made = made[place]
        elif write.dtype != arrays.dtype_name(write.node):
            _check_cast(write, misfits)
    if not _stand_apart(writes):
        extents = [(extent, write) for write in writes if (extent := write.extent()) is not None]
        for cluster in sharing.overlapping(extents):
            _prepare_shared(cluster, misfits)


def _stand_apart(writes: list[Write]) -> bool:
    """Whether all that is to be written lies in main memory, in C order, and no two arrays have a byte in common; False
    where that takes a closer look."""
    starts = np.array([write.address for write in writes], np.uint64)
    if not starts.all():
        return False
    ends = starts + np.array([write.size_bytes for write in writes], np.uint64)
    order = starts.argsort(kind="stable")
    return bool((ends[order][:-1] <= starts[order][1:]).all())


def _on_jax(write: Write, misfits: Misfits) -> Any:
    try:
        private = np.array(write.data(), order="C")
        return arrays.on_jax(private.view(dtypes.to_numpy(write.dtype)), write.target)
    except (MismatchError, ValueError, TypeError) as error:
        misfits.differs(write.path, write.node, f"{write.dtype} {tuple(write.target.shape)}", str(error))
        return None


def _check_cast(write: Write, misfits: Misfits) -> None:
    try:
        write.data()
    except (ValueError, TypeError) as error:
        misfits.differs(write.path, write.node, f"{write.dtype} {tuple(write.target.shape)}", str(error))


def _prepare_shared(cluster: list[Write], misfits: Misfits) -> None:
    """Of writes whose memory may overlap, join those that agree, and note those that do not."""
    once: dict[object, Write] = {}
    for write in sorted(cluster, key=lambda write: write.held):
        extent, node = _lies(write), write.node
        place = (extent.address, extent.shape, extent.strides, write.dtype, node.leaf, node.view)
        if place in once:
            write.shared = []  # tied in the target as it is in the snapshot
        else:
            once[place] = write
    rest = list(once.values())
    if (len(rest) > 1 or _lies(rest[0]).overlaps_itself()) and _agree(rest, misfits):
        own = [write for write in rest if not write.held]
        for number, write in enumerate(own):
            write.shared = [] if number else own


def _lies(write: Write) -> Extent:
    extent = write.extent()
    assert extent is not None
    return extent


def _agree(cluster: list[Write], misfits: Misfits) -> bool:
    """Write everything into a copy of the memory and read it again."""
    span, memory = _memory(cluster)
    wanted = np.array(memory)
    datas = [write.data() for write in cluster]
    for write, data in zip(cluster, datas, strict=True):
        _view(wanted, span, write, data.dtype)[...] = data
    agree = True
    for write, data in zip(cluster, datas, strict=True):
        if arrays.value_bytes(_view(wanted, span, write, data.dtype)) != arrays.value_bytes(data):
            agree = False
            others = ", ".join(repr(other.path) for other in cluster if other is not write) or "itself"
            misfits.differs(
                write.path,
                write.node,
                "an array that shares memory",
                f"with {others}; the snapshot holds other values for it",
            )
    return agree


def _memory(cluster: list[Write]) -> tuple[Extent, np.ndarray[Any, Any]]:
    """What writes go to: from where to where, and the bytes there, which are a copy where they lie on a device."""
    span, row = _row(cluster)
    size = span.shape[0]
    return span, arrays.bytes_of(Leaf("", "U8", (size,), size, row))


def _row(cluster: list[Write]) -> tuple[Extent, Any]:
    span = sharing.spanning([_lies(write) for write in cluster])
    owners = [write.target for write in cluster]
    return span, sharing.memory_of(span, owners if span.space == "cpu" else owners[0])


def _view(memory: np.ndarray[Any, Any], span: Extent, write: Write, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    extent = _lies(write)
    found: np.ndarray[Any, Any] = np.ndarray(
        extent.shape, dtype, memory.data, extent.address - span.low, extent.strides
    )
    return found


def run(writes: list[Write]) -> None:
    """Copy everything that was prepared. Doing it twice does no harm."""
    moved = [write for write in writes if write.source and write.shared is None and not write.held]
    for write in writes if len(moved) < len(writes) else ():
        if write.held or write.framework == "jax" or (write.source and write.shared is None):
            continue
        if write.shared is None:
            arrays.fill(write.target, write.framework, write.data())
        elif write.shared:
            _run_shared(write.shared)
    places = [write.address for write in moved], [write.source for write in moved]
    moving.move(*places, [write.size_bytes for write in moved])
    _tell([write.target for write in moved if write.framework == "torch"])


def _tell(tensors: list[Any]) -> None:
    """Let autograd know that these have changed: of what it kept of them for a backward pass it must not make use."""
    if not tensors:
        return
    bump = sys.modules["torch"].autograd.graph.increment_version
    try:
        bump(tensors)
    except TypeError:  # an older torch takes them one by one, and none that has no version
        for tensor in tensors:
            if not tensor.is_inference():
                bump(tensor)


def _run_shared(cluster: list[Write]) -> None:
    """Arrays whose elements may lie on the same bytes, which torch refuses to write to: as bytes."""
    span, row = _row(cluster)
    size = span.shape[0]
    memory = np.array(arrays.bytes_of(Leaf("", "U8", (size,), size, row)))
    for write in cluster:
        data = arrays.raw(write.data())
        _view(memory, span, write, data.dtype)[...] = data
    arrays.fill(row, arrays.framework_of(row) or "numpy", memory)
