"""A state tree as JSON. docs/format.md, "The tree"; decoding.py is the way back.

The structure and the plain values are kept apart: the structure of a run's tree is the same bytes from snapshot to
snapshot, only the values change.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping

from holdfast.snapshot import Json
from holdfast.state.decoding import (
    FRAMEWORKS,
    MAX_DEPTH,
    MAX_DIMS,
    MAX_NODES,
    check_branch,
    check_shape,
    decode,
    decode_plain,
)
from holdfast.state.strictjson import collector_paused, dumps, is_unicode, loads
from holdfast.state.tree import Array, Branch, Key, Leaf, Node, Packed, StateTree, Value

__all__ = [
    "EXACT_INT",
    "MAX_DEPTH",
    "MAX_DIMS",
    "MAX_NODES",
    "check_shape",
    "collector_paused",
    "decode",
    "decode_plain",
    "dumps",
    "encode",
    "encode_plain",
    "encode_value",
    "encode_values",
    "loads",
]

EXACT_INT = 1 << 53  # below this every reader's numbers are exact

_LETTERS = {name: letter for letter, name in FRAMEWORKS.items()}


def encode(tree: StateTree, index: Mapping[Leaf, int]) -> tuple[Json, list[Json]]:
    """The structure of `tree` and its plain values, both fit for JSON.

    Args:
        tree: at most MAX_DEPTH branches deep.
        index: the number that each leaf has in its file.
    Returns:
        The structure (`{"root": ..., "reserved": ...}`, the second only where there is one), and the values in tree
        order.
    Raises:
        ValueError: the tree is too deep, has too many nodes, or a branch that is not as its kind wants it.
    """
    values: list[Json] = []
    structure = {"root": _encode(tree.root, index, values, 0)}
    if tree.reserved is not None:
        structure["reserved"] = _encode(tree.reserved, index, values, 0)
    count = _count(tree.root) + _count(tree.reserved)
    if count > MAX_NODES:
        raise ValueError(f"the target holds {count} values and arrays, at most {MAX_NODES} can be kept")
    return structure, values


def _count(root: Node | None) -> int:
    """The nodes below `root`."""
    count, stack = 0, [root]
    while stack:
        node = stack.pop()
        if type(node) is Branch:
            count += len(node.children)
            stack.extend(child for child in node.children if type(child) is Branch)
    return count


def encode_values(tree: StateTree) -> list[Json]:
    """The plain values of `tree` alone, as `encode` gives them."""
    values: list[Json] = []
    for root in (tree.root, tree.reserved):
        stack: list[Node] = [] if root is None else [root]
        while stack:
            node = stack.pop()
            if type(node) is Value:
                values.append(encode_value(node))
            elif type(node) is Branch:
                stack.extend(reversed(node.children))
    return values


def encode_plain(node: Node) -> bytes:
    """A node without leaves as the ASCII bytes of a Packed("json").

    Raises:
        ValueError: the node is too deep, or has a leaf.
    """
    values: list[Json] = []
    structure = _encode(node, {}, values, 0)
    return dumps([structure, values]).encode("ascii")


def _encode(node: Node, index: Mapping[Leaf, int], values: list[Json], depth: int) -> Json:
    if type(node) is Value:
        values.append(encode_value(node))
        return 0
    if type(node) is Array:
        array = ["a", _number(node.leaf, index), _LETTERS[node.framework]]
        if node.view is not None:
            array.append([node.view.offset, node.view.dtype, list(node.view.shape), list(node.view.strides)])
        return array
    if type(node) is Packed:
        return ["p", _number(node.leaf, index), node.kind]
    assert type(node) is Branch
    if depth >= MAX_DEPTH:
        raise ValueError(f"the target is over {MAX_DEPTH} levels deep; flatten it, or keep it elsewhere")
    check_branch(node.kind, node.keys, node.meta)
    children: Json = [_encode(child, index, values, depth + 1) for child in node.children]
    if all(child == 0 for child in children):
        children = len(children)
    if node.meta is None:
        return [node.kind, _encode_keys(node.keys), children]
    return [node.kind, _encode_keys(node.keys), children, node.meta]


def _number(leaf: Leaf, index: Mapping[Leaf, int]) -> int:
    if leaf not in index:
        raise ValueError(f"{leaf.path!r} is a leaf, which has no place here")
    return index[leaf]


def encode_value(value: Value) -> Json:
    """The kinds that JSON has stand as themselves, every other as [kind, data]."""
    kind, data = value.kind, value.data
    if kind == "str":
        return data if is_unicode(data) else ["str", _surrogates_to_hex(data)]
    if kind in ("none", "bool") or (kind == "float" and type(data) is float) or (kind == "int" and type(data) is int):
        return data
    return [kind, data]


def _encode_keys(keys: tuple[Key, ...]) -> Json:
    """None for the positions 0, 1, ..."""
    if all(type(key) is int for key in keys) and keys == tuple(range(len(keys))):
        return None
    return [_encode_key(key, 0) for key in keys]


def _encode_key(key: Key, depth: int) -> Json:
    if depth >= MAX_DEPTH:
        raise ValueError(f"a key is a tuple over {MAX_DEPTH} levels deep")
    if type(key) is str:
        return key if is_unicode(key) else ["s", _surrogates_to_hex(key)]
    if key is None or type(key) is bool:
        return key
    if type(key) is int:
        return key if abs(key) < EXACT_INT else ["i", hex(key)]
    if type(key) is float:
        return key if math.isfinite(key) else ["f", struct.pack(">d", key).hex()]
    if type(key) is bytes:
        return ["y", key.hex()]
    assert type(key) is tuple
    return ["t", [_encode_key(part, depth + 1) for part in key]]


def _surrogates_to_hex(text: str) -> str:
    return text.encode("utf-8", "surrogatepass").hex()
