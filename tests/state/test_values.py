"""Plain values as nodes and back, to the bit."""

from __future__ import annotations

import struct

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given, settings

from holdfast.errors import CaptureError, MismatchError
from holdfast.state.tree import Value
from holdfast.state.values import from_array, from_value, guess, is_scalar, to_array, to_value
from state.same import bits
from state.strategies import plain_values
from state.users import Colour

SETTINGS = settings(max_examples=300, deadline=None, derandomize=True, database=None)


@SETTINGS
@given(plain_values())
def test_a_plain_value_comes_back_from_its_node(value):
    node = to_value(value)
    if node is None:
        assert isinstance(value, str | bytes)  # too long
        assert len(value) > 256
    else:
        assert bits(from_value(node)) == bits(value)


@SETTINGS
@given(plain_values())
def test_a_plain_value_comes_back_from_an_array_of_no_dimensions(value):
    node = to_value(value)
    if node is not None and value is not None:
        assert to_array(node).shape == ()
        assert bits(from_array(to_array(node), value)) == bits(value)


@pytest.mark.parametrize(
    ("value", "kind", "data"),
    [
        ((1 << 53) - 1, "int", (1 << 53) - 1),
        (1 << 53, "int", "0x20000000000000"),
        (-(1 << 53), "int", "-0x20000000000000"),
        (float("inf"), "float", "7ff0000000000000"),
        (-0.0, "float", -0.0),
        (1j, "complex", [0.0, 1.0]),
        (b"\0a", "bytes", "0061"),
        (range(1, 9, 2), "range", [1, 9, 2]),
        (slice(None, 3), "slice", [None, 3, None]),
        (np.float16(1), "numpy", ["F16", "003c"]),
        (torch.Size([2]), "torch.Size", [2]),
        (torch.bfloat16, "torch.dtype", "bfloat16"),
        (torch.device("cuda:1"), "torch.device", "cuda:1"),
    ],
)
def test_nodes_hold_what_json_can(value, kind, data):
    node = to_value(value)
    assert (node.kind, node.data) == (kind, data)
    assert type(node.data) is type(data)


def test_an_int_of_any_length_is_kept():
    assert from_value(to_value(1 << 20000)) == 1 << 20000
    assert from_array(to_array(to_value(1 << 20000)), 0) == 1 << 20000


@pytest.mark.parametrize("payload", [0x7FF8000000000001, 0xFFF0000000000123, 0x7FF4DEADBEEF0000])
def test_a_nan_keeps_its_payload(payload):
    value = struct.unpack(">d", payload.to_bytes(8, "big"))[0]
    assert struct.pack(">d", from_value(to_value(value))) == payload.to_bytes(8, "big")


@pytest.mark.parametrize("value", [Colour.RED, [1], type("I", (int,), {})(3), bytearray(b"a"), object(), int])
def test_what_is_no_plain_value_has_no_node(value):
    assert to_value(value) is None
    assert not is_scalar(value)


@pytest.mark.parametrize("data", [b"a\0\0", b"\0", b""])
def test_texts_of_numpy_keep_the_zeros_at_their_end(data):
    assert bits(from_value(to_value(np.bytes_(data)))) == bits(np.bytes_(data))
    assert bits(from_value(to_value(np.str_(data.decode())))) == bits(np.str_(data.decode()))


def test_a_record_scalar_does_not_look_into_an_array():
    scalar = from_value(to_value(np.array([(1, 2.0)], "u1,f8")[0]))
    assert scalar.tolist() == (1, 2.0)
    assert scalar.base.shape == ()


def test_a_scalar_of_objects_is_refused():
    with pytest.raises(CaptureError, match="Python objects"):
        to_value(np.zeros(1, [("a", "O")])[0])


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (Value("torch.dtype", "float7"), "float7, which this torch does not have"),
        (Value("torch.dtype", "nn"), "which this torch does not have"),
        (Value("torch.device", "abacus"), "'abacus', which torch does not know"),
        (Value("numpy", ["F16", "00"]), "has 2 bytes, but the snapshot holds 1"),
    ],
)
def test_a_value_that_cannot_be_made_is_a_mismatch(node, said):
    with pytest.raises(MismatchError, match=said):
        from_value(node)


@pytest.mark.parametrize(
    ("array", "like", "wanted"),
    [
        (np.array(3), 0, 3), (np.array(3.0), 0, 3), (np.array(3), 0.5, 3.0), (np.array(1), True, True),
        (np.array(2.5, "f4"), 1j, 2.5 + 0j), (np.array(2, ml_dtypes.bfloat16), 0.5, 2.0), (np.array("a"), "", "a"),
        (np.array(2.0), np.float32(0), np.float32(2)), (np.array("abc"), np.str_("x"), np.str_("abc")),
        (np.array(b"ab"), b"", b"ab"), (np.array(float("nan")), 0.5, float("nan")),
    ],
)  # fmt: skip
def test_an_array_of_no_dimensions_stands_for_a_value(array, like, wanted):
    assert bits(from_array(array, like)) == bits(wanted)


@pytest.mark.parametrize(
    ("array", "like"),
    [
        (np.array(0.5), 0), (np.array(2), True), (np.array("a"), 0), (np.array(1), "a"), (np.array(1j), 0.5),
        (np.array(1, "M8[ns]"), 0), (np.array(1.5), np.int8(1)), (np.array("a"), np.bytes_(b"a")),
        (np.array(float("nan")), 1), (np.array((1, 2), "u1,u1"), b"a"), (np.array(1), torch.float32),
        (np.array('[0,["x"]]'), 3), (np.array("float32"), torch.float32), (np.array(b"a"), 1),
    ],
)  # fmt: skip
def test_an_array_that_stands_for_no_such_value_is_refused(array, like):
    with pytest.raises((TypeError, ValueError, OverflowError)):
        from_array(array, like)


@pytest.mark.parametrize(
    ("array", "wanted"),
    [
        (np.array(3), 3), (np.array(2.5), 2.5), (np.array(True), True), (np.array(1j), 1j), (np.array("a"), "a"),
        (np.array("x" * 300), "x" * 300), (np.array(np.void(b"a\0")), b"a\0"), (np.array("[0,[[1]]]"), "[0,[[1]]]"),
        (np.array('[0,[["slice",[null,1,null]]]]'), slice(1)), (np.array(5, "M8[s]"), np.datetime64(5, "s")),
        (np.array(1.5, ml_dtypes.bfloat16), 1.5), (np.array('[0,[null]]'), None),
    ],
)  # fmt: skip
def test_what_an_array_of_no_dimensions_most_likely_stands_for(array, wanted):
    assert bits(from_value(guess(array))) == bits(wanted)
