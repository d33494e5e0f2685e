"""DictionarySerializer and NpzDeserializer, used by hand."""

from __future__ import annotations

import numpy as np
import pytest

import holdfast
from chainer_links import Link
from holdfast.serializers import DictionarySerializer, NpzDeserializer


def test_the_serializer_classes_work_as_chainers():
    serializer = DictionarySerializer()
    serializer.save(Link(2.0))
    serializer["deep"]("x", np.arange(3))
    assert serializer.target["child/count"] == 3
    assert serializer.target["deep/x"].tolist() == [0, 1, 2]
    target = Link()
    NpzDeserializer(serializer.target).load(target)
    assert (target.count, target.b, target.child.name) == (2, None, "link 3.0")


def test_a_dictionary_serializer_writes_below_its_path_and_copies():
    target, array = {}, np.arange(3)
    child = DictionarySerializer(target)["/a/"]
    assert child("b", array) is array
    array[:] = 9
    assert target["a/b"].tolist() == [0, 1, 2]


def test_a_deserializer_raises_key_error_unless_not_strict():
    with pytest.raises(KeyError):
        NpzDeserializer({})("a", 1)
    assert NpzDeserializer({}, strict=False)("a", 1) == 1
    assert NpzDeserializer({"x/a": np.asarray(2)})["x"]("a", 1) == 2
    assert NpzDeserializer({"a": np.asarray(2)}, ignore_names="a")("a", 1) == 1
    assert "a" in NpzDeserializer({"a/b": np.zeros(1)})
    assert "b" not in NpzDeserializer({"a/b": np.zeros(1)})


def test_a_deserializer_loads_what_it_is_asked_for_and_no_more():
    class Counting(dict):
        loaded = ()

        def __getitem__(self, name):
            self.loaded = (*self.loaded, name)
            return super().__getitem__(name)

    npz = Counting({"x/a": np.asarray(1), "x/b": np.array(object()), "y/0": np.asarray(3), "y/1": np.asarray(4)})
    deserializer = NpzDeserializer(npz)
    assert deserializer["x"]("a", 0) == 1
    assert "x" in deserializer
    assert "z" not in deserializer
    assert deserializer("y", [0, 0]) == [3, 4]
    assert npz.loaded == ("x/a", "y/0", "y/1")


def test_what_has_no_serialize_method_is_saved_and_restored_too():
    serializer = DictionarySerializer(path="part/")
    serializer.save({"a": np.arange(2), "b": [1, 2.5]})
    assert sorted(serializer.target) == ["part/a", "part/b/~i0", "part/b/~i1"]
    target = {"a": np.zeros(2, int), "b": [0, 0.0]}
    NpzDeserializer(serializer.target, "part/").load(target)
    assert target["a"].tolist() == [0, 1]
    assert target["b"] == [1, 2.5]


def test_what_a_serializer_cannot_keep_is_named():
    with pytest.raises(holdfast.CaptureError, match="'deep/x' is an object"):
        DictionarySerializer(path="deep/")("deep/x", object())


def test_a_lenient_deserializer_restores_as_much_of_a_value_as_there_is():
    lenient = NpzDeserializer({"rows/a": np.asarray(2)}, strict=False)
    assert lenient("rows", {"a": 0, "b": 1}) == {"a": 2, "b": 1}
    with pytest.raises(holdfast.MismatchError, match=r"'deep/rows': .*\n.*missing in the snapshot: 'b'"):
        NpzDeserializer({"deep/rows/a": np.asarray(2)}, "deep/")("rows", {"a": 0, "b": 1})


def test_an_iterator_of_ignored_names_serves_every_part():
    deserializer = NpzDeserializer({"a/x": np.asarray(2), "b/x": np.asarray(2)}, ignore_names=iter(["a/x", "b/x"]))
    assert [deserializer[part]("x", 1) for part in ("a", "b")] == [1, 1]


def test_a_value_of_none_takes_what_is_stored():
    found = NpzDeserializer({"a": np.arange(2)})("a", None)
    assert found.tolist() == [0, 1]
