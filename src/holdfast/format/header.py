"""State tree -> header and data layout: how a snapshot file is laid out. docs/format.md as code.

A layout depends on the tree's shape alone, so one may serve every snapshot of a run: plan once, encode each time.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from holdfast.format.prefix import (
    MAX_HEADER,
    Facts,
    facts_from_json,
    facts_sum,
    facts_text,
    facts_to_json,
)
from holdfast.format.sums import FACTS_SUM, LITERAL, PAGE, PREFIX, VERSION
from holdfast.snapshot import Json
from holdfast.state import dtypes
from holdfast.state.encoding import dumps
from holdfast.state.encoding import encode as encode_tree
from holdfast.state.reading import leaves_of
from holdfast.state.strictjson import is_unicode
from holdfast.state.tree import Array, Leaf, StateTree

__all__ = [
    "PAGE",
    "Draft",
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
    """Where the leaf of an array stands in the data part."""

    path: str
    dtype: str
    shape: tuple[int, ...]
    offset: int  # bytes from the start of the data part
    nbytes: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything stands in a file, for every tree of the same shape: plain values may differ, and packed ones may
    be longer or shorter."""

    slots: tuple[Slot, ...]  # one for each leaf of an array, in tree order; in the file they leave no holes
    ends: tuple[int, ...]  # where the first of them in the file ends in the data part, the second, ...
    array_bytes: int  # of all slots
    packed: tuple[str, ...]  # the path of each packed leaf, in tree order; they follow the arrays
    value_count: int
    tree_text: str  # the parts of the header that no snapshot changes, as they stand there
    alias_text: str
    entry_text: str


@dataclass(frozen=True, slots=True)
class Draft:
    """A header that is complete but for its checksums, which are zeroes."""

    text: bytearray  # length prefix, JSON and padding: a multiple of PAGE bytes
    checksums_at: int  # where in it the checksums stand, 32 hex digits a leaf


def plan(tree: StateTree) -> Layout:
    """Where each leaf of `tree` is to stand.

    Leaves stand by the falling power of two that divides their item size, so that each is aligned without holes; packed
    values, which may grow from snapshot to snapshot, come last.

    Raises:
        ValueError: the tree is too deep or too large, or a leaf is not named as the place where it stands.
    """
    # A pair under a key of holdfast's own would be taken for it; the tree has the alias in any case.
    aliases = {name: kept for name, kept in tree.aliases().items() if not name.startswith("holdfast")}
    plain, packed = leaves_of(tree)
    leaves = _in_file_order(tree, plain)
    slots: dict[Leaf, Slot] = {}
    offset = 0
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
        slots[leaf] = Slot(leaf.path, leaf.dtype, leaf.shape, offset, leaf.nbytes)
        offset = end
    if len({*entries, *[leaf.path for leaf in packed]}) != len(leaves) + len(packed):
        raise ValueError("two leaves of the tree have the same path")
    structure, values = encode_tree(tree, {leaf: number for number, leaf in enumerate([*leaves, *packed])})
    return Layout(
        slots=tuple([slots[leaf] for leaf in plain]),
        ends=tuple([slots[leaf].offset + slots[leaf].nbytes for leaf in leaves]),
        array_bytes=offset,
        packed=tuple([leaf.path for leaf in packed]),
        value_count=len(values),
        tree_text=json.dumps(dumps({"dtypes": logical, **structure})),
        alias_text="," + dumps(aliases)[1:-1] if aliases else "",
        entry_text="," + dumps(entries)[1:-1] if entries else "",
    )


def _in_file_order(tree: StateTree, plain: list[Leaf]) -> list[Leaf]:
    alignment: dict[Leaf, int] = {}  # of raw bytes that arrays look into
    for node in tree.holders():
        if type(node) is Array and node.view is not None:
            wanted = min(_power_of_two(dtypes.item_size(node.view.dtype)), _power_of_two(node.leaf.nbytes))
            alignment[node.leaf] = max(wanted, alignment.get(node.leaf, 1))
    return sorted(plain, key=lambda leaf: -(alignment.get(leaf) or _power_of_two(dtypes.item_size(leaf.dtype))))


def _power_of_two(size: int) -> int:
    """The largest that divides `size`; 1 for nothing."""
    return size & -size or 1


def _round_up(size: int, unit: int) -> int:
    return -(-size // unit) * unit


def encode(
    layout: Layout,
    values: Sequence[Json],
    packed_sizes: Sequence[int],
    facts: Facts,
    metadata: Mapping[str, Json] | None,
) -> Draft:
    """The header of a snapshot file, which the data follow.

    Args:
        layout: planned from the tree that the values are of, or from one of the same shape.
        values: the plain values, as encode_values has them.
        packed_sizes: bytes of each packed leaf.
        metadata: the user's; JSON values under str keys.
    Raises:
        ValueError: the facts do not fit the first PAGE bytes, the metadata is no JSON, or the header would be longer
            than MAX_HEADER.
    """
    if len(values) != layout.value_count or len(packed_sizes) != len(layout.packed):
        raise ValueError("the layout was planned for a tree of another shape")
    metadata_text = json.dumps(dumps(check_metadata({} if metadata is None else metadata)))
    values_text = json.dumps(dumps(values))
    leaf_count = len(layout.slots) + len(packed_sizes)
    entry_text, data_bytes = _with_packed(layout, packed_sizes)
    fixed = 256 + len(layout.tree_text) + len(layout.alias_text) + len(entry_text) + 32 * leaf_count
    growing = _round_up(len(values_text) + VALUES_ROOM, VALUES_ROOM) + _round_up(len(metadata_text), VALUES_ROOM)
    size = _round_up(fixed + max(len(facts_text(facts, 1 << 62)), FACTS_ROOM) + growing, PAGE)
    if size > MAX_HEADER:
        raise ValueError(
            f"the header would take {size} bytes, at most {MAX_HEADER} can be read: keep long metadata "
            f"({len(metadata_text)} bytes) and plain values ({len(values_text)} bytes) in arrays or files of their own"
        )
    facts_json = facts_text(facts, size + data_bytes)
    start = PREFIX.pack(size - PREFIX.size) + LITERAL + VERSION + b" "
    header = bytearray(size)
    header[:] = b" " * size
    at = 0

    def put(text: bytes) -> None:
        nonlocal at
        header[at : at + len(text)] = text
        at += len(text)

    put(b"".join((start, b"0" * 32, b" ", facts_sum(start, facts_json), b" ", facts_json, b'"')))
    put(f',"holdfast.metadata":{metadata_text},"holdfast.values":{values_text},"holdfast.checksums":"'.encode("ascii"))
    checksums_at = at
    put(b"0" * (32 * leaf_count))
    put(b'","holdfast.tree":')
    put(layout.tree_text.encode("ascii"))
    put(f"{layout.alias_text}}}{entry_text}}}".encode("ascii"))
    assert len(header) == size
    assert header[FACTS_SUM.stop] == ord(" ")
    return Draft(header, checksums_at)


def _with_packed(layout: Layout, sizes: Sequence[int]) -> tuple[str, int]:
    """The entries of all leaves, and the bytes that all of them take."""
    entries: dict[str, Json] = {}
    end = layout.array_bytes
    for path, size in zip(layout.packed, sizes, strict=True):
        entries[path] = {"dtype": "U8", "shape": [size], "data_offsets": [end, end + size]}
        end += size
    return layout.entry_text + ("," + dumps(entries)[1:-1] if entries else ""), end


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
        # Loops, no comprehensions: where a call with closures finds no memory, CPython may end with a signal.
        branch: dict[str, Json] = {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise ValueError(f"{where} has the key {key!r:.80}; keys of JSON are str")
            _check_json(key, f"{where}'s key {key!r:.80}", depth)
            branch[str.__str__(key)] = _check_json(item, f"{where}[{key!r}]", depth + 1)
        return branch
    if isinstance(value, (list, tuple)):
        items: list[Json] = []
        for number, item in enumerate(value):
            items.append(_check_json(item, f"{where}[{number}]", depth + 1))
        return items
    raise ValueError(
        f"{where} is {type(value).__module__}.{type(value).__qualname__}, wanted a JSON value: None, bool, int, float, "
        "str, list or dict; convert it first, or keep it in the target"
    )
