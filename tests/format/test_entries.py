"""Entries read by pattern are those that the JSON parser finds, or none."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from format.handmade import array, branch, file_of, grow
from holdfast.errors import DamagedError
from holdfast.format import entries, reader
from holdfast.format.sums import HEADER_SUM, PREFIX, header_sum
from holdfast.state.dtypes import ITEM_SIZES

NAMES = st.text(min_size=1, max_size=6).filter(lambda name: name != "__metadata__" and name.isprintable())
KINDS = st.tuples(st.sampled_from(["F32", "U8", "F8_E4M3"]), st.lists(st.integers(0, 5), max_size=3))


def text_of(specs: dict, **options) -> str:
    return json.dumps({"__metadata__": {}, **specs}, separators=(",", ":"), **options)


def laid_out(kinds: dict) -> tuple[dict, int]:
    """Entries one behind the other, and the bytes of them all."""
    specs, at = {}, 0
    for name, (dtype, shape) in kinds.items():
        size = math.prod(shape) * ITEM_SIZES[dtype]
        specs[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    return specs, at


START = len('{"__metadata__":{}')


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(NAMES, KINDS), st.booleans(), st.integers(0, 3))
def test_what_is_found_is_what_the_json_says(kinds, ascii_only, spaces):
    specs, size = laid_out(kinds)
    text = text_of(specs, ensure_ascii=ascii_only)
    data = np.arange(size, dtype=np.uint8)
    leaves = entries.leaves_of(text + " " * spaces, START, data)
    if leaves is None:
        assert "\\" in text
        return
    assert [(leaf.path, leaf.dtype, leaf.shape) for leaf in leaves] == [
        (name, spec["dtype"], tuple(spec["shape"])) for name, spec in specs.items()
    ]
    for leaf, spec in zip(leaves, specs.values(), strict=True):
        low, high = spec["data_offsets"]
        assert leaf.source.tolist() == data[low:high].tolist()
        assert leaf.nbytes == high - low
        assert leaf.address == data.ctypes.data + low or not size


PLAIN = {
    "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    "b": {"dtype": "U8", "shape": [], "data_offsets": [24, 25]},
}


DATA = np.arange(25, dtype=np.uint8)


def test_plain_entries_are_found():
    leaves = entries.leaves_of(text_of(PLAIN), START, DATA)
    assert leaves is not None
    assert [(leaf.path, leaf.dtype, leaf.shape, leaf.nbytes) for leaf in leaves] == [
        ("a", "F32", (2, 3), 24),
        ("b", "U8", (), 1),
    ]
    assert [leaf.source.tolist() for leaf in leaves] == [list(range(24)), [24]]
    assert [leaf.address - DATA.ctypes.data for leaf in leaves] == [0, 24]


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
    assert entries.leaves_of(text.replace(old, new), START, DATA) is None


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
    assert entries.leaves_of(text_of(specs), START, DATA) is None


def test_an_entry_that_stands_twice_is_refused_though_the_sum_is_right():
    leaves = {name: array(np.arange(3.0)) for name in ("one", "two")}
    file = bytearray(file_of(grow(branch("dict", leaves))))
    at = file.index(b'"two":{"dtype"')
    file[at + 1 : at + 4] = b"one"
    length = PREFIX.size + PREFIX.unpack_from(file)[0]
    file[HEADER_SUM] = header_sum(file[:length])
    with pytest.raises(DamagedError, match="twice"):
        reader.parse(memoryview(file), "it").tree()
