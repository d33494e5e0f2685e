"""safetensors.numpy reads what holdfast writes, and holdfast what it writes."""

from __future__ import annotations

import json

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy

from holdfast import files


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


ARRAYS = {
    "f64": np.linspace(0, 1, 6).reshape(2, 3),
    "f32": np.arange(3, dtype=np.float32),
    "f16": np.arange(3, dtype=np.float16),
    "bf16": np.arange(3, dtype=ml_dtypes.bfloat16),
    "i64": np.arange(-1, 3),
    "i32": np.arange(3, dtype=np.int32),
    "i16": np.arange(3, dtype=np.int16),
    "i8": np.arange(3, dtype=np.int8),
    "u64": np.arange(3, dtype=np.uint64),
    "u32": np.arange(3, dtype=np.uint32),
    "u16": np.arange(3, dtype=np.uint16),
    "u8": np.arange(3, dtype=np.uint8),
    "bool": np.array([True, False]),
    "c64": np.array([1 + 2j, 3], np.complex64),
    "scalar": np.array(7.5),
    "empty": np.zeros((0, 4), np.float32),
    "transposed": np.arange(6.0).reshape(2, 3).T,
    "reversed": np.arange(5)[::-1],
    "every other": np.arange(9)[::2],
    "layer.0/weight": np.ones(2),
    "ä": np.ones(1),
}


def same(found, wanted):
    return found.dtype == wanted.dtype and found.shape == wanted.shape and found.tobytes() == wanted.tobytes()


def test_numpy_states_open_in_safetensors_numpy(path):
    files.save(path, ARRAYS)
    found = safetensors.numpy.load_file(path)
    names = {name: name.replace("/", "~1") for name in ARRAYS}
    assert found.keys() == set(names.values())
    assert [name for name in ARRAYS if not same(found[names[name]], ARRAYS[name])] == []


def test_what_safetensors_numpy_writes_is_loaded_and_restored(path):
    wanted = {name: np.ascontiguousarray(one).reshape(one.shape) for name, one in ARRAYS.items()}
    safetensors.numpy.save_file(wanted, path, metadata={"format": "np", "note": "kept elsewhere"})
    found = files.load(path)
    assert found.keys() == wanted.keys()
    assert [name for name in wanted if not same(found[name], wanted[name])] == []
    target = {name: np.zeros_like(one) for name, one in wanted.items()}
    assert files.restore(path, target) is target
    assert [name for name in wanted if not same(target[name], wanted[name])] == []


def test_every_value_of_the_metadata_is_a_text(path):
    files.save(path, {**ARRAYS, "step": 3, "tied": ARRAYS["f64"]}, metadata={"rows": [1, {"a": None}]})
    with safetensors.safe_open(path, "numpy") as file:
        metadata = file.metadata()
    assert all(type(text) is str for text in metadata.values())
    assert metadata["tied"] == "f64"
    assert json.loads(metadata["holdfast.metadata"]) == {"rows": [1, {"a": None}]}


def test_dtypes_that_safetensors_lacks_are_rows_of_bytes_there(path):
    values = np.array([1 + 2j, 3], np.complex128)
    files.save(path, {"a": values, "b": np.array(["x", "yz"])})
    found = safetensors.numpy.load_file(path)
    assert found["a"].shape == (2, 16)
    assert found["a"].tobytes() == values.tobytes()
    assert same(files.load(path)["a"], values)
    assert files.load(path)["b"].tolist() == ["x", "yz"]


def test_nested_states_stand_under_names_joined_by_slashes(path):
    files.save(path, {"updater": {"model:main": {"W": np.ones(2)}}, "moments": [np.zeros(1), {7: np.zeros(3)}]})
    found = safetensors.numpy.load_file(path)
    assert found.keys() == {"updater/model:main/W", "moments/~i0", "moments/~i1/~i7"}
