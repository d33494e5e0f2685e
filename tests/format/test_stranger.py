"""docs/format.md is enough: a reader written from it alone finds everything that was written."""

from __future__ import annotations

import ast
import math
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from format import stranger
from format.drawn_trees import trees
from format.handmade import FACTS, array, bytes_of, changed_facts, file_of, grow, memory, small_tree
from format.handmade import branch as branch_of
from format.handmade import value as value_of
from golden import version_1
from holdfast.format.prefix import facts_to_json
from holdfast.state.tree import Array, Branch, Node, Packed, StateTree, Value

METADATA = {"note": "é", "rows": [1, 2.5, None, {"deep": True}]}
PAGE = Path(__file__).resolve().parents[2] / "docs" / "format.md"


def test_the_stranger_knows_nothing_of_holdfast():
    tree = ast.parse(Path(stranger.__file__).read_text(encoding="utf-8"))
    imported = {
        alias.name if isinstance(node, ast.Import) else node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert imported == {"__future__", "dataclasses", "json", "numpy", "struct", "typing", "xxhash"}


# --- what it must find -----------------------------------------------------------------------------------------------


def plain(node: Node) -> Any:
    """A node as the stranger gives it back, made from the tree and not from the file."""
    if isinstance(node, Value):
        return plain_value(node.kind, node.data)
    if isinstance(node, Array):
        leaf, view = node.leaf, node.view
        letter = node.framework[0]
        if view is None:
            return stranger.Node(letter, (leaf.path, leaf.dtype, leaf.shape, bytes_of(leaf)))
        dtype = stranger.dtype_of(view.dtype)
        window = np.ndarray(view.shape, dtype)
        if window.nbytes:
            window = np.ndarray(view.shape, dtype, bytes_of(leaf), view.offset, view.strides)
        return stranger.Node(letter, (leaf.path, view.dtype, view.shape, window.tobytes()))
    if isinstance(node, Packed):
        content = bytes_of(node.leaf)
        if node.kind == "json":
            return packed_json(content)
        return content if node.kind == "bytes" else content.decode()
    children = [plain(child) for child in node.children]
    if node.kind == "list":
        return children
    if node.kind == "dict":
        return dict(zip(node.keys, children, strict=True))
    return stranger.Node(node.kind, list(zip(node.keys, children, strict=True)), node.meta)


def packed_json(content: bytes) -> Any:
    return {b"[0,[1]]": 1}.get(content) or list(range(300))


def plain_value(kind: str, data: Any) -> Any:
    def number(part: Any) -> float:
        return struct.unpack(">d", bytes.fromhex(part))[0] if isinstance(part, str) else part

    def whole(part: Any) -> Any:
        return int(part, 16) if isinstance(part, str) else part

    if kind in ("range", "slice"):
        return (range if kind == "range" else slice)(*map(whole, data))
    if kind == "complex":
        return complex(number(data[0]), number(data[1]))
    if kind == "numpy":
        return stranger.Node(kind, (data[0], bytes.fromhex(data[1])))
    if kind.startswith("torch"):
        return stranger.Node(kind, tuple(data) if isinstance(data, list) else data)
    return {"int": whole, "float": number, "bytes": bytes.fromhex}.get(kind, lambda part: part)(data)


def same(found: Any, wanted: Any) -> bool:
    """Equal with the same types, NaN and the sign of zero included."""
    if isinstance(wanted, stranger.Node) and wanted.kind in ("n", "t", "j"):
        name, one = found.data
        _, dtype, shape, content = wanted.data
        return (found.kind, name) == (wanted.kind, wanted.data[0]) and same_array(one, dtype, shape, content)
    if type(found) is not type(wanted):
        return False
    if isinstance(wanted, stranger.Node):
        return found.kind == wanted.kind and same(found.meta, wanted.meta) and same(found.data, wanted.data)
    if isinstance(wanted, dict):
        return same(list(found), list(wanted)) and same(list(found.values()), list(wanted.values()))
    if isinstance(wanted, list | tuple):
        return len(found) == len(wanted) and all(map(same, found, wanted))
    if isinstance(wanted, float):
        return struct.pack("d", found) == struct.pack("d", wanted)
    if isinstance(wanted, complex):
        return same([found.real, found.imag], [wanted.real, wanted.imag])
    return bool(found == wanted)


def same_array(one: np.ndarray, dtype: str, shape: tuple[int, ...], content: bytes) -> bool:
    kind = stranger.dtype_of(dtype)
    return one.dtype == kind.base and one.shape == (*shape, *kind.shape) and one.tobytes() == content


def check(tree: StateTree) -> None:
    found = stranger.read(file_of(tree, metadata=METADATA))
    assert found.metadata == METADATA
    assert same(
        found.facts | {"size_bytes": 0}, facts_to_json(FACTS) | {"metrics": dict(FACTS.metrics), "size_bytes": 0}
    )
    assert same(found.root, plain(tree.root))
    assert same(found.reserved, None if tree.reserved is None else plain(tree.reserved))
    names = {leaf.path: leaf for leaf in tree.leaves()}
    names |= {name: names[kept] for name, kept in tree.aliases().items() if not name.startswith("holdfast")}
    assert set(found.arrays) == set(names)
    for name, leaf in names.items():
        assert found.dtypes[name] == leaf.dtype
        assert same_array(found.arrays[name], leaf.dtype, leaf.shape, bytes_of(leaf)), name


def test_a_tree_of_every_kind_is_found_whole():
    check(version_1.every_kind())


def test_the_tree_of_every_kind_has_every_kind():
    from holdfast.state.tree import BRANCH_KINDS, VALUE_KINDS

    kinds: dict[type, set[str]] = {Value: set(), Branch: set(), Packed: set(), Array: set()}
    tree = version_1.every_kind()

    def visit(node: Node) -> None:
        kinds[type(node)].add(node.framework if isinstance(node, Array) else node.kind)
        for child in node.children if isinstance(node, Branch) else ():
            visit(child)

    visit(tree.root)
    assert kinds == {
        Value: VALUE_KINDS,
        Branch: BRANCH_KINDS,
        Packed: {"bytes", "str", "json"},
        Array: {"numpy", "torch", "jax"},
    }


@settings(max_examples=60, deadline=None)
@given(trees())
def test_any_tree_is_found_whole(tree):
    check(tree)


def test_the_comparison_tells_what_is_different():
    assert same([1, float("nan")], [1, float("nan")])
    for one, other in [(1, True), (1, 1.0), (0.0, -0.0), ([], ()), ({"a": 1}, {"a": 2}), ({1: 1}, {True: 1})]:
        assert not same(one, other)
    tree = grow(branch_of("list", [array(np.zeros(2)), value_of("int", 1)]))
    found = stranger.read(file_of(tree))
    found.root[0].data[1][0] = 1
    assert not same(found.root, plain(tree.root))


@pytest.mark.parametrize("at", [10, 50, 80, 100, 1000, 4000, 4100, -1])
def test_the_stranger_refuses_a_flipped_bit(at):
    file = bytearray(file_of(small_tree()))
    file[at] ^= 1
    with pytest.raises((stranger.Wrong, ValueError)):
        stranger.read(bytes(file))


# --- the page --------------------------------------------------------------------------------------------------------


def test_the_example_of_the_page_is_a_true_file():
    facts = changed_facts(epoch=None, metrics={})
    tree = grow(branch_of("dict", {"step": value_of("int", 7), "w": array(np.array([1, 2], np.float32))}))
    file = file_of(tree, facts)
    page = PAGE.read_text(encoding="utf-8")
    assert len(file) == 4104
    example = page[page.index("## An example") :]
    for part in (file[8:71], file[71:88], *re.findall(rb'"holdfast\.[a-z]+":"(?:[^"\\]|\\.)*"', file)):
        assert part.decode() in example
    assert file[4096:].hex(" ") in example
    assert file[:8].hex(" ") in example
    assert '"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}' in example
    assert stranger.read(file).root["step"] == 7


def test_every_kind_and_dtype_stands_on_the_page():
    from holdfast.format.prefix import facts_to_json
    from holdfast.state import dtypes
    from holdfast.state.tree import BRANCH_KINDS, VALUE_KINDS

    page = PAGE.read_text(encoding="utf-8")
    named = set(re.findall(r"`([^`\n]+)`", page))
    assert BRANCH_KINDS - named == set()
    assert VALUE_KINDS - named - {"none", "bool"} == set()  # which JSON has
    assert set(facts_to_json(FACTS)) - named == set()
    words = set(re.findall(r"[A-Za-z0-9_]+", page))
    assert (set(dtypes.ITEM_SIZES) | dtypes._ML_ONLY) - words == set()
    assert math.isnan(FACTS.metrics["gone"])
    assert memory(b"x").path == "~shared/0"
