"""State tree -> header and data layout: how a snapshot file is laid out. docs/format.md as code.

A layout depends on the tree's shape alone, so one may serve every snapshot of a run: plan once, encode each time.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from holdfast.format.prefix import (
    FACTS_SUM,
    HEADER_SUM,
    LITERAL,
    MAX_HEADER,
    PAGE,
    PREFIX,
    VERSION,
    Facts,
    facts_from_json,
    facts_sum,
    facts_text,
    facts_to_json,
    header_sum,
)
from holdfast.snapshot import Json
from holdfast.state import dtypes
from holdfast.state.encoding import dumps, encode_values
from holdfast.state.encoding import encode as encode_tree
from holdfast.state.strictjson import is_unicode
from holdfast.state.tree import Array, Leaf, Packed, StateTree

__all__ = [
    "PAGE",
    "Facts",
    "Layout",
    "Slot",
    "check_metadata",
    "encode",
    "facts_from_json",
    "facts_to_json",
    "plan",
]

FACTS_ROOM = 1024  # kept for the facts, so that a longer step number moves no leaf
VALUES_ROOM = 256  # kept for plain values and metadata that grow a little


@dataclass(frozen=True, slots=True)
class Slot:
    """Where one leaf stands in the data part."""

    leaf: Leaf
    offset: int  # bytes from the start of the data part
    nbytes: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything stands in a file, for every tree of the same shape."""

    slots: tuple[Slot, ...]  # in file order, with no holes
    data_bytes: int
    value_count: int
    header_bytes: int  # what `encode` gives, unless the facts, values or metadata need more
    tree_text: str  # the parts of the header that no snapshot changes, as they stand there
    alias_text: str
    entry_text: str


def plan(tree: StateTree) -> Layout:
    """Where each leaf of `tree` is to stand.

    Leaves stand by the falling power of two that divides their item size, so that each is aligned without holes; bytes
    that may grow from snapshot to snapshot come last.

    Raises:
        ValueError: the tree is too deep or too large, or a leaf is not named as the place where it stands.
    """
    # A pair under a key of holdfast's own would be taken for it; the tree has the alias in any case.
    aliases = {name: kept for name, kept in tree.aliases().items() if not name.startswith("holdfast")}
    leaves = _in_file_order(tree)
    slots, offset = [], 0
    logical: dict[str, str] = {}
    entries: dict[str, Json] = {}
    for number, leaf in enumerate(leaves):
        entry, shape = leaf.dtype, list(leaf.shape)
        item_size = dtypes.item_size(leaf.dtype)
        if math.prod(shape) * item_size != leaf.nbytes:
            raise ValueError(f"{leaf.path!r} has {leaf.nbytes} bytes, its shape {leaf.shape} wants another number")
        if entry not in dtypes.ITEM_SIZES:
            logical[str(number)], entry = entry, "U8"
            shape.append(item_size)
        end = offset + leaf.nbytes
        entries[leaf.path] = {"dtype": entry, "shape": shape, "data_offsets": [offset, end]}
        slots.append(Slot(leaf, offset, leaf.nbytes))
        offset = end
    if len(entries) != len(leaves):
        raise ValueError("two leaves of the tree have the same path")
    structure, values = encode_tree(tree, {leaf: number for number, leaf in enumerate(leaves)})
    layout = Layout(
        slots=tuple(slots),
        data_bytes=offset,
        value_count=len(values),
        header_bytes=0,
        tree_text=json.dumps(dumps({"dtypes": logical, **structure})),
        alias_text="," + dumps(aliases)[1:-1] if aliases else "",
        entry_text="," + dumps(entries)[1:-1] if entries else "",
    )
    header_bytes = _header_bytes(layout, FACTS_ROOM, len(json.dumps(dumps(values))), 4)
    return Layout(
        layout.slots,
        layout.data_bytes,
        layout.value_count,
        header_bytes,
        layout.tree_text,
        layout.alias_text,
        layout.entry_text,
    )


def _in_file_order(tree: StateTree) -> list[Leaf]:
    growing: set[Leaf] = set()
    alignment: dict[Leaf, int] = {}  # of raw bytes that arrays look into
    for _, node in tree.arrays():
        if type(node) is Packed:
            growing.add(node.leaf)
        elif type(node) is Array and node.view is not None:
            wanted = min(_power_of_two(dtypes.item_size(node.view.dtype)), _power_of_two(node.leaf.nbytes))
            alignment[node.leaf] = max(wanted, alignment.get(node.leaf, 1))

    def rank(leaf: Leaf) -> tuple[bool, int]:
        return leaf in growing, -(alignment.get(leaf) or _power_of_two(dtypes.item_size(leaf.dtype)))

    return sorted(tree.leaves(), key=rank)


def _power_of_two(size: int) -> int:
    """The largest that divides `size`; 1 for nothing."""
    return size & -size or 1


def _header_bytes(layout: Layout, facts: int, values: int, metadata: int) -> int:
    """A multiple of PAGE with room for so many bytes of JSON strings, and for a little more."""
    fixed = 256 + len(layout.tree_text) + len(layout.alias_text) + len(layout.entry_text) + 32 * len(layout.slots)
    growing = _round_up(values + VALUES_ROOM, VALUES_ROOM) + _round_up(metadata, VALUES_ROOM)
    return _round_up(fixed + max(facts, FACTS_ROOM) + growing, PAGE)


def _round_up(size: int, unit: int) -> int:
    return -(-size // unit) * unit


def encode(
    layout: Layout, tree: StateTree, facts: Facts, metadata: Mapping[str, Json] | None, checksums: Sequence[bytes]
) -> bytes:
    """The header of a snapshot file: length prefix, JSON and padding, a multiple of PAGE bytes. The data follows.

    Args:
        layout: planned from `tree`, or from one of the same shape.
        tree: its plain values are written; its leaves only as the layout has them.
        metadata: the user's; JSON values under str keys.
        checksums: the xxh3-128 digest (16 bytes) of each slot's bytes, in file order.
    Raises:
        ValueError: the facts do not fit the first PAGE bytes, the metadata is no JSON, or the header would be longer
            than MAX_HEADER.
    """
    values = encode_values(tree)
    if len(values) != layout.value_count or len(checksums) != len(layout.slots):
        raise ValueError("the layout was planned for a tree of another shape")
    texts = [
        json.dumps(dumps(check_metadata({} if metadata is None else metadata))),
        json.dumps(dumps(values)),
        '"' + b"".join(checksums).hex() + '"',
        layout.tree_text,
    ]
    facts_room = len(facts_text(facts, 1 << 62))
    size = max(layout.header_bytes, _header_bytes(layout, facts_room, len(texts[1]), len(texts[0])))
    if size > MAX_HEADER:
        raise ValueError(
            f"the header would take {size} bytes, at most {MAX_HEADER} can be read: keep long metadata "
            f"({len(texts[0])} bytes) and plain values ({len(texts[1])} bytes) in arrays or files of their own"
        )
    facts_json = facts_text(facts, size + layout.data_bytes)
    names = ("metadata", "values", "checksums", "tree")
    rest = "".join(f',"holdfast.{name}":{text}' for name, text in zip(names, texts, strict=True))
    start = PREFIX.pack(size - PREFIX.size) + LITERAL + VERSION + b" "
    header = bytearray(
        b"".join((start, b"0" * 32, b" ", facts_sum(start, facts_json), b" ", facts_json, b'"', rest.encode("ascii")))
    )
    header += f"{layout.alias_text}}}{layout.entry_text}}}".encode("ascii")
    assert len(header) <= size
    assert header[FACTS_SUM.stop] == ord(" ")
    header += b" " * (size - len(header))
    header[HEADER_SUM] = header_sum(header)
    return bytes(header)


def check_metadata(metadata: Mapping[str, Json]) -> dict[str, Json]:
    """The same in plain dicts and lists.

    Raises:
        ValueError: it holds something that JSON has not; names the key.
    """
    if not isinstance(metadata, Mapping):
        raise ValueError(f"metadata is {type(metadata).__name__}, wanted a dict of JSON values")
    checked: dict[str, Json] = _check_json(metadata, "metadata", 0)
    return checked


def _check_json(value: Json, where: str, depth: int) -> Json:
    if depth > 64:
        raise ValueError(f"{where[:200]} is over 64 levels deep")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        if not is_unicode(value):
            raise ValueError(f"{where} is {value!r:.80}, which is no Unicode text: it holds half a surrogate pair")
        return str.__str__(value)  # an enum's own str() is its name
    if isinstance(value, int):
        if value.bit_length() > 4096:
            raise ValueError(f"{where} is an int of {value.bit_length()} bits, at most 4096 are kept; keep it as text")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{where} is {value}, which JSON has not; keep it as text, or leave it out")
        return float(value)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ValueError(f"{where} has the key {key!r:.80}; keys of JSON are str")
            _check_json(key, f"{where}'s key {key!r:.80}", depth)
        return {str.__str__(key): _check_json(item, f"{where}[{key!r}]", depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_check_json(item, f"{where}[{i}]", depth + 1) for i, item in enumerate(value)]
    raise ValueError(
        f"{where} is {type(value).__module__}.{type(value).__qualname__}, wanted a JSON value: None, bool, int, float, "
        "str, list or dict; convert it first, or keep it in the target"
    )
