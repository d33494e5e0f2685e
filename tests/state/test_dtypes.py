"""Names of dtypes: every dtype whose bytes can be kept has one that leads back to it, and no name does harm."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from format.drawn_trees import dtypes_of_numpy
from holdfast.errors import CaptureError, UnknownFormatError
from holdfast.state import dtypes

ML_ONE_BYTE = (
    "int4 uint4 int2 uint2 float8_e4m3 float8_e3m4 float8_e4m3b11fnuz float4_e2m1fn float6_e2m3fn float6_e3m2fn"
)


@settings(max_examples=150, deadline=None)
@given(dtypes_of_numpy)
def test_any_dtype_of_numpy_comes_back_from_its_name(dtype):
    name = dtypes.from_numpy(dtype)
    assert dtypes.to_numpy(name) == dtype
    assert dtypes.to_numpy(name).itemsize == dtypes.item_size(name) == dtype.itemsize
    name.encode("ascii")


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        ("?", "BOOL"), ("u1", "U8"), ("i1", "I8"), ("<i2", "I16"), ("<u2", "U16"), ("<f2", "F16"), ("<i4", "I32"),
        ("<u4", "U32"), ("<f4", "F32"), ("<f8", "F64"), ("<i8", "I64"), ("<u8", "U64"), ("<c8", "C64"),
        (">f4", ">f4"), ("<c16", "<c16"), (">i8", ">i8"), ("<M8[ns]", "<M8[ns]"), (">m8[25us]", ">m8[25us]"),
        ("<M8", "<M8"), ("<U7", "<U7"), ("S5", "|S5"), ("S0", "|S0"), ("V3", "|V3"),
        (("<f4", (2, 3)), '["F32",[2,3]]'),
        ([("a", "<f4"), ("b", ">i2", (2,))],
         '{"names":["a","b"],"formats":["F32",[">i2",[2]]],"offsets":[0,4],"itemsize":8,"aligned":false}'),
    ],
)  # fmt: skip
def test_a_dtype_has_the_name_of_the_format(dtype, name):
    assert dtypes.from_numpy(np.dtype(dtype)) == name
    assert dtypes.to_numpy(name) == np.dtype(dtype)


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("bfloat16", "BF16"), ("float8_e4m3fn", "F8_E4M3"), ("float8_e5m2", "F8_E5M2"), ("float8_e8m0fnu", "F8_E8M0"),
        ("float8_e4m3fnuz", "F8_E4M3FNUZ"), ("float8_e5m2fnuz", "F8_E5M2FNUZ"),
        *((one, one) for one in ML_ONE_BYTE.split()),
    ],
)  # fmt: skip
def test_a_dtype_of_ml_dtypes_comes_back(spelling, name):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    dtype = np.dtype(getattr(ml_dtypes, spelling))
    assert dtypes.from_numpy(dtype) == name
    assert dtypes.to_numpy(name) == dtype
    assert dtypes.item_size(name) == dtype.itemsize


def test_every_safetensors_dtype_has_its_size_in_numpy():
    pytest.importorskip("ml_dtypes")
    for name, size in dtypes.ITEM_SIZES.items():
        assert dtypes.to_numpy(name).itemsize == size


@pytest.mark.parametrize(
    "dtype",
    [
        np.dtype(object),
        np.dtype([("a", object)]),
        np.dtype([(("title", "a"), "<f4")]),
        np.dtype(("<i4", [("low", "<i2"), ("high", "<i2")])),
        np.dtype([("\ud83d\ude00", "<f4")]),
        np.dtype([("x" * 70_000, "<f4")]),
    ],
    ids=["object", "object field", "title", "union", "surrogates", "long"],
)
def test_a_dtype_that_could_not_come_back_is_refused(dtype):
    with pytest.raises(CaptureError):
        dtypes.from_numpy(dtype)


def test_a_dtype_of_ml_dtypes_with_swapped_bytes_is_refused():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    with pytest.raises(CaptureError, match="has its bytes swapped"):
        dtypes.from_numpy(np.dtype(ml_dtypes.bfloat16).newbyteorder())


def test_a_dtype_of_python_strings_is_refused():
    if not hasattr(np.dtypes, "StringDType"):
        pytest.skip("this numpy has no StringDType")
    with pytest.raises(CaptureError):
        dtypes.from_numpy(np.dtypes.StringDType())


BAD = [
    "", "F31", "f32", "float32", "<f3", "=f4", "f4", "<f", "<f4 ", "<f4,<f4", "<q8", "|O8", "<O8", "<U-1",
    "<U99999999999",     "|V9999999999999999999999", "<M8[xx]", "<M8[ns]x", "<f\u0663",
    "\ud800", "(2,)<f4", "os.system", "int3", "[", "{}",
    "[]", "[1]", "[1,2]", '["<f4"]', '["<f4",2]', '["<f4",[-1]]', '["<f4",["2"]]', '["<f4",[2.5]]', '["<f4",[true]]',
    '["<f4",[1099511627776,1099511627776]]', '["|O8",[2]]', "[" * 60_000, '{"names":[]}', "NaN", "{" * 70_000,
]  # fmt: skip


@pytest.mark.parametrize("name", BAD, ids=lambda name: ascii(name)[:30])
def test_a_name_that_is_none_is_of_an_unknown_format(name):
    with pytest.raises(UnknownFormatError, match="holdfast"):
        dtypes.to_numpy(name)
    with pytest.raises(UnknownFormatError, match="holdfast"):
        dtypes.item_size(name)


STRUCTURE = {"names": ["a"], "formats": ["<f4"], "offsets": [0], "itemsize": 4, "aligned": False}


@pytest.mark.parametrize(
    "change",
    [
        {"names": "a"}, {"names": [1]}, {"names": ["a", "b"]}, {"formats": []}, {"formats": "F"}, {"formats": ["|O8"]},
        {"formats": [None]}, {"offsets": [-1]}, {"offsets": [2]}, {"offsets": [0.5]}, {"offsets": ["0"]},
        {"offsets": 0}, {"itemsize": 3}, {"itemsize": -4}, {"itemsize": 1 << 70},
        {"itemsize": True}, {"itemsize": "4"}, {"aligned": 0},
        {"aligned": None}, {"aligned": True, "offsets": [1], "itemsize": 8},
    ],
    ids=str,
)  # fmt: skip
def test_a_structure_that_is_none_is_of_an_unknown_format(change):
    assert dtypes.to_numpy(json.dumps(STRUCTURE)).itemsize == 4
    with pytest.raises(UnknownFormatError):
        dtypes.to_numpy(json.dumps(STRUCTURE | change))


@settings(max_examples=500, deadline=None)
@given(st.text(max_size=12) | st.text("<>|=fiuUSMV0123456789[]{}\"',:ns ", max_size=12))
def test_any_text_is_a_dtype_or_of_an_unknown_format(text):
    try:
        dtype = dtypes.to_numpy(text)
    except UnknownFormatError:
        return
    assert not dtype.hasobject
    assert dtypes.item_size(text) == dtype.itemsize


def test_a_dtype_that_needs_ml_dtypes_says_so_where_that_is_missing():
    program = """
import sys
sys.modules["ml_dtypes"] = None
from holdfast.state import dtypes
assert dtypes.item_size("BF16") == 2
try:
    dtypes.to_numpy("BF16")
except ValueError as error:
    print(error)
"""
    found = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert found == "numpy has no bfloat16: install ml_dtypes, or load with framework='torch'\n"
