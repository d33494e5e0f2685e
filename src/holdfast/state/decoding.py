"""JSON -> a state tree. docs/format.md, "The tree".

What is decoded need not be trusted: every type, count, index and bound is checked, and whatever is wrong is a
ValueError.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from typing import Any

from holdfast.errors import UnknownFormatError
from holdfast.snapshot import Json
from holdfast.state import dtypes
from holdfast.state.strictjson import loads, shorten
from holdfast.state.tree import (
    BRANCH_KINDS,
    VALUE_KINDS,
    Array,
    Branch,
    Key,
    Leaf,
    Node,
    Packed,
    StateTree,
    Value,
    View,
    escape,
)

MAX_DEPTH = 128  # branches inside one another
MAX_NODES = 1 << 22  # in one header; long plain values are Packed and do not count
MAX_DIMS = 64  # axes of one array, numpy's own limit

FRAMEWORKS = {"n": "numpy", "t": "torch", "j": "jax"}
_PACKED_KINDS = frozenset(("bytes", "str", "json"))
_HEX_INT = re.compile(r"-?0x[0-9a-f]+")
_HEX_BYTES = re.compile(r"(?:[0-9a-f]{2})*")
_HEX_FLOAT = re.compile(r"[0-9a-f]{16}")
_TORCH_DTYPE = re.compile(
    r"bool|complex[0-9]+|q?u?int[0-9]+(?:x[0-9]+)?|b?float[0-9]+(?:_[a-z0-9_]+)?|bits[0-9]+(?:x[0-9]+)?"
)
_TORCH_DEVICE = re.compile(r"[a-zA-Z0-9_]+(?::[0-9]{1,9})?")


def decode(structure: Json, values: Json, leaves: Sequence[Leaf]) -> StateTree:
    """The tree that `encode` was given, over the leaves of a file.

    Args:
        structure, values: what a file's JSON holds; anything.
        leaves: the leaves of the file, by number.
    Raises:
        ValueError: it is not what `encode` makes.
        UnknownFormatError: a dtype that is not known.
    """
    if type(structure) is not dict or not {"root"} <= structure.keys() <= {"root", "reserved"}:
        raise ValueError("the tree is not an object with a root")
    reader = _Reader(values, leaves, MAX_NODES)
    root = reader.node(structure["root"], 0)
    reserved = reader.node(structure["reserved"], 0) if "reserved" in structure else None
    if reserved is not None and not isinstance(reserved, Branch):
        raise ValueError("the reserved part of the tree is not a branch")
    reader.finish()
    return StateTree(root, reserved)


def decode_plain(data: bytes | bytearray | memoryview) -> Node:
    """The node that `encode_plain` was given.

    Raises:
        ValueError: it is not what `encode_plain` makes.
        UnknownFormatError: a dtype that is not known.
    """
    pair = loads(bytes(data))
    if type(pair) is not list or len(pair) != 2:
        raise ValueError("a packed value is not a pair of structure and values")
    reader = _Reader(pair[1], (), len(data))
    node = reader.node(pair[0], 0)
    reader.finish()
    return node


class _Reader:
    """Reads nodes, taking each plain value in its turn."""

    def __init__(self, values: Json, leaves: Sequence[Leaf], max_nodes: int) -> None:
        if type(values) is not list:
            raise ValueError("the values are not a list")
        if len(values) > max_nodes:
            raise ValueError(f"there are {len(values)} values, at most {max_nodes} are read")
        self._values = values
        self._taken = 0
        self._leaves = leaves
        self._seen = bytearray(len(leaves))
        self._left = max_nodes

    def finish(self) -> None:
        if self._taken != len(self._values):
            raise ValueError(f"the tree takes {self._taken} of {len(self._values)} values")
        if not all(self._seen):
            raise ValueError(f"the tree does not name the leaf {self._leaves[self._seen.index(0)].path!r}")

    def node(self, spec: Json, depth: int) -> Node:
        if type(spec) is int and spec == 0:
            return self._value()
        if type(spec) is not list or not 3 <= len(spec) <= 4 or type(spec[0]) is not str:
            raise ValueError(f"a node is {shorten(spec)}")
        if spec[0] == "a":
            return self._array(spec)
        if spec[0] == "p":
            return self._packed(spec)
        return self._branch(spec, depth)

    def _value(self) -> Value:
        if self._taken >= len(self._values):
            raise ValueError(f"the tree wants more than the {len(self._values)} values that there are")
        self._taken += 1
        return _decode_value(self._values[self._taken - 1])

    def _leaf(self, number: Json) -> Leaf:
        if type(number) is not int or not 0 <= number < len(self._leaves):
            raise ValueError(f"a node names leaf {shorten(number)} of {len(self._leaves)}")
        self._seen[number] = 1
        return self._leaves[number]

    def _array(self, spec: list[Json]) -> Array:
        leaf = self._leaf(spec[1])
        framework = FRAMEWORKS.get(spec[2]) if type(spec[2]) is str else None
        if framework is None:
            raise ValueError(f"the framework of {leaf.path!r} is {shorten(spec[2])}")
        return Array(leaf, framework, _decode_view(spec[3], leaf) if len(spec) == 4 else None)

    def _packed(self, spec: list[Json]) -> Packed:
        leaf = self._leaf(spec[1])
        if len(spec) != 3 or type(spec[2]) is not str or spec[2] not in _PACKED_KINDS:
            raise ValueError(f"the packed value {leaf.path!r} is {shorten(spec)}")
        if leaf.dtype != "U8" or len(leaf.shape) != 1:
            raise ValueError(f"the packed value {leaf.path!r} is not a row of bytes")
        return Packed(spec[2], leaf)

    def _branch(self, spec: list[Json], depth: int) -> Branch:
        kind, children = spec[0], spec[2]
        if depth >= MAX_DEPTH:
            raise ValueError(f"the tree is over {MAX_DEPTH} levels deep")
        count = children if type(children) is int else len(children) if type(children) is list else -1
        if count < 0:
            raise ValueError(f"the children of a branch are {shorten(children)}")
        self._left -= count
        if self._left < 0 or (type(children) is int and count > len(self._values) - self._taken):
            raise ValueError("the tree has more nodes than are read, or than there are values")
        keys = _decode_keys(spec[1], count)
        if type(children) is int:
            nodes: tuple[Node, ...] = tuple(self._value() for _ in range(count))
        else:
            leaves, seen, most = self._leaves, self._seen, len(self._leaves)
            found: list[Node] = []
            for child in children:
                # What most children are, at once: it is the same as node(), in a fifth of the time.
                if type(child) is list and len(child) == 3:
                    code, number, letter = child
                    is_leaf = code == "a" and type(number) is int and 0 <= number < most
                    if is_leaf and type(letter) is str and letter in FRAMEWORKS:
                        seen[number] = 1
                        found.append(Array(leaves[number], FRAMEWORKS[letter]))
                        continue
                found.append(self.node(child, depth + 1))
            nodes = tuple(found)
        meta = spec[3] if len(spec) == 4 else None
        check_branch(kind, keys, meta)
        return Branch(kind, keys, nodes, meta)


def check_branch(kind: str, keys: tuple[Key, ...], meta: Any) -> None:
    """Raises ValueError for a branch that has not the keys and the meta that its kind wants."""
    if kind not in BRANCH_KINDS:
        raise ValueError(f"a branch is of the unknown kind {shorten(kind)}")
    wanted = _KEYS.get(kind)
    if wanted is not None and keys != wanted:
        raise ValueError(f"a {kind} has the keys {shorten(list(keys))}, wanted {list(wanted)}")
    if kind in _POSITIONS and any(type(key) is not int or key != i for i, key in enumerate(keys)):
        raise ValueError(f"a {kind} has keys other than positions: {shorten(list(keys))}")
    if kind in _NAMES and not all(type(key) is str for key in keys):
        raise ValueError(f"a {kind} has keys that are no str: {shorten(list(keys))}")
    if kind in _NAMED_BY_META:
        right = type(meta) is str
    else:
        right = meta is None or (kind == "deque" and type(meta) is int and 0 <= meta < 1 << 63)
    if not right:
        raise ValueError(f"a {kind} has the meta {shorten(meta)}")


_POSITIONS = frozenset("list tuple deque set frozenset".split())
_NAMES = frozenset("namedtuple dataclass untyped".split())
_KEYS: dict[str, tuple[Key, ...]] = {
    "enum": ("value",),
    "random.Random": ("version", "words", "gauss"),
    "numpy.Generator": ("state",),
    "numpy.RandomState": ("state",),
    "torch.Generator": ("state",),
    "jax.key": ("data",),
}
_NAMED_BY_META = frozenset("numpy.Generator numpy.RandomState torch.Generator jax.key".split())


def _decode_keys(spec: Json, count: int) -> tuple[Key, ...]:
    if spec is None:
        return tuple(range(count))
    if type(spec) is not list or len(spec) != count:
        raise ValueError(f"a branch of {count} children has the keys {shorten(spec)}")
    keys = tuple([key if type(key) is str else _decode_key(key, 0) for key in spec])
    # Equal keys would fall together in a dict, equal names on disk.
    if len(set(keys)) != count or not (
        all(type(key) is str for key in keys) or len({escape(key) for key in keys}) == count
    ):
        raise ValueError(f"a branch has a key twice: {shorten(spec)}")
    return keys


def _decode_key(spec: Json, depth: int) -> Key:
    if spec is None or type(spec) in (str, bool, int, float):
        return spec  # type: ignore[no-any-return]
    if type(spec) is list and len(spec) == 2 and type(spec[0]) is str and depth < MAX_DEPTH:
        code, data = spec
        if code == "t" and type(data) is list:
            return tuple(_decode_key(part, depth + 1) for part in data)
        if type(data) is str:
            if code == "i" and _HEX_INT.fullmatch(data):
                return int(data, 16)
            if code == "f" and _HEX_FLOAT.fullmatch(data):
                return float(struct.unpack(">d", bytes.fromhex(data))[0])
            if code == "y" and _HEX_BYTES.fullmatch(data):
                return bytes.fromhex(data)
            if code == "s" and _HEX_BYTES.fullmatch(data):
                return bytes.fromhex(data).decode("utf-8", "surrogatepass")
    raise ValueError(f"a key is {shorten(spec)}")


def _decode_value(spec: Json) -> Value:
    kind = _JSON_KINDS.get(type(spec))
    if kind is not None:
        return Value(kind, spec)
    if type(spec) is list and len(spec) == 2 and type(spec[0]) is str and spec[0] in VALUE_KINDS:
        kind, data = spec
        if kind == "str" and type(data) is str and _HEX_BYTES.fullmatch(data):
            return Value(kind, bytes.fromhex(data).decode("utf-8", "surrogatepass"))
        if kind in _DATA_CHECKS and _DATA_CHECKS[kind](data):
            return Value(kind, data)
    raise ValueError(f"a value is {shorten(spec)}")


def _is_int(data: Json) -> bool:
    return type(data) is int or (type(data) is str and _HEX_INT.fullmatch(data) is not None)


def _is_float(data: Json) -> bool:
    return type(data) is float or (type(data) is str and _HEX_FLOAT.fullmatch(data) is not None)


def _is_hex(data: Json) -> bool:
    return type(data) is str and _HEX_BYTES.fullmatch(data) is not None


def _to_int(data: int | str) -> int:
    return data if isinstance(data, int) else int(data, 16)


def _is_scalar(data: Json) -> bool:
    if type(data) is not list or len(data) != 2 or type(data[0]) is not str or not _is_hex(data[1]):
        return False
    return dtypes.item_size(data[0]) == len(data[1]) // 2


def _are_bounds(data: Json) -> bool:
    return type(data) is list and len(data) == 3 and all(part is None or _is_int(part) for part in data)


_JSON_KINDS = {type(None): "none", bool: "bool", int: "int", float: "float", str: "str"}
_DATA_CHECKS: dict[str, Any] = {
    "int": _is_int,
    "float": _is_float,
    "complex": lambda data: type(data) is list and len(data) == 2 and all(_is_float(part) for part in data),
    "bytes": _is_hex,
    "range": lambda data: _are_bounds(data) and None not in data and _to_int(data[2]) != 0,
    "slice": _are_bounds,
    "numpy": _is_scalar,
    "torch.Size": lambda data: type(data) is list and all(type(size) is int and abs(size) < 1 << 63 for size in data),
    "torch.dtype": lambda data: type(data) is str and _TORCH_DTYPE.fullmatch(data) is not None,
    "torch.device": lambda data: type(data) is str and _TORCH_DEVICE.fullmatch(data) is not None,
}


def _decode_view(spec: Json, leaf: Leaf) -> View:
    """A window that lies inside its leaf, checked with Python's ints, which do not overflow."""
    if type(spec) is not list or len(spec) != 4 or leaf.dtype != "U8" or len(leaf.shape) != 1:
        raise ValueError(f"the view {shorten(spec)} does not look into a row of bytes")
    offset, dtype, shape, strides = spec
    if type(offset) is not int or type(dtype) is not str or type(strides) is not list:
        raise ValueError(f"a view into {leaf.path!r} is {shorten(spec)}")
    try:
        item_size = dtypes.item_size(dtype)
    except UnknownFormatError as error:
        raise UnknownFormatError(f"a view into {leaf.path!r}: {error}") from None
    count = check_shape(shape, item_size)
    if len(strides) != len(shape) or not all(type(stride) is int and abs(stride) < 1 << 63 for stride in strides):
        raise ValueError(f"the strides of a view into {leaf.path!r} are {shorten(strides)}")
    first = last = offset
    if count:
        reach = [(size - 1) * stride for size, stride in zip(shape, strides, strict=True)]
        first += sum(step for step in reach if step < 0)
        last += sum(step for step in reach if step > 0) + item_size
    if first < 0 or last > leaf.nbytes or not 0 <= offset <= leaf.nbytes:
        raise ValueError(f"a view into {leaf.path!r} reaches bytes {first}-{last} of {leaf.nbytes}")
    return View(offset, dtype, tuple(shape), tuple(strides))


def check_shape(shape: Json, item_size: int) -> int:
    """How many elements an array of this shape has.

    Raises:
        ValueError: it is no shape, or one that numpy cannot have.
    """
    if type(shape) is not list or len(shape) > MAX_DIMS:
        raise ValueError(f"a shape is {shorten(shape)}")
    count, room = 1, max(item_size, 1)
    for size in shape:
        if type(size) is not int or size < 0:
            raise ValueError(f"a shape is {shorten(shape)}")
        count *= size
        room *= size or 1
    if room >= 1 << 63:
        raise ValueError(f"an array of shape {shorten(shape)} is larger than any memory")
    return count
