"""safetensors.torch reads what holdfast writes, and holdfast what it writes."""

from __future__ import annotations

import json
import struct

import pytest

from holdfast import files
from holdfast.errors import MismatchError

torch = pytest.importorskip("torch")
st = pytest.importorskip("safetensors.torch")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def parts(path):
    """The metadata of a file, the rest of its header, and its data part."""
    raw = path.read_bytes()
    (size,) = struct.unpack("<Q", raw[:8])
    spec = json.loads(raw[8 : 8 + size])
    return spec.pop("__metadata__"), spec, raw[8 + size :]


class Tied(torch.nn.Module):
    """An embedding and a head that share their weight, and another layer."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.embedding = torch.nn.Embedding(11, 4)
        self.body = torch.nn.Linear(4, 4)
        self.head = torch.nn.Linear(4, 11, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens):
        return self.head(self.body(self.embedding(tokens)))


def convolutional(seed):
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(5, 2).bfloat16())
    model[1](torch.randn(2, 4, 3, 3))  # its buffers change
    return model.to(memory_format=torch.channels_last)


def equal(one, other):
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype and torch.equal(one[name], other[name]) for name in one
    )


@pytest.mark.parametrize("make", [convolutional, Tied])
def test_a_model_and_its_state_dict_make_the_same_file_but_for_the_facts(path, tmp_path, make):
    model = make(0)
    files.save(path, model)
    files.save(tmp_path / "state", model.state_dict())
    (metadata, entries, data), (other_metadata, other_entries, other_data) = parts(path), parts(tmp_path / "state")
    assert data == other_data
    assert list(entries.items()) == list(other_entries.items())
    assert metadata.pop("holdfast") != other_metadata.pop("holdfast")
    assert list(metadata.items()) == list(other_metadata.items())


def test_a_model_opens_under_its_usual_keys_with_equal_tensors(path):
    model = convolutional(0)
    files.save(path, model)
    assert equal(st.load_file(path), model.state_dict())


def test_a_model_opens_in_load_model(path):
    model, other = convolutional(0), convolutional(1)
    files.save(path, model)
    assert st.load_model(other, path) == (set(), [])
    assert equal(other.state_dict(), model.state_dict())


def test_a_tied_model_opens_in_load_model_of_a_tied_model(path):
    model, other = Tied(0), Tied(1)
    files.save(path, model)
    assert set(st.load_file(path)) == {"embedding.weight", "body.weight", "body.bias"}
    assert st.load_model(other, path) == (set(), [])
    assert equal(other.state_dict(), model.state_dict())
    assert other.head.weight is other.embedding.weight


TENSORS = {
    "f32": torch.arange(6.0).reshape(2, 3),
    "bf16": torch.arange(3, dtype=torch.bfloat16),
    "f16": torch.arange(3, dtype=torch.float16),
    "f8_e4m3": torch.arange(1, 4).to(torch.float8_e4m3fn),
    "f8_e5m2": torch.arange(1, 4).to(torch.float8_e5m2),
    "f8_e8m0": torch.arange(1, 4).to(torch.float8_e8m0fnu),
    "bool": torch.tensor([True, False]),
    "i64": torch.arange(3),
    "u8": torch.arange(3, dtype=torch.uint8),
    "u16": torch.arange(3).to(torch.uint16),
    "c64": torch.tensor([1 + 2j, 3]),
    "scalar": torch.tensor(2.5),
    "empty": torch.zeros(0, 3),
}


def bits(tensors):
    return {
        name: (one.dtype, one.shape, one.contiguous().reshape(-1).view(torch.uint8).tolist())
        for name, one in tensors.items()
    }


def test_tensors_of_every_dtype_open_in_safetensors_torch(path):
    files.save(path, {**TENSORS, "strided": torch.arange(12.0).reshape(3, 4).t()[::2], "expanded": torch.ones(1)[0]})
    found = st.load_file(path)
    assert torch.equal(found.pop("strided"), torch.arange(12.0).reshape(3, 4).t()[::2])
    del found["expanded"]
    assert bits(found) == bits(TENSORS)


def test_what_save_file_writes_is_loaded_and_restored(path):
    st.save_file(TENSORS, path, metadata={"format": "pt"})
    found = files.load(path, framework="torch")
    assert bits(found) == bits(TENSORS)
    target = {name: torch.zeros_like(one) for name, one in TENSORS.items()}
    before = dict(target)
    files.restore(path, target)
    assert bits(target) == bits(TENSORS)
    assert all(target[name] is one for name, one in before.items())


def test_what_save_file_writes_of_a_state_dict_is_restored_into_a_model(path):
    model, other = convolutional(0), convolutional(1)
    st.save_file({name: one.contiguous() for name, one in model.state_dict().items()}, path)
    assert files.restore(path, other) is other
    assert equal(other.state_dict(), model.state_dict())


def test_what_save_model_writes_of_a_tied_model_is_loaded_tied_and_restored(path):
    model, other = Tied(0), Tied(1)
    st.save_model(model, path, metadata={"format": "pt"})
    found = files.load(path, framework="torch")
    assert equal(found, dict(model.state_dict()))
    assert found["head.weight"].data_ptr() == found["embedding.weight"].data_ptr()
    files.restore(path, other)
    assert equal(other.state_dict(), model.state_dict())
    assert other.head.weight is other.embedding.weight


def test_a_tied_model_of_another_file_is_not_restored_where_the_weights_differ(path):
    model, other = Tied(0), Tied(1)
    state = {name: one.clone() for name, one in model.state_dict().items()}
    state["head.weight"] += 1
    st.save_file(state, path)
    before = {name: one.clone() for name, one in other.state_dict().items()}
    with pytest.raises(MismatchError, match=r"head\.weight"):
        files.restore(path, other)
    assert equal(before, other.state_dict())


def test_a_file_of_a_bfloat16_model_is_restored_into_a_float32_model_where_casting_allows_it(path):
    model, other = Tied(0).bfloat16(), Tied(1)
    st.save_model(model, path)
    with pytest.raises(MismatchError, match="casting='no' does not allow it"):
        files.restore(path, other)
    files.restore(path, other, casting="same_kind")
    assert equal(other.state_dict(), {name: one.float() for name, one in model.state_dict().items()})


def test_a_tree_that_load_file_returned_is_a_source(path):
    model, other = convolutional(0), convolutional(1)
    files.save(path, model)
    state = {name: one * 2 for name, one in st.load_file(path).items()}
    files.restore(state, other)
    assert equal(other.state_dict(), {name: one * 2 for name, one in model.state_dict().items()})
