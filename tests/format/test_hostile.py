"""Headers that lie although their sums are right: each is refused by an error of holdfast's own."""

from __future__ import annotations

import copy
import inspect
import json
import sys
import tracemalloc
from typing import Any

import pytest

from format.handmade import (
    branch,
    data_of,
    described,
    file_of,
    grow,
    inside,
    sealed,
    sealed_bytes,
    small_tree,
    spec_of,
    value,
)
from holdfast.errors import DamagedError, UnknownFormatError
from holdfast.format import reader
from holdfast.format.sums import PREFIX

FILE = file_of(small_tree())
SPEC = spec_of(FILE)
DATA = data_of(FILE)
NUMBERS = {name: str(number) for number, name in enumerate(key for key in SPEC if key != "__metadata__")}


def read(file: bytes) -> reader.SnapshotFile:
    with reader.parse(memoryview(file), "here") as opened:
        opened.verify()
        opened.metadata()
        return opened


def lie(*edits: Any, data: bytes = DATA) -> bytes:
    """The small file with a changed header whose sums are right."""
    spec = copy.deepcopy(SPEC)
    for edit in edits:
        edit(spec)
    return sealed(spec, data)


def put(*place: Any) -> Any:
    """An edit that puts the last argument where the others lead."""
    *path, last, content = place

    def edit(spec: Any) -> None:
        for step in path:
            spec = spec[step]
        spec[last] = content

    return edit


def drop(*path: Any) -> Any:
    def edit(spec: Any) -> None:
        for step in path[:-1]:
            spec = spec[step]
        del spec[path[-1]]

    return edit


def own(name: str, content: Any) -> Any:
    return put("__metadata__", name, content)


def root(*path_and_content: Any) -> Any:
    return inside("tree", put("root", *path_and_content))


def child(number: int, content: Any) -> Any:
    return root(2, number, content)


def test_what_is_sealed_without_a_change_is_accepted():
    spec = copy.deepcopy(SPEC)
    read(sealed(spec, DATA))
    with reader.parse(memoryview(sealed(spec, DATA)), "here") as file:
        assert described(file.tree()) == described(small_tree())


W = SPEC["w"]
HUGE = 1 << 62

ENTRIES = {
    "a dtype that is no name": put("w", "dtype", 5),
    "a dtype that cannot be hashed": put("w", "dtype", []),
    "a shape that is no list": put("w", "shape", 12),
    "a shape of floats": put("w", "shape", [3.0, 4]),
    "a shape of bools": put("w", "shape", [True, 12]),
    "a negative axis": put("w", "shape", [-3, -4]),
    "a shape too large for any memory": put("w", "shape", [HUGE, HUGE]),
    "an empty shape too large for any memory": put("w", "shape", [HUGE, HUGE, 0]),
    "65 axes": put("w", "shape", [1] * 63 + [3, 4]),
    "a shape of another size": put("w", "shape", [3, 5]),
    "offsets that are no pair": put("w", "data_offsets", [0]),
    "offsets of floats": put("w", "data_offsets", [float(at) for at in W["data_offsets"]]),
    "offsets that go backwards": put("w", "data_offsets", W["data_offsets"][::-1]),
    "a negative offset": put("w", "data_offsets", [-48, 0]),
    "offsets that overlap another entry": put("w", "data_offsets", [at - 1 for at in W["data_offsets"]]),
    "offsets that leave a hole": put("w", "data_offsets", [at + 1 for at in W["data_offsets"]]),
    "offsets behind the end": put("w", "data_offsets", [at + HUGE for at in W["data_offsets"]]),
    "a missing key": drop("w", "shape"),
    "a further key": put("w", "more", 1),
    "an entry that is no object": put("w", [1, 2]),
    "an entry more": put("x", {"dtype": "U8", "shape": [0], "data_offsets": [len(DATA), len(DATA)]}),
    "an entry less": drop("text"),
    "a name that is no unicode": put("\ud800", {"dtype": "U8", "shape": [0], "data_offsets": [len(DATA)] * 2}),
    "no entry at all": lambda spec: [spec.pop(key) for key in list(spec) if key != "__metadata__"],
}
PAIRS = {
    "no metadata": drop("__metadata__", "holdfast.metadata"),
    "no values": drop("__metadata__", "holdfast.values"),
    "no checksums": drop("__metadata__", "holdfast.checksums"),
    "no tree": drop("__metadata__", "holdfast.tree"),
    "a tree that is no text": own("holdfast.tree", {"root": 0}),
    "a tree that is no json": own("holdfast.tree", "{"),
    "a tree that is a list": own("holdfast.tree", "[]"),
    "a tree with a key twice": own("holdfast.tree", '{"dtypes":{},"root":0,"root":0}'),
    "a tree nested without end": own("holdfast.tree", "[" * 100_000),
    "values nested without end": own("holdfast.values", "[" * 100_000 + "]" * 100_000),
    "metadata that is a list": own("holdfast.metadata", "[]"),
    "metadata with infinity": own("holdfast.metadata", '{"a":Infinity}'),
    "metadata with a number that no float holds": own("holdfast.metadata", '{"a":1e999}'),
    "metadata with a key twice": own("holdfast.metadata", '{"a":1,"a":2}'),
    "a checksum too few": own("holdfast.checksums", SPEC["__metadata__"]["holdfast.checksums"][32:]),
    "a checksum too many": own("holdfast.checksums", SPEC["__metadata__"]["holdfast.checksums"] + "0" * 32),
    "a checksum that is no hex": own("holdfast.checksums", "g" + SPEC["__metadata__"]["holdfast.checksums"][1:]),
    "a checksum in capitals": own("holdfast.checksums", SPEC["__metadata__"]["holdfast.checksums"].upper()),
    "a checksum with spaces": own("holdfast.checksums", "  " + SPEC["__metadata__"]["holdfast.checksums"][2:]),
    "checksums of other bytes": own("holdfast.checksums", "0" * len(SPEC["__metadata__"]["holdfast.checksums"])),
    "no alias": drop("__metadata__", "tied"),
    "an alias of another name": own("tied", "inner/~i2"),
    "an alias that is no text": own("tied", 5),
    "an alias more": own("other", "w"),
}
TREE = {
    "no root": inside("tree", drop("root")),
    "a further part": inside("tree", put("more", 0)),
    "no dtypes": inside("tree", drop("dtypes")),
    "dtypes that are a list": inside("tree", put("dtypes", [])),
    "a dtype for a leaf that is not there": inside("tree", put("dtypes", "99", "<c16")),
    "a dtype for a leaf by another spelling of its number": inside("tree", put("dtypes", "00", "<c16")),
    "a dtype for a leaf that is no row of its bytes": inside("tree", put("dtypes", NUMBERS["w"], "<c16")),
    "a dtype of safetensors' own": inside("tree", put("dtypes", NUMBERS["time"], "F64")),
    "a dtype that is no name ": inside("tree", put("dtypes", NUMBERS["time"], 8)),
    "a dtype of another size": inside("tree", put("dtypes", NUMBERS["time"], "<c16")),
    "a reserved part that is null": inside("tree", put("reserved", None)),
    "a reserved part that is a value": inside("tree", put("reserved", 0)),
    "a node of another type": child(1, None),
    "a node that is true": child(1, True),
    "a node that is an empty list": child(1, []),
    "a node too long": child(1, ["dict", None, 0, None, 1]),
    "a branch of an unknown kind": child(1, ["object", None, 1]),
    "a branch of a kind that is no text": child(1, [["dict"], None, 1]),
    "children that are no list": child(1, ["dict", None, "x"]),
    "children that are a bool": child(1, ["dict", None, True]),
    "fewer children than none": child(1, ["dict", None, -1]),
    "more children than values": child(1, ["list", None, 1 << 22]),
    "more children than any tree has": child(1, ["list", None, 1 << 60]),
    "keys that are no list": child(1, ["dict", "k", 1]),
    "keys too many": child(1, ["dict", ["a", "b"], 1]),
    "a key twice": root(1, 1, "w"),
    "keys that python does not tell apart": lambda spec: (root(1, 1, 1)(spec), root(1, 0, True)(spec)),
    "a key of a type that is none": root(1, 1, {}),
    "a key of an unknown code": root(1, 1, ["x", "00"]),
    "a key that is bad hex": root(1, 1, ["y", "0"]),
    "a key that is bad utf-8": root(1, 1, ["s", "ff"]),
    "a key that is a huge int": root(1, 1, ["i", "0x" + "f" * 100_000]),
    "a key that is a tuple without end": root(1, 1, json.loads('["t",[' * 140 + "]]" * 140)),
    "a list with keys": child(1, ["list", ["a"], 1]),
    "a named tuple without names": child(1, ["namedtuple", None, 1]),
    "an enum of two values": child(1, ["enum", ["value", "more"], 2]),
    "a generator without state": child(1, ["numpy.Generator", ["other"], 1, "PCG64"]),
    "a generator without a name": child(1, ["numpy.Generator", ["state"], 1]),
    "a meta that nothing wants": child(1, ["dict", ["a"], 1, {"a": 1}]),
    "a deque of a negative length": child(1, ["deque", None, 1, -1]),
    "branches without end": child(1, json.loads('["list",null,[' * 129 + "0" + "]]" * 129)),
    "a leaf that is not there": child(0, ["a", 99, "n"]),
    "a negative leaf": child(0, ["a", -1, "n"]),
    "a leaf that is a bool": child(0, ["a", True, "n"]),
    "a leaf that nothing names": child(7, ["dict", None, 0]),
    "a leaf at another place than its name says": root(1, 0, "v"),
    "an unknown framework": child(0, ["a", int(NUMBERS["w"]), "x"]),
    "a framework that is no text": child(0, ["a", int(NUMBERS["w"]), ["n"]]),
    "a packed value of an unknown kind": root(2, 7, 2, "pickle"),
    "a packed value with more": child(7, ["p", int(NUMBERS["text"]), "str", 1]),
    "a packed value in a leaf of floats": child(0, ["p", int(NUMBERS["w"]), "bytes"]),
    "a view into a leaf of floats": child(0, ["a", int(NUMBERS["w"]), "n", [0, "U8", [1], [1]]]),
    "a view that is no list": root(2, 5, 3, 0),
    "a view that begins before its leaf": root(2, 5, 3, [-1, "U8", [1], [1]]),
    "a view that ends behind its leaf": root(2, 5, 3, [15, "I16", [1], [2]]),
    "a view that reaches behind its leaf": root(2, 5, 3, [0, "U8", [2], [16]]),
    "a view that reaches before its leaf": root(2, 5, 3, [3, "U8", [5], [-1]]),
    "an empty view behind its leaf": root(2, 5, 3, [17, "U8", [0], [1]]),
    "a view whose steps overflow": root(2, 5, 3, [0, "U8", [3, 3], [HUGE * 2, -HUGE * 2]]),
    "a view of a huge shape without steps": root(2, 5, 3, [0, "U8", [1 << 40, 1 << 40], [0, 0]]),
    "a view with a step too few": root(2, 5, 3, [0, "U8", [2, 2], [1]]),
    "a view with steps of floats": root(2, 5, 3, [0, "U8", [2], [1.0]]),
    "a view at no number": root(2, 5, 3, ["0", "U8", [2], [1]]),
}
BAD_VALUES = [
    {}, [], ["int"], ["int", 1, 2], [1, 2], ["none", None], ["bool", True], ["int", "5"], ["int", "0x"], ["int", "0xG"],
    ["float", "nan"], ["float", "7ff8"], ["complex", [1.0]], ["complex", 1.0], ["complex", [1, 2]], ["str", "f"],
    ["str", "ff"], ["str", 5], ["bytes", "0"], ["bytes", None], ["bytes", "AB"], ["range", [0, 1]],
    ["range", [0, 1, 0]], ["range", [0, None, 1]], ["range", [0, 1, "0x0"]], ["slice", [0, 1, 2.0]], ["slice", []],
    ["numpy", ["F32", "00"]], ["numpy", ["F32"]], ["numpy", [4, "00"]], ["numpy", "F32"], ["torch.Size", [1.5]],
    ["torch.Size", [1 << 70]], ["torch.Size", None], ["torch.dtype", "float"], ["torch.dtype", "_dynamo"],
    ["torch.dtype", "nn.Module"], ["torch.device", "a b"], ["torch.device", ""], ["object", "x"], ["dict", {}],
    [[], 1],
]  # fmt: skip


@pytest.mark.parametrize("edit", [*ENTRIES.values(), *PAIRS.values(), *TREE.values()], ids=[*ENTRIES, *PAIRS, *TREE])
def test_a_header_that_lies_is_damage_and_the_header_or_the_leaf_is_named(edit):
    with pytest.raises(
        DamagedError, match=r"here: the (header \(bytes 0-\d+\) matches its checksum, but|leaf 'time' \()"
    ):
        read(lie(edit))


@pytest.mark.parametrize("bad", BAD_VALUES, ids=repr)
def test_a_value_that_is_none_is_damage(bad):
    with pytest.raises(DamagedError, match="the header"):
        read(lie(inside("values", put(0, bad))))


@pytest.mark.parametrize("change", [lambda values: values[1:], lambda values: [*values, 1], lambda values: {"0": 3}])
def test_values_too_few_or_too_many_are_damage(change):
    with pytest.raises(DamagedError, match="the header"):
        read(lie(inside("values", change)))


@pytest.mark.parametrize(
    "edit",
    [
        put("w", "dtype", "F31"),
        put("w", "dtype", "F4"),
        inside("tree", put("dtypes", NUMBERS["time"], "<q8")),
        inside("tree", put("dtypes", NUMBERS["time"], '{"names":' + "[" * 5000)),
        root(2, 5, 3, [0, "F31", [1], [1]]),
        inside("values", put(0, ["numpy", ["<f3", "000000"]])),
    ],
)
def test_a_dtype_that_is_not_known_is_of_an_unknown_format_and_not_damage(edit):
    with pytest.raises(UnknownFormatError, match=r"^here: .*upgrade to read it"):
        read(lie(edit))


def text_of(spec: dict[str, Any]) -> bytes:
    return json.dumps(spec, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-1],
        lambda text: text + b"}",
        lambda text: text[:-1] + b',"w":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}',
        lambda text: text[:-1] + b',"__metadata__":{}}',
        lambda text: text.replace(b'"shape"', b'"sha\xffpe"', 1),
        lambda text: text.replace(b'"shape"', b'"sha\x01pe"', 1),
        lambda text: text[:-1] + b',"x":NaN}',
        lambda text: text[:-1] + b',"x":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        lambda text: text[:-1] + b',"x":' + b"9" * 5_000 + b"}",
        lambda text: text.replace(b',"holdfast.metadata"', b'},"x":{"holdfast.metadata"', 1),
    ],
    ids=["cut", "longer", "twice", "metadata", "utf8", "control", "nan", "deep", "long", "split"],
)
def test_json_that_is_not_strict_is_damage(change):
    size = len(FILE) - len(DATA)
    text = change(FILE[PREFIX.size : size].rstrip(b" "))
    file = sealed_bytes(text, DATA)
    if len(file) != len(FILE):
        text = text.replace(str(len(FILE)).encode(), str(len(file)).encode(), 1)
        file = sealed_bytes(text, DATA)
    with pytest.raises(DamagedError, match=r"the header \(bytes 0-\d+\) matches its checksum, but is not"):
        read(file)


def test_what_follows_the_json_must_be_space():
    size = len(FILE) - len(DATA)
    with pytest.raises(DamagedError, match="the header"):
        read(sealed_bytes(FILE[PREFIX.size : size - 1] + b"x", DATA, size))


def test_keys_that_holdfast_may_get_later_are_left_alone():
    read(lie(own("holdfast.later", "x")))


@pytest.mark.parametrize(
    "edit",
    [
        child(1, ["list", None, 4_000_000]),
        child(1, ["list", None, [0] * 1000]),
        put("w", "shape", [1 << 40]),
        put("w", "data_offsets", [0, 1 << 40]),
        inside("tree", put("dtypes", NUMBERS["time"], "|V2000000000")),
    ],
)
def test_a_size_that_nothing_backs_costs_no_memory(edit):
    file = lie(edit)
    with reader.parse(memoryview(file), "here") as opened:
        tracemalloc.start()
        try:
            with pytest.raises(DamagedError):
                opened.tree()
            assert tracemalloc.get_traced_memory()[1] < 1 << 20
        finally:
            tracemalloc.stop()


def test_a_tree_as_deep_as_may_be_is_read_and_a_full_stack_is_not_taken_for_damage():
    seed = value("int", 1)
    for _ in range(128):
        seed = branch("list", [seed])
    with reader.parse(memoryview(file_of(grow(seed))), "here") as file:
        assert described(file.tree()) == described(grow(seed))

    def deeper(left: int) -> None:
        if left:
            return deeper(left - 1)
        with reader.parse(memoryview(file_of_deep), "here") as file:
            file.tree()
        return None

    file_of_deep = file_of(grow(seed))
    room = sys.getrecursionlimit()
    depth = len(inspect.stack(0))
    for left in range(room - depth - 200, room - depth - 60, 10):
        with pytest.raises(RecursionError):
            deeper(left)
