"""The base classes of serializers, and how Chainer's own code takes holdfast's serializers for its own."""

from __future__ import annotations

import sys
import types

import pytest

from holdfast.serializers.hdf5 import HDF5Deserializer, HDF5Serializer
from holdfast.serializers.npz import DictionarySerializer, NpzDeserializer
from holdfast.state.serializer import AbstractSerializer, Deserializer, Serializer


class Counter:
    n = 0

    def serialize(self, serializer):
        self.n = serializer("n", self.n)


class Saving(Serializer):
    """The least of serializers, as a program that used Chainer has its own."""

    def __init__(self, saved):
        self.saved = saved

    def __getitem__(self, key):
        return Saving(self.saved)

    def __call__(self, key, value):
        self.saved[key] = value
        return value


class Restoring(Deserializer):
    def __init__(self, saved):
        self.saved = saved

    def __call__(self, key, value):
        return self.saved[key]


@pytest.fixture
def chainer(monkeypatch):
    """As much of Chainer as is asked for."""
    module = types.ModuleType("chainer")
    module.AbstractSerializer = type("AbstractSerializer", (), {})
    module.Serializer = type("Serializer", (module.AbstractSerializer,), {"save": None})
    module.Deserializer = type("Deserializer", (module.AbstractSerializer,), {"load": None})
    monkeypatch.setitem(sys.modules, "chainer", module)
    return module


def test_a_class_of_the_users_saves_and_restores_by_the_one_method():
    counter, saved = Counter(), {}
    counter.n = 3
    Saving(saved).save(counter)
    fresh = Counter()
    Restoring(saved).load(fresh)
    assert fresh.n == 3


@pytest.mark.parametrize("call", [lambda one: one["key"], lambda one: one("key", 1)])
def test_what_a_class_must_define_is_said(call):
    with pytest.raises(NotImplementedError, match="AbstractSerializer must define __"):
        call(AbstractSerializer())


@pytest.mark.parametrize("kind", [Serializer, Saving, DictionarySerializer, HDF5Serializer])
def test_what_saves_is_a_serializer(kind):
    assert issubclass(kind, Serializer)
    assert not issubclass(kind, Deserializer)


@pytest.mark.parametrize("kind", [Deserializer, Restoring, NpzDeserializer, HDF5Deserializer])
def test_what_restores_is_a_deserializer(kind):
    assert issubclass(kind, Deserializer)
    assert not issubclass(kind, Serializer)


def test_without_chainer_an_object_is_of_its_class_alone(monkeypatch):
    monkeypatch.delitem(sys.modules, "chainer", raising=False)
    assert type(Saving({})) is Saving


def test_with_chainer_it_is_one_of_chainers_too(chainer):
    for one in (Saving({}), Saving({})["part"], DictionarySerializer(), DictionarySerializer()["part"]):
        assert isinstance(one, chainer.Serializer)
        assert not isinstance(one, chainer.Deserializer)
    for one in (Restoring({}), NpzDeserializer({}), NpzDeserializer({})["part"]):
        assert isinstance(one, chainer.Deserializer)
        assert not isinstance(one, chainer.Serializer)
    assert isinstance(AbstractSerializer(), chainer.AbstractSerializer)


def test_with_chainer_it_works_and_is_named_as_before(chainer):
    counter, serializer = Counter(), DictionarySerializer()
    counter.n = 3
    serializer.save(counter)
    fresh = Counter()
    NpzDeserializer(serializer.target).load(fresh)
    assert fresh.n == 3
    assert type(serializer).__qualname__ == "DictionarySerializer"
    assert type(serializer) is type(DictionarySerializer())


def test_a_class_that_is_chainers_already_stays_what_it_is(chainer):
    both = type("Both", (Saving, chainer.Serializer), {})
    assert type(both({})) is both
