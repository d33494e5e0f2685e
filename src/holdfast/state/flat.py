"""A state tree as one flat mapping of names to numpy arrays, in Chainer's layout: what npz files and savefuns take."""

from __future__ import annotations

from typing import Any

import numpy as np

from holdfast.state import arrays, lookup, values
from holdfast.state.tree import RESERVED, ROOT_LEAF, Array, Branch, Node, StateTree, Value, join


def flatten(tree: StateTree) -> dict[str, np.ndarray[Any, Any]]:
    """Paths to arrays, each a copy that belongs to the caller.

    Plain values become arrays of no dimensions, None an array of the object None, as Chainer has it. What the arrays do
    not tell (the kinds of containers, empty ones, which values were Python's own) comes from the target when they are
    restored.
    Raises:
        UnknownFormatError: numpy has no such dtype, or only with ml_dtypes.
    """
    found = by_name(tree.root)
    if tree.reserved is not None:
        found.update(by_name(tree.reserved, RESERVED))
    return {name: _array(node) for name, node in found.items()}


def by_name(node: Node, path: str = "") -> dict[str, Node]:
    """Whole names to what has no children."""
    node = lookup.unpacked(node)
    if not isinstance(node, Branch):
        return {path or ROOT_LEAF: node}
    found: dict[str, Node] = {}
    for key, child in zip(node.keys, node.children, strict=True):
        flat = node.kind == "untyped" and not path  # a name as the file has it
        found.update(by_name(child, str(key) if flat else join(path, key)))
    return found


def _array(node: Node) -> np.ndarray[Any, Any]:
    if isinstance(node, Value):
        return values.to_array(node)
    assert isinstance(node, Array)
    carried = arrays.carried(node)
    copied = arrays.raw(carried).copy(order="C").view(carried.dtype)
    made: np.ndarray[Any, Any] = arrays.wrap(copied, arrays.dtype_name(node), "numpy")
    return made
