"""An outline reads a target as a capture would, or says that it cannot."""

from __future__ import annotations

import random
from collections import OrderedDict, defaultdict, deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from holdfast.format import header
from holdfast.state import arrays, sharing, specs
from holdfast.state.capture import capture
from holdfast.state.outline import Outline, outline_of
from holdfast.state.reading import Reading, read
from holdfast.state.specs import Changed
from holdfast.state.tree import Array, StateTree
from state.array_strategies import Pair
from state.strategies import pairs

EXAMPLES = settings(deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])


def shown(reading: Reading) -> tuple[Any, ...]:
    """What a reading is, for comparison: arrays that exist by themselves are the very same objects."""
    arrays = [(type(one).__module__, str(one.dtype), tuple(one.shape)) for one in reading.arrays]
    return arrays, [bytes(one) for one in reading.packed], reading.values


def outline(target: Any) -> Outline:
    found = outline_of(capture(target))
    assert found is not None
    return found


@settings(EXAMPLES, max_examples=500)
@given(pairs())
def test_what_an_outline_reads_is_what_a_capture_finds(pair: Pair):
    tree = capture(pair.saved)
    known = outline_of(tree)
    if known is None:
        return
    for target in (pair.saved, pair.fresh):
        try:
            found = known.read(target)
        except Changed:
            assert target is not pair.saved or interleaves(tree)
            continue
        wanted = capture(target)
        assert header.plan(wanted) == header.plan(tree)
        assert shown(found) == shown(read(wanted))


def interleaves(tree: StateTree) -> bool:
    """Whether arrays that share no byte lie between one another's first and last: an outline does not look closer."""
    sources = [node.leaf.source for node in tree.holders() if isinstance(node, Array)]
    extents = [sharing.extent_of(one, arrays.framework_of(one) or "") for one in sources]
    return bool(sharing.overlapping([(extent, extent) for extent in extents if extent is not None]))


def test_arrays_are_the_live_ones_with_their_addresses():
    target = {"a": np.arange(3), "b": [np.zeros((2, 2)), np.asfortranarray(np.eye(3))], "n": 4}
    found = outline(target).read(target)
    assert [id(one) for one in found.arrays] == [id(target["a"]), id(target["b"][0]), id(target["b"][1])]
    assert found.addresses == [target["a"].ctypes.data, target["b"][0].ctypes.data, 0]
    assert found.values == [4]


def test_new_arrays_values_and_longer_packed_values_are_no_change():
    known = outline({"a": np.arange(3), "loss": 0.5, "log": list(range(1000)), "text": "x" * 999, "last": None})
    later = {"a": np.ones(3, int), "loss": None, "log": list(range(2000)), "text": "y" * 1999, "last": 3}
    found = known.read(later)
    assert found.arrays[0] is later["a"]
    assert shown(found) == shown(read(capture(later)))


@dataclass
class Point:
    x: Any
    y: Any = 0


class Thing:
    """Of Chainer's kind."""

    def __init__(self, **parts: Any) -> None:
        self.parts = parts

    def serialize(self, serializer: Any) -> None:
        for name, part in self.parts.items():
            serializer(name, part)
        serializer["unused"]


CHANGES = {
    "another key": ({"a": 1}, {"b": 1}),
    "a further key": ({"a": 1}, {"a": 1, "b": 1}),
    "keys in another order": ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    "a key of another type": ({1: 1}, {True: 1}),
    "a key of a subclass of str": ({"a": 1}, {type("S", (str,), {})("a"): 1}),
    "another container": ([1], (1,)),
    "another mapping": ({"a": 1}, OrderedDict(a=1)),
    "a further element": ([1], [1, 2]),
    "a value where an array was": ({"a": np.zeros(2)}, {"a": 1.0}),
    "an array where a value was": ({"a": 1.0}, {"a": np.zeros(2)}),
    "a container where a value was": ({"a": 1.0}, {"a": {}}),
    "another shape": (np.zeros(4), np.zeros((2, 2))),
    "another dtype": (np.zeros(4), np.zeros(4, np.float32)),
    "another byte order": (np.zeros(4), np.zeros(4, ">f8")),
    "a long text where a short one was": ("x", "x" * 999),
    "a short text where a long one was": ("x" * 999, "x"),
    "bytes where a text was": ("x" * 999, b"x" * 999),
    "few values where many were": (list(range(1000)), [1, 2]),
    "another number of attributes": (Point(1), Point([1])),
    "another part of what serializes itself": (Thing(a=1), Thing(b=1)),
    "a deque of another length": (deque([1], 5), deque([1], 6)),
    "another generator": (np.random.default_rng(0), np.random.Generator(np.random.MT19937(0))),
    "an array of objects": (np.zeros(1), np.array([None])),
}


@pytest.mark.parametrize(("before", "after"), CHANGES.values(), ids=CHANGES)
def test_a_change_of_shape_is_found(before: Any, after: Any):
    known = outline(before)
    known.read(before)
    with pytest.raises(Changed):
        known.read(after)


UNCHANGED = {
    "a dataclass": (Point(np.zeros(2), 1), Point(np.ones(2), 2)),
    "what serializes itself": (Thing(a=1, b=np.zeros(2)), Thing(a=2, b=np.ones(2))),
    "a default dict": (defaultdict(list, a=[1]), defaultdict(None, a=[2])),
    "a generator": (np.random.default_rng(0), np.random.default_rng(1)),
    "Python's generator": (random.Random(0), random.Random(1)),
    "a set": ({1, 2}, {3, 4}),
}


@pytest.mark.parametrize(("before", "after"), UNCHANGED.values(), ids=UNCHANGED)
def test_what_is_no_plain_container_is_read_as_a_capture_does(before: Any, after: Any):
    assert shown(outline(before).read(after)) == shown(read(capture(after)))


# Shared memory


def test_arrays_that_were_tied_must_still_be_the_same_memory():
    a = np.arange(4.0)
    known = outline({"a": a, "b": a, "c": np.zeros(4)})
    b = np.zeros(4)
    found = known.read({"a": b, "b": b.view(), "c": a})
    assert [one is two for one, two in zip(found.arrays, (b, a), strict=True)] == [True, True]
    with pytest.raises(Changed):
        known.read({"a": a, "b": a.copy(), "c": b})


def test_arrays_that_were_apart_must_still_be_apart():
    known = outline({"a": np.zeros(4), "b": np.zeros(4)})
    one = np.zeros(6)
    with pytest.raises(Changed):
        known.read({"a": one[:4], "b": one[:4]})
    with pytest.raises(Changed):
        known.read({"a": one[:4], "b": one[2:]})
    with pytest.raises(Changed):
        known.read({"a": one[:4], "b": np.broadcast_to(one[:1], (4,))})
    with pytest.raises(Changed):
        known.read({"a": np.zeros(4), "b": np.broadcast_to(np.zeros(1), (4,))})
    wide = np.zeros(8)
    assert known.read({"a": wide[:4], "b": wide[4:]}).arrays[1].base is wide


def test_overlapping_arrays_have_no_outline():
    one = np.zeros(6)
    assert outline_of(capture({"a": one[:4], "b": one[2:]})) is None


# torch


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def test_modules_and_optimizers_are_read_through_their_state(torch):
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(2, 3)).sum().backward()
    target = {"model": model, "optimizer": optimizer, "step": 0}
    fresh = outline(target)
    optimizer.step()
    with pytest.raises(Changed):  # it has moments now
        fresh.read(target)
    known = outline(target)
    optimizer.step()
    target["step"] = 1
    found, wanted = known.read(target), read(capture(target))
    assert shown(found) == shown(wanted)
    assert found.addresses == wanted.addresses
    assert all(torch.equal(one, two) for one, two in zip(found.arrays, wanted.arrays, strict=True))


@pytest.fixture(params=["asked at once", "asked one by one"])
def asking(request, torch, monkeypatch):
    """Tensors are compared by torch's guards, and where it has none."""
    if request.param == "asked one by one":
        monkeypatch.delattr(torch._C._dynamo.guards, "TensorGuards")


def test_tensors_of_another_kind_are_found(torch, asking):
    known = outline({"a": torch.zeros(4), "b": torch.zeros(4)})
    for other in (
        torch.zeros(4, dtype=torch.float64),
        torch.zeros(2, 2),
        torch.zeros(4, device="meta"),
        torch.zeros(4).to_sparse(),
        torch.nn.parameter.UninitializedParameter(),
        type("Sub", (torch.Tensor,), {})(torch.zeros(4)),
        torch.zeros(1).expand(4),
        np.zeros(4, np.float32),
    ):
        with pytest.raises(Changed):
            known.read({"a": torch.zeros(4), "b": other})
    assert known.read({"a": torch.zeros(4), "b": torch.zeros(8)[::2]}).addresses[1] == 0


def test_conjugated_and_negated_tensors_are_read_by_value_and_not_by_address(torch, asking):
    for plain, other in (
        (torch.complex(torch.ones(3), torch.ones(3)), torch.conj),
        (torch.ones(3), torch._neg_view),
    ):
        known = outline({"a": plain})
        for _ in range(2):
            assert known.read({"a": plain}).addresses == [plain.data_ptr()]
            assert known.read({"a": other(plain)}).addresses == [0]


def test_what_does_not_matter_to_a_snapshot_is_no_change(torch, asking):
    a, b = torch.zeros(4), torch.ones(4)
    known = outline({"a": a, "n": np.zeros(2), "b": b})
    for one in (a, torch.ones(4, requires_grad=True), torch.nn.Parameter(torch.ones(4)), a):
        with torch.inference_mode(one is a):
            found = known.read({"a": one, "n": np.ones(2), "b": b})
        assert found.arrays[0] is one
        assert [found.addresses[0], found.addresses[2]] == [one.data_ptr(), b.data_ptr()]


def test_tensors_are_asked_about_all_at_once(torch, monkeypatch):
    target = {"a": torch.zeros(4), "b": torch.nn.Parameter(torch.zeros(2, 3))}
    known = outline(target)
    monkeypatch.setattr(specs._Torch, "shapes", lambda self, mine: pytest.fail("this torch's guards say no"))
    assert known.read(target).arrays == list(target.values())


# jax


def test_jax_arrays_are_new_ones_each_time(jax):
    jnp = jax.numpy
    known = outline({"a": jnp.arange(3), "b": jnp.zeros(2)})
    later = {"a": jnp.ones(3, int), "b": jnp.ones(2)}
    assert known.read(later).arrays[1] is later["b"]
    with pytest.raises(Changed):
        known.read({"a": jnp.zeros(3), "b": jnp.zeros(2)})
    with pytest.raises(Changed):
        outline({"a": later["b"], "b": jnp.zeros(2)}).read({"a": later["b"], "b": later["b"]})


@pytest.fixture
def jax():
    return pytest.importorskip("jax")
