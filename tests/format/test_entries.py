"""Entries read by pattern are those that the JSON parser finds, or none."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from format.handmade import array, branch, file_of, grow
from holdfast.errors import DamagedError
from holdfast.format import entries, reader
from holdfast.format.sums import HEADER_SUM, PREFIX, header_sum

NAMES = st.text(min_size=1, max_size=6).filter(lambda name: name != "__metadata__" and name.isprintable())
SHAPES = st.lists(st.integers(0, 10**6), max_size=3)
OFFSETS = st.lists(st.integers(0), min_size=2, max_size=2)
SPECS = st.dictionaries(
    NAMES,
    st.tuples(st.sampled_from(["F32", "U8", "F8_E4M3"]), SHAPES, OFFSETS).map(
        lambda parts: dict(zip(("dtype", "shape", "data_offsets"), parts, strict=True))
    ),
)


def text_of(specs: dict, **options) -> str:
    return json.dumps({"__metadata__": {}, **specs}, separators=(",", ":"), **options)


START = len('{"__metadata__":{}')


@settings(max_examples=200, deadline=None)
@given(SPECS, st.booleans(), st.integers(0, 3))
def test_what_is_found_is_what_the_json_says(specs, ascii_only, spaces):
    text = text_of(specs, ensure_ascii=ascii_only)
    rows = entries.find_rows(text + " " * spaces, START)
    if rows is not None:
        found = entries.as_json(rows)
        assert found == specs
        assert list(found) == list(specs)
    else:
        assert "\\" in text or any(max(spec["data_offsets"]) >= 10**18 for spec in specs.values())


PLAIN = {
    "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    "b": {"dtype": "U8", "shape": [], "data_offsets": [24, 25]},
}


def test_plain_entries_are_found():
    assert entries.find_rows(text_of(PLAIN), START) == [("a", "F32", "2,3", "0", "24"), ("b", "U8", "", "24", "25")]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"b"', '"a"'),
        ('"b"', '"__metadata__"'),
        ('"b"', '"\\u0062"'),
        ("[2,3]", "[2, 3]"),
        ("[2,3]", "[2,3.0]"),
        ("[2,3]", "[2,03]"),
        ("[2,3]", "[-2,3]"),
        ("[2,3]", "[true,3]"),
        ("[2,3]", "[2,3,]"),
        ('"F32"', '"f32"'),
        ('"F32"', "null"),
        ("[24,25]}", '[24,25],"more":1}'),
        ("[24,25]", "[24,25,26]"),
        ("[24,25]", "[24,1000000000000000000000]"),
        (',"b"', ' ,"b"'),
        ('"dtype":"F32","shape":[2,3]', '"shape":[2,3],"dtype":"F32"'),
        ("]}}", "]}}x"),
        ("]}}", "]}"),
        ("]}}", "]}}\\n"),
    ],
)
def test_what_a_writer_does_not_write_is_left_to_the_json_parser(old, new):
    text = text_of(PLAIN)
    assert text.count(old) == 1
    assert entries.find_rows(text.replace(old, new), START) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda specs: specs["a"].update(data_offsets=[1, 25]),
        lambda specs: specs["a"].update(shape=[2, 4]),
        lambda specs: specs["a"].update(dtype="F99"),
        lambda specs: specs["b"].update(data_offsets=[25, 26]),
        lambda specs: specs["b"].update(data_offsets=[24, 26], shape=[2]),
    ],
)
def test_entries_that_do_not_fill_the_data_part_are_left_to_whoever_says_what_is_wrong(change):
    specs = json.loads(json.dumps(PLAIN))
    change(specs)
    rows = entries.find_rows(text_of(specs), START)
    assert rows is not None
    assert entries.leaves_of(rows, np.zeros(25, np.uint8)) is None


def test_leaves_look_into_the_data():
    data = np.arange(25, dtype=np.uint8)
    rows = entries.find_rows(text_of(PLAIN), START)
    assert rows is not None
    leaves = entries.leaves_of(rows, data)
    assert leaves is not None
    assert [(leaf.path, leaf.dtype, leaf.shape, leaf.nbytes) for leaf in leaves] == [
        ("a", "F32", (2, 3), 24),
        ("b", "U8", (), 1),
    ]
    assert [leaf.source.tolist() for leaf in leaves] == [list(range(24)), [24]]
    assert [leaf.address - data.ctypes.data for leaf in leaves] == [0, 24]


def test_an_entry_that_stands_twice_is_refused_though_the_sum_is_right():
    leaves = {name: array(np.arange(3.0)) for name in ("one", "two")}
    file = bytearray(file_of(grow(branch("dict", leaves))))
    at = file.index(b'"two":{"dtype"')
    file[at + 1 : at + 4] = b"one"
    length = PREFIX.size + PREFIX.unpack_from(file)[0]
    file[HEADER_SUM] = header_sum(file[:length])
    with pytest.raises(DamagedError, match="twice"):
        reader.parse(memoryview(file), "it").tree()
