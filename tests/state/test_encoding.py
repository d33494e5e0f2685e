"""A tree as JSON and back: nothing of it is lost, and what no reader could read is not written."""

from __future__ import annotations

import json
import math
import struct
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from format.drawn_trees import keys, trees, values
from format.handmade import array, branch, described, grow, memory, value, window
from holdfast.errors import UnknownFormatError
from holdfast.state import decoding, encoding
from holdfast.state.encoding import (
    MAX_DEPTH,
    check_shape,
    decode,
    decode_plain,
    dumps,
    encode,
    encode_plain,
    encode_values,
    loads,
)
from holdfast.state.tree import Branch, StateTree, Value


def there_and_back(tree: StateTree) -> StateTree:
    leaves = tree.leaves()
    structure, plain = encode(tree, {leaf: number for number, leaf in enumerate(leaves)})
    return decode(loads(dumps(structure)), loads(dumps(plain)), leaves)


@settings(max_examples=60, deadline=None)
@given(trees())
def test_any_tree_comes_back_from_its_json(tree):
    assert described(there_and_back(tree)) == described(tree)


@settings(deadline=None)
@given(values)
def test_any_plain_value_comes_back(seed):
    wanted = seed("")
    found = there_and_back(grow(seed)).root
    assert (found.kind, repr(found.data)) == (wanted.kind, repr(wanted.data))


@settings(deadline=None)
@given(keys)
def test_any_key_comes_back_with_its_type(key):
    [found] = there_and_back(grow(branch("dict", {key: value("int", 1)}))).root.keys
    assert (type(found), repr(found)) == (type(key), repr(key))


@pytest.mark.parametrize("bits", ["7ff8000000000001", "fff8000000000000", "7ff0000000000000", "8000000000000000"])
def test_a_float_key_comes_back_bit_for_bit(bits):
    [key] = struct.unpack(">d", bytes.fromhex(bits))
    [found] = there_and_back(grow(branch("dict", {key: value("int", 1)}))).root.keys
    assert struct.pack(">d", found).hex() == bits


@settings(max_examples=25, deadline=None)
@given(trees())
def test_the_values_alone_are_those_of_the_whole(tree):
    _, plain = encode(tree, {leaf: number for number, leaf in enumerate(tree.leaves())})
    assert dumps(encode_values(tree)) == dumps(plain)


def test_the_structure_does_not_change_with_the_values():
    def structure(number: int) -> str:
        return dumps(encode(grow(branch("dict", {"n": value("int", number), "f": value("str", "x" * number)})), {})[0])

    assert structure(1) == structure(99)


def test_the_json_is_that_of_the_format():
    common = memory(bytes(8))
    tree = grow(
        branch(
            "dict",
            {
                "plain": branch("list", [value("int", 1), value("none", None)]),
                "big": value("int", "0x20000000000000"),
                1.0: array([1.0], "torch"),
                (b"k", None): window(common, 4, "I16", (2,), (-2,)),
            },
        ),
        branch("dict", {"seed": value("float", "7ff8000000000000")}),
    )
    structure, plain = encode(tree, {leaf: number for number, leaf in enumerate(tree.leaves())})
    assert json.loads(dumps(structure)) == {
        "root": [
            "dict",
            ["plain", "big", 1.0, ["t", [["y", "6b"], None]]],
            [["list", None, 2], 0, ["a", 0, "t"], ["a", 1, "n", [4, "I16", [2], [-2]]]],
        ],
        "reserved": ["dict", ["seed"], 1],
    }
    assert plain == [1, None, ["int", "0x20000000000000"], ["float", "7ff8000000000000"]]


# --- what could not be read is not written ---------------------------------------------------------------------------


def nested(levels: int) -> Branch:
    seed = value("int", 1)
    for _ in range(levels):
        seed = branch("list", [seed])
    root = seed("")
    assert isinstance(root, Branch)
    return root


def test_the_deepest_tree_comes_back_and_a_deeper_one_is_refused():
    tree = StateTree(nested(MAX_DEPTH))
    assert described(there_and_back(tree)) == described(tree)
    with pytest.raises(ValueError, match="over 128 levels deep"):
        encode(StateTree(nested(MAX_DEPTH + 1)), {})


def deep_key(levels: int) -> tuple:
    key: tuple = ()
    for _ in range(levels - 1):
        key = (key,)
    return key


def test_the_deepest_key_comes_back_and_a_deeper_one_is_refused():
    tree = grow(branch("dict", {deep_key(MAX_DEPTH): value("int", 1)}))
    assert described(there_and_back(tree)) == described(tree)
    with pytest.raises(ValueError, match="a key is a tuple over 128 levels deep"):
        encode(grow(branch("dict", {deep_key(MAX_DEPTH + 1): value("int", 1)})), {})


def test_a_tree_of_too_many_nodes_is_refused(monkeypatch):
    monkeypatch.setattr(encoding, "MAX_NODES", 10)
    monkeypatch.setattr(decoding, "MAX_NODES", 10)

    def tree(count: int) -> StateTree:
        rows = [branch("list", [value("int", 1)]) for _ in range(count)]
        return grow(branch("list", rows), branch("dict", {"a": value("int", 1), "b": value("int", 1)}))

    assert described(there_and_back(tree(4))) == described(tree(4))
    with pytest.raises(ValueError, match="holds 12 values and arrays, at most 10"):
        encode(tree(5), {})


@pytest.mark.parametrize(
    "node",
    [
        Branch("object", (), ()),
        Branch("list", ("a",), (Value("int", 1),)),
        Branch("list", (True,), (Value("int", 1),)),
        Branch("namedtuple", (0,), (Value("int", 1),)),
        Branch("enum", ("other",), (Value("int", 1),)),
        Branch("numpy.Generator", ("state",), (Value("int", 1),)),
        Branch("dict", (), (), "meta"),
        Branch("deque", (), (), -1),
        Branch("deque", (), (), True),
    ],
    ids=str,
)
def test_a_branch_that_is_not_as_its_kind_wants_is_not_written(node):
    with pytest.raises(ValueError, match=r"branch is of the unknown kind|has (the|keys)"):
        encode(StateTree(node), {})


# --- packed ----------------------------------------------------------------------------------------------------------


def test_a_plain_node_comes_back_from_its_bytes():
    node = branch("list", [value("int", n) for n in range(1000)])("")
    data = encode_plain(node)
    assert decode_plain(data) == node
    assert decode_plain(memoryview(data)) == node
    data.decode("ascii")


def test_a_node_with_a_leaf_is_not_plain():
    with pytest.raises(ValueError, match="'a' is a leaf, which has no place here"):
        encode_plain(branch("dict", {"a": array([1.0])})(""))


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"[]", b"[0]", b"[0,[1,2]]", b"[0,[]]", b"[0,{}]", b"[0,[NaN]]", b"\xff", b'[["a",0,"n"],[]]',
        b'[["p",0,"str"],[]]', b'[["list",null,99999999],[1]]', b"[" * 100_000, b'[["list",null,2],[1]]',
    ],
)  # fmt: skip
def test_bytes_that_are_no_plain_node_are_refused(data):
    with pytest.raises(ValueError, match=r"."):
        decode_plain(data)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 200), st.binary(min_size=1, max_size=2))
def test_whatever_stands_in_packed_bytes_the_error_is_a_value_error(at, content):
    data = encode_plain(
        branch("dict", {"a": branch("list", [value("numpy", ["F32", "00" * 4])]), 1: value("int", 2)})("")
    )
    at %= len(data)
    try:
        found = decode_plain(data[:at] + content + data[at + len(content) :])
    except ValueError:
        return
    encode_plain(found)


# --- JSON ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["", "{", "[1,]", "NaN", "[Infinity]", "-Infinity", "1e999", '{"a":1,"a":1}', '"\x01"', "1 2", "\ufeff1", b"\xff"],
)
def test_json_that_is_not_strict_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        loads(text)


def test_numbers_that_json_lacks_are_not_written():
    for number in (math.nan, math.inf):
        with pytest.raises(ValueError, match="JSON"):
            dumps([number])


def test_json_that_nests_too_deeply_is_refused_and_a_full_stack_is_not_taken_for_it():
    with pytest.raises(ValueError, match="nested too deeply"):
        loads("[" * 100_000)
    with pytest.raises(ValueError, match="nested too deeply"):
        loads('{"a":' * 100_000 + "1" + "}" * 100_000)
    text = '["[[[[[[[[[[",' * 500 + "1" + "]" * 500

    def deeper(left: int) -> None:
        if left:
            deeper(left - 1)
        else:
            loads(text)

    loads(text)
    if sys.version_info < (3, 12):  # later ones have a limit of its own for C
        with pytest.raises(RecursionError):
            deeper(sys.getrecursionlimit() - 350)


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_is_as_before(enabled):
    import gc

    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        loads("[1]")
        with pytest.raises(ValueError, match=r"."):
            loads("[")
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if before else gc.disable)()


# --- shapes ----------------------------------------------------------------------------------------------------------


def test_a_shape_has_so_many_elements():
    assert [check_shape(shape, 4) for shape in ([], [0], [3, 4], [5, 0], [1] * 64)] == [1, 0, 12, 0, 1]


@pytest.mark.parametrize(
    "shape", [None, 3, (3,), [1.0], [True], [-1], ["1"], [1] * 65, [1 << 62, 2], [0, 1 << 62, 2], [1 << 61], [10**400]]
)
def test_a_shape_that_numpy_could_not_have_is_refused(shape):
    with pytest.raises(ValueError, match="shape"):
        check_shape(shape, 4)


def test_a_view_of_an_unknown_dtype_is_of_an_unknown_format():
    leaf = memory(bytes(4))
    with pytest.raises(UnknownFormatError, match="'~shared/0'"):
        decode({"root": ["a", 0, "n", [0, "F31", [1], [1]]]}, [], [leaf])
