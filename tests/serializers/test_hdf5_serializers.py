"""HDF5Serializer and HDF5Deserializer, used by hand."""

from __future__ import annotations

import numpy as np
import pytest

import holdfast
from chainer_links import NAMES, Link, names_in
from holdfast.serializers.hdf5 import HDF5Deserializer, HDF5Serializer

h5py = pytest.importorskip("h5py")


def test_the_serializers_work_as_chainers(path):
    with h5py.File(path, "w") as file:
        serializer = HDF5Serializer(file, compression=9)
        serializer.save(Link(2.0))
        array = np.arange(3)
        assert serializer["deep"]["/deeper/"]("/x", array) is array
        assert serializer["deep"].group == file["deep"]
        assert (serializer.compression, serializer["deep"].compression) == (9, 9)
    assert names_in(path) == sorted([*NAMES, "deep/deeper/x"])
    with h5py.File(path, "r") as file:
        deserializer = HDF5Deserializer(file)
        target = Link()
        deserializer.load(target)
        assert (target.count, target.b, target.child.name) == (2, None, "link 3.0")
        assert deserializer["deep"]["deeper"]("x", None).tolist() == [0, 1, 2]
        assert deserializer["deep"]("deeper/x", np.zeros(3, int)).tolist() == [0, 1, 2]


def test_what_has_no_serialize_method_is_saved_and_restored_too(path):
    with h5py.File(path, "w") as file:
        HDF5Serializer(file.create_group("part")).save({"a": np.arange(2), "b": [1, 2.5]})
        target = {"a": np.zeros(2, int), "b": [0, 0.0]}
        HDF5Deserializer(file["part"]).load(target)
    assert target["a"].tolist() == [0, 1]
    assert target["b"] == [1, 2.5]


def test_a_deserializer_raises_key_error_unless_not_strict_and_changes_no_file(path):
    with h5py.File(path, "w") as file:
        file["part/a"] = 2
        strict, lenient = HDF5Deserializer(file), HDF5Deserializer(file, strict=False)
        asked = [(strict, "b"), (strict["part"], "part/b"), (strict["none"]["/deep/"], "none/deep/b")]
        for deserializer, name in asked:
            with pytest.raises(KeyError, match=f"the snapshot holds no '{name}'"):
                deserializer("b", 1)
        assert (lenient("b", 1), lenient["none"]["b"]("b", 1), lenient["part"]("a", 1)) == (1, 1, 2)
        assert list(file) == ["part"]


def test_a_deserializer_tells_what_there_is(path):
    with h5py.File(path, "w") as file:
        file["part/a"] = 2
        deserializer = HDF5Deserializer(file)
        assert "part" in deserializer
        assert "part/a" in deserializer
        assert "a" in deserializer["part"]
        assert "b" not in deserializer["part"]
        assert "a" not in deserializer["none"]
        assert "a/b" not in deserializer["part"]
        assert "b" not in deserializer["part/a"]


def test_a_name_that_is_taken_is_refused(path):
    with h5py.File(path, "w") as file:
        serializer = HDF5Serializer(file)
        serializer("a", 1)
        with pytest.raises(holdfast.CaptureError, match=r"'a' cannot be written to '/'.*exists"):
            serializer("a", 2)
        assert file["a"][()] == 1


def test_what_is_no_group_is_refused():
    with pytest.raises(TypeError, match=r"HDF5Serializer: group is a dict, wanted an h5py\.Group"):
        HDF5Serializer({})
    with pytest.raises(TypeError, match="HDF5Deserializer: group is a str"):
        HDF5Deserializer("file.h5")
