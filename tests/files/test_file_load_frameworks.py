"""holdfast.files.load with framework="torch" and "jax": over the mapped file, which never changes."""

from __future__ import annotations

import json
import mmap
import os
import struct
import sys

import ml_dtypes
import numpy as np
import pytest

from holdfast import files

STATE = {"weight": np.arange(2048.0), "half": np.arange(5, dtype=ml_dtypes.bfloat16), "rates": [0.1, (1, None)]}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "snapshot.safetensors"
    files.save(path, STATE)
    return path


# torch


def test_torch_gets_bfloat16_without_ml_dtypes(path, absent):
    torch = pytest.importorskip("torch")
    absent("ml_dtypes")
    found = files.load(path, framework="torch")
    assert found["half"].dtype == torch.bfloat16
    assert found["half"].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("kind", ["snapshot", "npz", "savez_compressed", "safetensors"])
def test_tensors_may_be_written_to_and_the_file_does_not_change(tmp_path, kind):
    torch = pytest.importorskip("torch")
    arrays = {"a/b": np.arange(3000.0), "a/c": np.arange(7, dtype=np.uint8), "d": np.arange(6).reshape(2, 3)}
    arrays["d"] = np.asfortranarray(arrays["d"]) if kind == "npz" else arrays["d"]
    path = tmp_path / "file.npz"
    if kind == "snapshot":
        files.save(path, {"a": {"b": arrays["a/b"], "c": arrays["a/c"]}, "d": arrays["d"]})
    elif kind == "safetensors":
        pytest.importorskip("safetensors.numpy").save_file(arrays, path)
    else:
        (np.savez if kind == "npz" else np.savez_compressed)(path, **arrays)
    before = path.read_bytes()
    found = tensors_of(path)
    assert found.keys() == arrays.keys()
    for name, tensor in found.items():
        assert torch.equal(tensor, torch.from_numpy(np.ascontiguousarray(arrays[name])))
        tensor += 1
        tensor.zero_()
    assert path.read_bytes() == before
    again = tensors_of(path)
    assert all(np.array_equal(again[name], one) for name, one in arrays.items())


def tensors_of(path):
    """By flat names: a file without a tree gives them so, whatever the framework."""
    found = files.load(path, framework="torch")
    if "a" in found:
        found.update({f"a/{name}": one for name, one in found.pop("a").items()})
    return found


def test_tensors_look_into_the_map_and_are_no_copies(path, maps_of):
    pytest.importorskip("torch")
    weight = files.load(path, framework="torch")["weight"]
    assert [rights for low, high, rights in maps_of(path) if low <= weight.data_ptr() < high] == ["rw-p"]


def test_a_loaded_tensor_can_be_trained(tmp_path):
    torch = pytest.importorskip("torch")
    files.save(tmp_path / "model", {"weight": torch.ones(3)})
    weight = files.load(tmp_path / "model", framework="torch")["weight"].requires_grad_()
    optimizer = torch.optim.Adam([weight], lr=0.5)
    (weight * 2).sum().backward()
    optimizer.step()
    assert torch.allclose(weight.detach(), torch.full((3,), 0.5))
    assert files.load(tmp_path / "model")["weight"].tolist() == [1, 1, 1]


def test_tensors_that_were_tied_are_tied_and_others_are_not(tmp_path):
    torch = pytest.importorskip("torch")
    shared = torch.arange(4.0)
    files.save(tmp_path / "model", {"a": shared, "b": shared, "part": shared[1:3], "c": shared.clone()})
    found = files.load(tmp_path / "model", framework="torch")
    found["a"] += 10
    assert found["b"].tolist() == [10, 11, 12, 13]
    assert found["part"].tolist() == [11, 12]
    assert found["c"].tolist() == [0, 1, 2, 3]


def test_tensors_go_to_the_device_that_is_named(path):
    torch = pytest.importorskip("torch")
    assert files.load(path, framework="torch", device="cpu")["weight"].tolist() == STATE["weight"].tolist()
    assert files.load(path, framework="torch", device=torch.device("meta"))["weight"].device.type == "meta"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not count private maps as memory")
def test_a_file_larger_than_memory_can_be_mapped_for_tensors(tmp_path):
    pytest.importorskip("torch")
    size = 4 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    spec = json.dumps({"weight": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    with open(tmp_path / "sparse", "wb") as file:
        file.write(struct.pack("<Q", len(spec)) + spec)
        file.truncate(8 + len(spec) + size)  # no block of it is on the disk
    weight = files.load(tmp_path / "sparse", framework="torch")["weight"]
    weight[size // 2] = 1
    assert weight[size // 2 - 1 : size // 2 + 2].tolist() == [0, 1, 0]


def test_where_nothing_is_written_to_the_map_cannot_be_written_to(path, monkeypatch):
    asked = []
    real = mmap.mmap

    def watched(*arguments, **named):
        asked.append(named)
        return real(*arguments, **named)

    monkeypatch.setattr(mmap, "mmap", watched)
    files.load(path)
    files.verify(path)
    files.restore(path, {**STATE, "weight": np.zeros(2048), "half": np.zeros(5, ml_dtypes.bfloat16)})
    assert [named["prot"] for named in asked] == [mmap.PROT_READ] * 3


# jax


def test_jax_gets_arrays_that_may_be_donated_and_the_file_does_not_change(path):
    jax = pytest.importorskip("jax")
    state = {"weight": np.arange(4096, dtype=np.float32), "half": STATE["half"]}
    files.save(path, state)
    found = files.load(path, framework="jax")
    assert isinstance(found["weight"], jax.Array)
    assert found["half"].dtype == jax.numpy.bfloat16
    step = jax.jit(lambda weight: weight + 1, donate_argnums=0)
    for _ in range(3):
        found["weight"] = step(found["weight"])
    assert np.array_equal(found["weight"], state["weight"] + 3)
    assert np.array_equal(files.load(path)["weight"], state["weight"])


def test_jax_arrays_go_to_the_device_that_is_named(path):
    jax = pytest.importorskip("jax")
    device = jax.devices("cpu")[0]
    assert files.load(path, subtree="half", framework="jax", device=device).devices() == {device}
