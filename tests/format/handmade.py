"""State trees made by hand, snapshot files of them, and files that lie although their sums are right."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from itertools import accumulate
from typing import Any

import numpy as np
import xxhash

from holdfast.format import header
from holdfast.format.prefix import Facts, facts_sum
from holdfast.format.sums import FACTS_AT, FACTS_SUM, HEADER_SUM, LITERAL, PAGE, PREFIX, header_sum
from holdfast.image import Image, seal
from holdfast.state import dtypes
from holdfast.state.encoding import encode_values
from holdfast.state.reading import leaves_of
from holdfast.state.tree import (
    RESERVED,
    ROOT_LEAF,
    SHARED,
    Array,
    Branch,
    Key,
    Leaf,
    Node,
    Packed,
    StateTree,
    Value,
    View,
    join,
)

FACTS = Facts(
    step=7,
    epoch=0.5,
    metrics={"loss": 0.25, "gone": float("nan")},
    reason="trigger",
    created_at=datetime(2030, 12, 31, 23, 59, 59, 999999, timezone.utc),
    run_id="0123456789abcdef0123456789abcdef",
    sequence=3,
    role="store",
    template="snapshot_{step:08d}.safetensors",
    name="snapshot_00000007.safetensors",
    library="1.0.0",
)

UP_TO_A_QUOTE = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*(?=")', re.DOTALL)

Seed = Callable[[str], Node]
"""A node that does not know yet where it will stand."""


def value(kind: str, data: Any) -> Seed:
    return lambda path: Value(kind, data)


def branch(kind: str, children: Mapping[Key, Seed] | Iterable[Seed], meta: Any = None) -> Seed:
    """Children under keys, or under positions."""
    pairs = dict(children) if isinstance(children, Mapping) else dict(enumerate(children))
    return lambda path: Branch(kind, tuple(pairs), tuple(child(join(path, key)) for key, child in pairs.items()), meta)


def leaf(path: str, array: np.ndarray, dtype: str | None = None) -> Leaf:
    return Leaf(path, dtype or dtypes.from_numpy(array.dtype), array.shape, array.nbytes, array)


def array(array: Any, framework: str = "numpy", dtype: str | None = None) -> Seed:
    """An array; where one seed stands twice, both are the same leaf."""
    source = np.asarray(array)
    made: list[Leaf] = []

    def grow(path: str) -> Node:
        if not made:
            made.append(leaf(path or ROOT_LEAF, source, dtype))
        return Array(made[0], framework)

    return grow


def window(memory: Leaf, offset: int, dtype: str, shape: tuple[int, ...], strides: tuple[int, ...]) -> Seed:
    return lambda path: Array(memory, "numpy", View(offset, dtype, shape, strides))


def memory(content: bytes, number: int = 0) -> Leaf:
    """Common memory that windows look into."""
    return leaf(f"{SHARED}/{number}", np.frombuffer(content, np.uint8))


def packed(kind: str, content: bytes) -> Seed:
    return lambda path: Packed(kind, leaf(path or ROOT_LEAF, np.frombuffer(content, np.uint8)))


def grow(root: Seed, reserved: Seed | None = None) -> StateTree:
    first = root("")  # a leaf is named after the first place that it stands at
    kept = None if reserved is None else reserved(RESERVED)
    assert kept is None or isinstance(kept, Branch)
    return StateTree(first, kept)


def bytes_of(leaf: Leaf) -> bytes:
    """In C order."""
    return leaf.source.tobytes()


def file_of(tree: StateTree, facts: Facts = FACTS, metadata: Mapping[str, Any] | None = None) -> bytes:
    """A whole snapshot file."""
    layout = header.plan(tree)
    plain, packed = leaves_of(tree)
    draft = header.encode(layout, encode_values(tree), [leaf.nbytes for leaf in packed], facts, metadata)
    by_offset = sorted(zip(layout.slots, plain, strict=True), key=lambda pair: (pair[0].offset, pair[0].nbytes))
    parts = [bytes_of(leaf) for leaf in [*[leaf for _, leaf in by_offset], *packed]]
    data = b"".join(parts)
    ends = list(accumulate(map(len, parts)))
    image = Image(memoryview(draft.text), draft.checksums_at, memoryview(data), ends)
    seal(image, [xxhash.xxh3_128_digest(part) for part in parts])
    return bytes(draft.text) + data


def small_tree() -> StateTree:
    """A little of everything that the checks of a header look at."""
    tied = array(np.arange(12, dtype=np.float32).reshape(3, 4), "torch")
    common = memory(bytes(range(16)))
    return grow(
        branch(
            "dict",
            {
                "w": tied,
                "n": value("int", 3),
                "inner": branch("list", [value("none", None), value("str", "text"), array(np.int16(5))]),
                "tied": tied,
                "time": array(np.array(["2030-01-01", "2031-01-01"], "M8[s]")),
                "low": window(common, 0, "I16", (4,), (2,)),
                "high": window(common, 6, ">f4", (2,), (4,)),
                "text": packed("str", b"a long text"),
            },
        ),
        branch("dict", {"seed": value("int", 1)}),
    )


# --- files that lie --------------------------------------------------------------------------------------------------


def spec_of(file: bytes) -> dict[str, Any]:
    """The JSON of a header."""
    length = PREFIX.size + PREFIX.unpack_from(file)[0]
    return json.loads(file[PREFIX.size : length])


def data_of(file: bytes) -> bytes:
    return file[PREFIX.size + PREFIX.unpack_from(file)[0] :]


def facts_of(spec: dict[str, Any]) -> dict[str, Any]:
    return json.loads(spec["__metadata__"]["holdfast"].split(" ", 3)[3])


def sealed(spec: dict[str, Any], data: bytes, **facts: Any) -> bytes:
    """A file of any header, its sums and its size made right; the facts are those of `spec`, changed."""
    own = facts_of(spec) | {"size_bytes": 10**12} | facts
    pairs = {key: text for key, text in spec["__metadata__"].items() if key != "holdfast"}

    def text() -> bytes:
        first = f"1 {'0' * 32} {'0' * 16} {json.dumps(own, separators=(',', ':'))}"
        entries = {key: entry for key, entry in spec.items() if key != "__metadata__"}
        return json.dumps({"__metadata__": {"holdfast": first, **pairs}, **entries}, separators=(",", ":")).encode()

    size = -(-(PREFIX.size + len(text())) // PAGE) * PAGE
    own["size_bytes"] = facts.get("size_bytes", size + len(data))
    return sealed_bytes(text(), data)


def sealed_bytes(text: bytes, data: bytes, size: int | None = None) -> bytes:
    """A file of any bytes as JSON, its sums made right; the facts' size is as it stands in `text`."""
    size = size or -(-(PREFIX.size + len(text)) // PAGE) * PAGE
    head = bytearray(PREFIX.pack(size - PREFIX.size) + text)
    head += b" " * (size - len(head))
    assert head[PREFIX.size :].startswith(LITERAL)
    facts = UP_TO_A_QUOTE.match(head, FACTS_AT)
    assert facts is not None
    head[FACTS_SUM] = facts_sum(head, facts[0])
    head[HEADER_SUM] = header_sum(head)
    return bytes(head) + data


def inside(name: str, change: Callable[[Any], Any]) -> Callable[[dict[str, Any]], None]:
    """Changes the JSON document that stands as a text under holdfast.`name`."""

    def edit(spec: dict[str, Any]) -> None:
        document = json.loads(spec["__metadata__"][f"holdfast.{name}"])
        changed = change(document)
        spec["__metadata__"][f"holdfast.{name}"] = json.dumps(document if changed is None else changed)

    return edit


# --- comparing -------------------------------------------------------------------------------------------------------


def described(tree: StateTree) -> Any:
    """A tree as plain data: equal where structure, values, names, dtypes, bytes and what is shared are equal."""
    number: dict[Leaf, int] = {}

    def node(one: Node | None) -> Any:
        if one is None:
            return None
        if isinstance(one, Value):
            return ("value", one.kind, repr(one.data))
        if isinstance(one, Branch):
            keys = [(type(key).__name__, repr(key)) for key in one.keys]
            return (one.kind, keys, [node(child) for child in one.children], one.meta)
        own = number.setdefault(one.leaf, len(number))
        leaf = (own, one.leaf.path, one.leaf.dtype, one.leaf.shape, one.leaf.nbytes, bytes_of(one.leaf))
        if isinstance(one, Packed):
            return ("packed", one.kind, leaf)
        return ("array", one.framework, one.view, leaf)

    return node(tree.root), node(tree.reserved)


def changed_facts(**changes: Any) -> Facts:
    return replace(FACTS, **changes)
