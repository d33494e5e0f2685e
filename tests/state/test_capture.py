"""What becomes of a target when it is taken apart, and what is refused, with its path and what would work."""

from __future__ import annotations

import collections
import datetime
import enum
import functools
import gc
import random
import re
import threading
import time
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from holdfast.errors import CaptureError
from holdfast.format import header
from holdfast.state.capture import LONG_BRANCH, capture
from holdfast.state.encoding import MAX_DEPTH
from holdfast.state.restore import restore
from holdfast.state.tree import Array, Branch, Packed, Value
from state.users import Keyed, Point


class Own:
    """A class of the user's that no protocol knows."""

    def __init__(self):
        self.a = 1


class OnlyState:
    def state_dict(self):
        return {}


class Dict(dict):
    pass


class Str(str):
    __slots__ = ()


class Deque(collections.deque):
    pass


class Tensor(torch.Tensor):
    pass


class Odd(enum.Enum):
    ODD = Own()


@dataclass
class Undeclared:
    a: int

    def __post_init__(self):
        self.generator = random.Random(1)


@dataclass
class Cached:
    a: int

    @functools.cached_property
    def twice(self):
        return 2 * self.a


def _deleted():
    array = jnp.ones(3)
    array.delete()
    return array


def _traced():
    found = []
    jax.jit(lambda x: found.append(x) or x)(jnp.ones(2))
    return found[0]


def _inside_itself():
    found: list[Any] = []
    found.append({"a": found})
    return found


def _quantized():
    return torch._empty_affine_quantized([2], scale=0.1, zero_point=0, dtype=torch.quint8)


REFUSED = {
    "a loader": (lambda: torch.utils.data.DataLoader([1, 2]), "place in the epoch; leave it out, .*LoaderIterator"),
    "a lambda": (lambda: lambda: 3, "a function, code and no state; leave it out"),
    "a method": (lambda: Own().__init__, "code and no state; leave it out"),
    "a module": (lambda: re, "code and no state; leave it out"),
    "a class": (lambda: Own, "a class and no object; keep an instance"),
    "a bare object": (object, "is an object, which holdfast cannot take apart; leave it out"),
    "a class without protocol": (Own, r"test_capture\.Own, .*vars.*dataclass.*load_state_dict\(\)"),
    "state without a way back": (OnlyState, r"without load_state_dict\(\).*add the method"),
    "a lock": (threading.Lock, "cannot take apart; leave it out"),
    "a date": (lambda: datetime.date(2020, 1, 1), "keep what matters of it in plain values"),
    "a subclass of dict": (lambda: Dict(a=1), r"a kind of dict .*keep dict\(...\) of it"),
    "a subclass of str": (lambda: Str("a"), r"a kind of str .*keep str\(...\) of it"),
    "a subclass of deque": (lambda: Deque([1]), r"a kind of deque .*keep deque\(...\) of it"),
    "a result tuple of torch": (lambda: torch.ones(2, 2).max(0), r"keep tuple\(...\) of it"),
    "a bytearray": (lambda: bytearray(b"a"), "keep bytes, or a numpy array of uint8"),
    "itself": (_inside_itself, r"/~i0/a' is a list that contains itself"),
    "an undeclared attribute": (lambda: Undeclared(1), "attribute 'generator' that is no field .*declare it"),
    "an enum of objects": (lambda: Odd.ODD, r"/value' is a test_capture\.Own"),
    "a generator of the system": (random.SystemRandom, r"use random\.Random"),
    "a slice of floats": (lambda: slice(0.5), "ints and None, not float"),
    "an object as a key": (lambda: {Odd.ODD: 1}, "key <Odd.ODD.* of type Odd; keys are str, int,.*take its value"),
    "an array scalar as a key": (lambda: {np.int64(1): 1}, "of type int64"),
    "a key that is not itself": (lambda: {float("nan"): 1}, "the key nan, which is equal to no key"),
    "one inside a tuple": (lambda: {(1, (float("nan"),)): 1}, "the key nan"),
    "a key as long as a path": (lambda: {1 << 5000: 1}, "of 5001 bits"),
    "a set of tensors": (lambda: {torch.ones(1)}, "a set with the element tensor.*plain values and tuples"),
    "a set of a user's class": (lambda: {Point(1, 2)}, r"a set with the element Point.*could not give back"),
    "a frozenset of these": (lambda: frozenset([Odd.ODD]), r"a test_capture\.Own, which"),
    "an array of objects": (lambda: np.array([1, None], object), "addresses, not values; keep a list"),
    "a record with objects": (lambda: np.zeros(2, [("a", "O")]), "addresses, not values"),
    "a masked array": (lambda: np.ma.array([1], mask=[1]), r"MaskedArray is more than an array; keep numpy\.asarray"),
    "a matrix": (lambda: np.asmatrix([1]), "a matrix is more than an array"),
    "titles": (lambda: np.zeros(1, np.dtype({"names": ["a"], "formats": ["i4"], "titles": ["t"]})), "titles"),
    "a sparse tensor": (lambda: torch.eye(2).to_sparse(), r"sparse_coo .*to_dense\(\).*after a step.*sparse=False"),
    "a meta tensor": (lambda: torch.ones(2, device="meta"), r"no values; materialise it first"),
    "a quantized tensor": (_quantized, r"int_repr\(\).*dequantize\(\)"),
    "a subclass of Tensor": (lambda: torch.ones(2).as_subclass(Tensor), r"Tensor is more than a tensor"),
    "a half complex tensor": (lambda: torch.ones(2, dtype=torch.complex32), r"complex32 cannot be kept; convert it"),
    "a parameter without a shape": (lambda: torch.nn.LazyLinear(2).weight, "no shape yet; keep its module"),
    "a deleted jax array": (_deleted, "was deleted, probably donated"),
    "a traced jax array": (_traced, r"traced by jax\.jit"),
    "a place for a jax array": (lambda: jax.ShapeDtypeStruct((2,), np.float32), "a place for an array, without values"),
    "a place for a jax key": (lambda: jax.eval_shape(lambda: jax.random.key(0)), "a place for an array"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.filterwarnings(
    "ignore:ComplexHalf support is experimental:UserWarning", "ignore:torch.quantize_per:UserWarning"
)
@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_what_cannot_be_kept_is_refused_by_its_path_and_with_what_would_work(what):
    make, said = REFUSED[what]
    with pytest.raises(CaptureError, match=said) as caught:
        capture({"state": [{"it": make()}]})
    assert str(caught.value).startswith("'state/~i0/it")
    with pytest.raises(CaptureError, match=r"^the target|^'"):
        capture(make())


def test_what_a_serialize_method_refuses_is_named_by_its_path():
    class Link:
        def serialize(self, serializer):
            serializer["l1"]("W", object())

    with pytest.raises(CaptureError, match=r"^'net/l1/W' is an object"):
        capture({"net": Link()})


def test_a_long_path_is_shortened_in_the_message():
    with pytest.raises(CaptureError) as caught:
        capture({"a" * 300: {"b" * 300: object()}})
    assert len(str(caught.value)) < 400


def test_a_target_may_be_as_deep_as_a_file_can_be_and_no_deeper():
    def nested(depth: int) -> Any:
        return [] if not depth else [nested(depth - 1)]

    header.plan(capture(nested(MAX_DEPTH - 1)))
    with pytest.raises(CaptureError, match=f"over {MAX_DEPTH} levels deep; flatten"):
        capture(nested(MAX_DEPTH))


def test_nothing_is_copied():
    array, tensor = np.arange(3), torch.arange(3)
    leaves = capture({"a": array, "t": tensor}).leaves()
    assert leaves[0].source is array
    assert leaves[1].source is tensor


class Both:
    """Has Chainer's protocol and torch's."""

    def serialize(self, serializer):
        serializer("by", "serialize")

    def state_dict(self):
        return {"by": "state_dict"}

    def load_state_dict(self, state):
        raise AssertionError


def test_serialize_is_asked_before_state_dict():
    assert capture(Both()).root.children == (Value("str", "serialize"),)


def test_a_registered_pytree_gives_its_children_and_nothing_else():
    root = capture(Keyed(1, np.ones(2), static=object())).root
    assert (root.kind, root.keys) == ("pytree", ("a", "b"))


def test_a_module_and_its_state_dict_give_the_same_leaves():
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    paths = [leaf.path for leaf in capture(module).leaves()]
    assert paths == [leaf.path for leaf in capture(module.state_dict()).leaves()] == list(module.state_dict())


def test_a_lazy_module_that_did_not_run_has_nothing_for_its_parameters():
    assert capture(torch.nn.LazyLinear(2)).root.children == (Value("none", None), Value("none", None))


def test_a_cached_property_of_a_dataclass_is_no_state():
    one = Cached(2)
    assert one.twice == 4
    assert capture(one).root.keys == ("a",)


@pytest.mark.parametrize("value", ["x" * 257, b"x" * 257, "\U0001f600" * 257])
def test_a_long_text_is_a_leaf_of_its_own(value):
    assert isinstance(capture({"a": value}).root.children[0], Packed)
    assert restore(capture({"a": value}), {"a": type(value)()}) == {"a": value}


@pytest.mark.parametrize("value", ["x" * 256, b"x" * 256, "\ud800" * 257])
def test_a_short_text_and_one_that_is_no_unicode_stand_in_the_header(value):
    assert isinstance(capture({"a": value}).root.children[0], Value)


def test_many_plain_values_are_one_leaf():
    def values(count: int) -> Branch:
        branch = capture({"log": {"loss": list(range(count)), "name": "a"}, "w": np.ones(1)}).root
        assert isinstance(branch.children[1], Array)
        return branch.children[0]

    assert isinstance(values(LONG_BRANCH - 2), Branch)
    assert isinstance(values(LONG_BRANCH - 1), Packed)


def test_one_array_among_many_plain_values_keeps_its_own_leaf():
    root = capture([*range(LONG_BRANCH), np.ones(1)]).root
    assert isinstance(root.children[-1], Array)


def test_an_object_is_captured_again_wherever_it_stands():
    shared = [1]
    assert restore(capture({"a": shared, "b": shared}), {"a": [], "b": []}) == {"a": [1], "b": [1]}


class Trainer:
    """Has a state of its own, and keeps that of its surroundings beside it."""

    def __init__(self, value: Any, surroundings: Any):
        self.value, self.surroundings = value, surroundings
        self.given: Any = None

    def serialize(self, serializer):
        self.value = serializer("value", self.value)

    def reserved_state(self):
        return self.surroundings

    def restore_reserved(self, node):
        self.given = node


def test_what_a_trainer_reserves_lies_beside_its_state():
    tree = capture(Trainer(3, {"python": random.Random(1)}))
    assert tree.root.keys == ("value",)
    assert tree.reserved.keys == ("python",)
    assert [leaf.path for leaf in tree.leaves()] == ["~run/python/words"]


def test_what_a_trainer_reserves_must_have_parts():
    with pytest.raises(CaptureError, match="must be a dict"):
        capture(Trainer(3, 4))


def test_the_collector_runs_again_after_a_capture_that_failed():
    with pytest.raises(CaptureError):
        capture(object())
    assert gc.isenabled()


def test_the_order_of_a_set_is_the_same_in_every_capture():
    one, other = {0}, {8}
    one.add(8)
    other.add(0)
    assert list(one) != list(other)
    assert capture(one).root == capture(other).root


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_the_cost_grows_with_the_number_of_arrays_and_no_faster(kind):
    count = 50_000 if kind == "numpy" else 10_000
    make = (lambda: np.zeros(256, np.float32)) if kind == "numpy" else (lambda: torch.zeros(256))
    saved, fresh = ({f"layer{number}": make() for number in range(count)} for _ in range(2))
    start = time.process_time()
    restore(capture(saved), fresh)
    assert time.process_time() - start < 15  # takes 1; looking through all keys for each took minutes
