"""Plain safetensors files: what other libraries write is read, and what they refuse is refused."""

from __future__ import annotations

import copy
import json
import struct
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from format.handmade import bytes_of
from holdfast.errors import DamagedError, UnknownFormatError
from holdfast.format import reader
from holdfast.format.safetensors_file import MAX_JSON
from holdfast.state import dtypes
from holdfast.state.tree import Array, Branch, StateTree

ARRAYS = {
    "layer/0.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "n": np.array(3, np.int64),
    "empty": np.zeros((0, 4), np.float16),
    "flags": np.array([True, False]),
}


def tree_of(file: bytes) -> StateTree:
    with reader.parse(memoryview(file), "here") as opened:
        assert opened.format == "safetensors"
        return opened.tree()


def plain(spec: Any, data: bytes = b"", spaces: int = 0) -> bytes:
    text = spec if isinstance(spec, bytes) else json.dumps(spec).encode()
    text += b" " * spaces
    return struct.pack("<Q", len(text)) + text + data


def entry(start: int = 0, end: int = 8, dtype: Any = "F32", shape: Any = (2,), **more: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end], **more}


def test_arrays_stand_flat_under_their_whole_names():
    tree = tree_of(safetensors.numpy.save(ARRAYS))
    assert isinstance(tree.root, Branch)
    assert tree.root.kind == "untyped"
    assert tree.reserved is None
    found = dict(zip(tree.root.keys, tree.root.children, strict=True))
    assert set(found) == set(ARRAYS)
    for name, one in ARRAYS.items():
        node = found[name]
        assert isinstance(node, Array)
        assert node.leaf.path == name
        assert dtypes.to_numpy(node.leaf.dtype) == one.dtype
        assert node.leaf.shape == one.shape
        assert bytes_of(node.leaf) == one.tobytes()
        assert not node.leaf.source.flags.writeable


@pytest.mark.parametrize("dtype", sorted(dtypes.ITEM_SIZES))
def test_every_dtype_of_safetensors_that_whole_bytes_hold_is_known_and_of_its_size(dtype):
    size = 2 * dtypes.ITEM_SIZES[dtype]
    file = plain({"w": entry(0, size, dtype)}, bytes(size))
    [(_, found)] = safetensors.deserialize(file)
    assert (found["dtype"], found["shape"]) == (dtype, [2])
    [leaf] = tree_of(file).leaves()
    assert (leaf.dtype, leaf.shape, leaf.nbytes) == (dtype, (2,), size)


@pytest.mark.parametrize("dtype", ["F4", "F6_E2M3", "F6_E3M2", "F128", "f32", ""])
def test_a_dtype_that_holdfast_lacks_is_of_an_unknown_format(dtype):
    with pytest.raises(
        UnknownFormatError, match=f"here: the entry 'w' has the dtype '{dtype}', which holdfast does not"
    ):
        tree_of(plain({"w": entry(dtype=dtype)}, bytes(8)))


def test_the_metadata_is_the_files_own():
    file = safetensors.numpy.save(ARRAYS, metadata={"format": "np", "note": "é"})
    with reader.parse(memoryview(file), "here") as opened:
        assert opened.metadata() == {"format": "np", "note": "é"}
        assert opened.facts is None


def test_a_file_without_metadata_has_none():
    with reader.parse(memoryview(safetensors.numpy.save(ARRAYS)), "here") as opened:
        assert opened.metadata() == {}


def test_a_pair_of_names_of_which_one_is_an_array_is_a_tied_one():
    spec = {"__metadata__": {"tied": "w", "w": "note", "format": "pt", "far": "tied"}, "w": entry()}
    tree = tree_of(plain(spec, bytes(8)))
    assert isinstance(tree.root, Branch)
    assert tree.root.keys == ("w", "tied")
    first, second = tree.root.children
    assert isinstance(first, Array)
    assert isinstance(second, Array)
    assert first.leaf is second.leaf


def test_a_tied_model_that_safetensors_saved_comes_back_tied(tmp_path):
    torch = pytest.importorskip("torch")
    save_model = pytest.importorskip("safetensors.torch").save_model
    model = torch.nn.Sequential(torch.nn.Linear(3, 3, bias=False), torch.nn.Linear(3, 3, bias=False))
    model[1].weight = model[0].weight
    save_model(model, str(tmp_path / "model.safetensors"))
    with reader.open_file(tmp_path / "model.safetensors") as file:
        root = file.tree().root
    assert isinstance(root, Branch)
    assert set(root.keys) == {"0.weight", "1.weight"}
    assert len({id(node.leaf) for node in root.children if isinstance(node, Array)}) == 1


GOOD = {
    "__metadata__": {"format": "pt"},
    "a": entry(8, 16),
    "b": entry(0, 8, "U8", [2, 4]),
    "c": entry(8, 8, shape=[0]),
}


def changed(*path: Any, to: Any) -> dict[str, Any]:
    spec = copy.deepcopy(GOOD)
    at: Any = spec
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = to
    return spec


def test_entries_may_stand_in_any_order_with_spaces_behind_them_and_keys_of_their_own():
    spec = changed("a", to=entry(8, 16, more=1))
    file = plain(spec, bytes(range(16)), spaces=13)
    safetensors.deserialize(file)
    assert {leaf.path: bytes_of(leaf) for leaf in tree_of(file).leaves()} == {
        "a": bytes(range(8, 16)),
        "b": bytes(range(8)),
        "c": b"",
    }


BAD = {
    "a hole": (changed("a", to=entry(9, 17)), 17),
    "an overlap": (changed("a", to=entry(4, 12)), 12),
    "two at one place": (changed("a", to=entry(0, 8)), 8),
    "bytes behind the last": (GOOD, 17),
    "bytes missing": (GOOD, 15),
    "no bytes": (GOOD, 0),
    "another size than the shape": (changed("a", to=entry(8, 16, shape=[3])), 16),
    "offsets backwards": (changed("a", "data_offsets", to=[16, 8]), 16),
    "three offsets": (changed("a", "data_offsets", to=[8, 16, 16]), 16),
    "negative offsets": (changed("b", "data_offsets", to=[-8, 0]), 16),
    "offsets of floats": (changed("a", "data_offsets", to=[8.0, 16.0]), 16),
    "a shape that overflows": (changed("a", "shape", to=[1 << 62, 1 << 62]), 16),
    "a negative axis": (changed("a", "shape", to=[-2]), 16),
    "a shape that is no list": (changed("a", "shape", to=2), 16),
    "no dtype": (changed("a", to={"shape": [2], "data_offsets": [8, 16]}), 16),
    "a dtype that is no text": (changed("a", "dtype", to=["F32"]), 16),
    "an entry that is no object": (changed("a", to=[]), 16),
    "metadata that is no text": (changed("__metadata__", "format", to=1), 16),
    "metadata that is a list": (changed("__metadata__", to=[]), 16),
    "a list": ([], 0),
}


@pytest.mark.parametrize(("spec", "size"), BAD.values(), ids=BAD)
def test_what_safetensors_refuses_is_damage(spec, size):
    file = plain(json.dumps(spec).encode().replace(b"[]", b'{"x":[]}', 1) if spec == [] else spec, bytes(size))
    with pytest.raises(safetensors.SafetensorError):
        safetensors.deserialize(file)
    with pytest.raises(DamagedError, match=r"^here: the header \(bytes 0-\d+\) is none of a safetensors file"):
        tree_of(file)


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":',
        b'{"a":1}}',
        b'{"\xff":{}}',
        b'{ "\\ud800":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}',
        b'{"a' + b"[" * 9999,
    ],
)
def test_a_header_that_is_no_json_is_damage(text):
    with pytest.raises(safetensors.SafetensorError):
        safetensors.deserialize(plain(text))
    with pytest.raises(DamagedError, match="is none of a safetensors file"):
        tree_of(plain(text))


@pytest.mark.parametrize(
    "text",
    [b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'],
)
def test_a_name_that_stands_twice_is_damage(text):
    with pytest.raises(DamagedError, match="the key 'a' twice"):
        tree_of(plain(text))


@pytest.mark.parametrize("cut", [1, 8, 16, 30, 60])
def test_a_file_that_is_cut_off_is_damage(cut):
    file = safetensors.numpy.save({"w": np.arange(2.0)})
    with pytest.raises(DamagedError, match="here: "):
        tree_of(file[:-cut])


def test_a_header_over_100_mb_is_not_read():
    assert MAX_JSON == 100_000_000
    with pytest.raises(
        DamagedError, match=r"the header \(bytes 0-7\) gives its own length as 100000001 bytes, at most 100000000"
    ):
        tree_of(struct.pack("<Q", MAX_JSON + 1) + b'{"a":1}')


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=120).map(lambda text: plain(b'{"' + text))
    | st.integers(0, 200).flatmap(
        lambda at: st.integers(0, 255).map(
            lambda byte: bytes(byte if i == at else c for i, c in enumerate(plain(GOOD, bytes(16))))
        )
    )
)
def test_whatever_stands_in_a_file_the_errors_are_holdfasts_own(file):
    try:
        with reader.parse(memoryview(file), "here") as opened:
            found = opened.tree()
    except (DamagedError, UnknownFormatError):
        return
    assert sum(leaf.nbytes for leaf in found.leaves()) <= len(file)
