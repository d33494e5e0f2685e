"""Bytes of arrays: out of every framework, and in."""

from __future__ import annotations

import subprocess
import sys

import jax
import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.errors import MismatchError
from holdfast.state import arrays, dtypes
from holdfast.state.capture import capture
from holdfast.state.tree import Array, Leaf, View
from state.array_strategies import array_pairs
from state.same import bits

SETTINGS = settings(max_examples=300, deadline=None, derandomize=True, database=None)


@SETTINGS
@given(array_pairs())
def test_the_bytes_of_an_array_are_its_elements_in_c_order(pair):
    array = pair.saved
    framework = arrays.framework_of(array)
    dtype = arrays.dtype_of(array, framework)
    size = int(np.prod(array.shape)) * arrays.item_size(array, framework)
    leaf = Leaf("a", dtype, tuple(array.shape), size, array)
    out = np.full(size, 0xAA, np.uint8)
    arrays.copy_into(leaf, out)
    made = arrays.wrap(out.view(arrays.carrier(dtype)).reshape(leaf.shape), dtype, framework)
    assert bits(made)[-1] == bits(array)[-1]
    assert arrays.value_bytes(arrays.carried(Array(leaf, framework))) == arrays.value_bytes(
        out.view(arrays.carrier(dtype)).reshape(leaf.shape)
    )


def test_what_pads_the_fields_of_a_record_is_copied_and_never_what_was_in_the_memory_before():
    dtype = np.dtype({"names": ["a"], "formats": ["u1"], "itemsize": 4})
    array = np.zeros((2, 2), dtype)
    out = np.full(16, 0xAA, np.uint8)
    arrays.copy_into(Leaf("a", dtypes.from_numpy(dtype), (2, 2), 16, array.T), out)
    assert out.tolist() == [0] * 16
    target = np.ones((2, 2), dtype).T
    target.base.view(np.uint8)[:] = 0xAA
    arrays.fill(target, "numpy", array)
    assert target.base.tobytes() == b"\0" * 16


@pytest.mark.parametrize("name", arrays._TORCH)
def test_every_dtype_of_torch_that_has_a_name_is_a_dtype_of_torch(name):
    dtype = arrays.torch_dtype(name)
    assert arrays.dtype_of(torch.empty(0, dtype=dtype), "torch") == name
    assert dtype.itemsize == dtypes.item_size(name)


def test_a_dtype_that_torch_has_not_is_a_mismatch():
    with pytest.raises(MismatchError, match="torch has no dtype for <U3; load it with framework='numpy'"):
        arrays.torch_dtype("<U3")


@pytest.mark.parametrize(
    ("name", "carrier"),
    [("BF16", "<u2"), ("F8_E5M2", "u1"), ("int4", "u1"), ("F32", "<f4"), (">f4", ">f4"), ("<M8[ns]", "<M8[ns]")],
)
def test_bits_that_numpy_has_no_dtype_for_are_carried_as_numbers(name, carrier):
    assert arrays.carrier(name) == np.dtype(carrier)


WITHOUT = """
import sys
sys.modules["ml_dtypes"] = None
import numpy as np, torch
from holdfast import files
from holdfast.errors import MismatchError, UnknownFormatError
files.save(sys.argv[1], {"a": torch.arange(3, dtype=torch.bfloat16)})
target = {"a": torch.zeros(3, dtype=torch.bfloat16)}
assert files.restore(sys.argv[1], target)["a"].tolist() == [0, 1, 2]
assert files.load(sys.argv[1], framework="torch")["a"].dtype == torch.bfloat16
try:
    files.load(sys.argv[1])
except UnknownFormatError as error:
    print(error)
try:
    files.restore(sys.argv[1], {"a": torch.zeros(3)}, casting="unsafe")
except MismatchError as error:
    print(str(error).splitlines()[1])
"""


def test_bfloat16_goes_from_torch_to_torch_where_numpy_knows_nothing_of_it(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(tmp_path / "it")], capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stderr
    first, second = done.stdout.splitlines()
    assert "'a': numpy has no bfloat16: install ml_dtypes, or load with framework='torch'" in first
    assert "'a' is BF16 (3,) in the snapshot but F32 (3,) in the target (numpy has no bfloat16" in second


@pytest.mark.parametrize(
    ("found", "wanted", "casting", "allowed"),
    [
        ("F32", "F32", "no", True), ("F32", "F64", "no", False), ("F32", "F64", "safe", True),
        ("F64", "F32", "safe", False), ("F64", "F32", "same_kind", True), ("F32", "I32", "same_kind", False),
        ("F32", "I32", "unsafe", True), (">f4", "F32", "no", False), (">f4", "F32", "equiv", True),
        ("BF16", "F32", "safe", True), ("F32", "BF16", "same_kind", True), ("|V2", "BF16", "no", True),
        ("|V2", "F16", "no", False), ("|V3", "BF16", "no", False), ("C64", "F32", "same_kind", False),
    ],
)  # fmt: skip
def test_what_casting_allows_is_what_numpy_says(found, wanted, casting, allowed):
    assert arrays.can_cast(found, wanted, casting) == allowed


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("array", "found", "wanted", "values"),
    [
        (np.array([1.5, 2]), "F64", "F32", [1.5, 2]), (np.array([1.7]), "F64", "I32", [1]),
        (np.array([1 + 2j]), "<c16", "F32", [1]), (np.array([1e300]), "F64", "F32", [float("inf")]),
        (np.array([float("nan")]), "F64", "I8", None), (np.array([1], ">i4"), ">i4", "I32", [1]),
        (np.array([1.5], ml_dtypes.bfloat16).view("u2"), "BF16", "F64", [1.5]),
        (np.frombuffer(b"\x80\x3f", "V2"), "|V2", "BF16", [1.0]),
    ],
)  # fmt: skip
def test_a_cast_that_was_allowed_warns_of_nothing(array, found, wanted, values):
    made = arrays.cast(array, found, wanted)
    assert made.dtype == arrays.carrier(wanted)
    if values is not None:
        assert made.view(dtypes.to_numpy(wanted)).tolist() == values


def test_a_window_is_read_at_its_strides():
    data = np.arange(12, dtype=np.uint8)
    node = Array(Leaf("a", "U8", (12,), 12, data), "numpy", View(8, "U16", (2, 2), (-4, 2)))
    assert arrays.carried(node).tolist() == [[8 + 9 * 256, 10 + 11 * 256], [4 + 5 * 256, 6 + 7 * 256]]


@pytest.mark.parametrize("strides", [(-8,), (12,), (8,)])
def test_a_tensor_is_made_over_memory_of_any_strides(strides):
    memory = np.arange(30, dtype=np.uint8)
    array = np.ndarray((2,), "f8", memory.data, 8, strides)
    memory.flags.writeable = False
    assert bits(arrays.wrap(array, "F64", "torch"))[-1] == array.tobytes()


def test_a_jax_array_is_made_of_any_memory_layout():
    array = np.arange(6, dtype="f4").reshape(2, 3).T
    made = arrays.wrap(array, "F32", "jax")
    assert (np.asarray(made) == array).all()


@pytest.mark.parametrize("name", ["<U3", ">f4", "<M8[s]", "|V3"])
def test_a_dtype_that_jax_has_not_is_a_mismatch(name):
    with pytest.raises(MismatchError, match="jax has no dtype"):
        arrays.wrap(np.zeros(2, dtypes.to_numpy(name)), name, "jax")


def test_a_dtype_that_jax_would_change_is_a_mismatch():
    with pytest.raises(MismatchError, match="jax makes float32 of float64; set jax_enable_x64"):
        arrays.wrap(np.zeros(2), "F64", "jax")


def test_a_weak_type_that_has_another_dtype_is_left_alone():
    like = jax.ShapeDtypeStruct((2,), np.float16, weak_type=True)
    made = arrays.on_jax(np.ones(2, np.float16), like)
    assert (made.dtype, made.tolist()) == (np.float16, [1, 1])


@SETTINGS
@given(st.lists(st.integers(0, 3), max_size=4), st.sampled_from(["F32", "U8", "BF16", "<U2"]))
def test_an_array_without_bytes_of_any_kind_is_carried(shape, dtype):
    shape = (*shape, 0)
    node = Array(Leaf("a", dtype, shape, 0, np.empty(0, np.uint8)), "numpy")
    assert arrays.carried(node).shape == shape


def test_a_memory_map_is_an_array(tmp_path):
    row = np.memmap(tmp_path / "row", np.float32, "w+", shape=(4,))
    row[:] = np.arange(4)
    assert arrays.bytes_of(capture(row).leaves()[0]).view("f4").tolist() == [0, 1, 2, 3]


def test_no_framework_is_imported_before_the_user_has():
    code = (
        "import sys, numpy as np\n"
        "from holdfast.state.capture import capture\nfrom holdfast.state.restore import restore\n"
        "restore(capture({'a': np.ones(2), 'r': np.random.default_rng(1), 'n': (1, 'x')}),"
        " {'a': np.zeros(2), 'r': np.random.default_rng(2), 'n': (0, '')})\n"
        "assert not {'torch', 'jax', 'ml_dtypes', 'optax'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
