"""Arrays of a target that are as most are, and what is to be written to them; found out in a moment, for there may be
tens of thousands of them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import repeat
from operator import attrgetter
from typing import Any

import numpy as np

from holdfast.errors import CaptureError
from holdfast.state import arrays
from holdfast.state.tensors import are_plain, examples
from holdfast.state.tree import Array, Key, Leaf, Node
from holdfast.state.writes import Write

MANY = 64  # arrays that are worth being looked at together
_LOOK_AT_ARRAY = attrgetter("dtype", "flags.c_contiguous", "flags.writeable")
_LOOK_AT_TENSOR = attrgetter("dtype", "layout", "is_cpu", "is_nested")
_SHAPE, _NBYTES, _DTYPE = attrgetter("shape"), attrgetter("nbytes"), attrgetter("dtype")
_names: dict[object, str] = {}  # of dtypes of numpy and torch, by the dtype


def usual_write(node: Node, target: Any, at: tuple[str, Key]) -> Write | None:
    """The write to an array in main memory, in C order, that may be written to and has the dtype and the shape of the
    node's; None for whatever else may be said of a node and a target."""
    if type(node) is not Array or node.view is not None:
        return None
    leaf = node.leaf
    kind = type(target)
    if kind is np.ndarray:
        flags = target.flags
        if not flags.c_contiguous or not flags.writeable or target.shape != leaf.shape or not leaf.nbytes:
            return None
        if _name(target, "numpy") != leaf.dtype:
            return None
        address = target.ctypes.data
        return Write(at, node, target, "numpy", leaf.dtype, address, leaf.nbytes, _source_of(leaf))
    torch = sys.modules.get("torch")
    if torch is None or (kind is not torch.Tensor and kind is not torch.nn.Parameter):
        return None
    if target.layout is not torch.strided or target.is_nested or not target.is_cpu or target.is_inference():
        return None
    if target.shape != leaf.shape or not leaf.nbytes or _name(target, "torch") != leaf.dtype:
        return None
    if not target.is_contiguous() or target.is_conj() or target.is_neg():
        return None
    return Write(at, node, target, "torch", leaf.dtype, target.data_ptr(), leaf.nbytes, _source_of(leaf))


def usual_writes(nodes: Sequence[Node], targets: Sequence[Any], path: str, keys: Sequence[Key]) -> list[Write] | None:
    """The same for the children of one container, which are alike; None where one of them may be of another kind."""
    kinds = set(map(type, targets))
    if len(targets) < MANY or len(kinds) > 1 or set(map(type, nodes)) != {Array}:
        return None
    leaves = [node.leaf for node in nodes if node.view is None]  # type: ignore[union-attr]
    if len(leaves) != len(nodes):
        return None
    shapes, sizes = list(map(_SHAPE, leaves)), list(map(_NBYTES, leaves))
    torch, arrays_of = sys.modules.get("torch"), "numpy"
    found: set[tuple[Any, ...]]
    if kinds == {np.ndarray}:
        found = set(map(_LOOK_AT_ARRAY, targets))
        _, *others = found.pop()
        usual = others == [True, True] and shapes == list(map(_SHAPE, targets))
    elif torch is not None and kinds <= {torch.Tensor, torch.nn.Parameter}:
        tensor, arrays_of = torch.Tensor, "torch"
        some = examples(targets, shapes)
        found = set(map(_LOOK_AT_TENSOR, some))
        _, *others = found.pop()
        usual = others == [torch.strided, True, False] and are_plain(some, targets[0].is_complex())
        wanted = shapes if some is targets else list(dict.fromkeys(shapes))
        usual = usual and not any(map(tensor.is_inference, some)) and wanted == list(map(_SHAPE, some))
    else:
        return None
    name = _name(targets[0], arrays_of)
    if not usual or found or not all(sizes) or set(map(_DTYPE, leaves)) != {name}:
        return None
    addresses = [one.ctypes.data for one in targets] if arrays_of == "numpy" else list(map(tensor.data_ptr, targets))
    sources = [leaf.address or _source_of(leaf) for leaf in leaves]
    places = zip(repeat(path), keys, strict=False)
    return list(map(Write, places, nodes, targets, repeat(arrays_of), repeat(name), addresses, sizes, sources))


def _source_of(leaf: Leaf) -> int:
    return leaf.address or arrays.address_of(leaf.source)


def _name(target: Any, framework: str) -> str:
    dtype = target.dtype
    name = _names.get(dtype)
    if name is None:
        try:
            name = arrays.dtype_of(target, framework)
        except CaptureError:
            return ""  # somebody else says so
        if len(_names) < 256:
            _names[dtype] = name
    return name
