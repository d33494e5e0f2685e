"""Containers taken apart and put together."""

from __future__ import annotations

import enum
import time
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
import pytest

from holdfast.errors import CaptureError, MismatchError
from holdfast.state import containers
from holdfast.state.containers import Parts, change, is_hollow, is_pytree, put_together, take_apart
from state.same import bits
from state.users import Colour, Frozen, FrozenSlots, Keyed, Level, Mode, Node, Plain, Point, Registered, Slots


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ({"a": 1, 2: 3}, Parts("dict", ("a", 2), (1, 3))),
        (OrderedDict(b=1), Parts("OrderedDict", ("b",), (1,))),
        (Counter("aa"), Parts("Counter", ("a",), (2,))),
        (defaultdict(int, a=1), Parts("defaultdict", ("a",), (1,))),
        ([5, 6], Parts("list", (0, 1), (5, 6))),
        ((5,), Parts("tuple", (0,), (5,))),
        (deque([5]), Parts("deque", (0,), (5,))),
        (deque([5], 3), Parts("deque", (0,), (5,), 3)),
        ({2, 1}, Parts("set", (0, 1), (1, 2))),
        (frozenset(), Parts("frozenset", (), ())),
        (Point(1, 2), Parts("namedtuple", ("a", "b"), (1, 2))),
        (Plain(1, 2), Parts("dataclass", ("a", "b"), (1, 2))),
        (FrozenSlots(1, 2), Parts("dataclass", ("a", "b"), (1, 2))),
        (Colour.BLUE, Parts("enum", ("value",), ((0, 0, 1.0),))),
        (Level.HIGH, Parts("enum", ("value",), (2,))),
        (Mode.READ | Mode.WRITE, Parts("enum", ("value",), (3,))),
        (Node(1, None), Parts("pytree", (0, 1), (1, None))),
        (Keyed(1, 2), Parts("pytree", ("a", "b"), (1, 2))),
        (Registered(1, 2), Parts("pytree", ("a", "b"), (1, 2))),
    ],
)
def test_every_container_is_taken_apart(value, wanted):
    assert take_apart(value) == wanted


@pytest.mark.parametrize("value", [3, "a", None, np.ones(1), object(), Plain, Colour, int])
def test_what_is_no_container_is_left_alone(value):
    assert take_apart(value) is None


@pytest.mark.parametrize(
    "value",
    [
        {"a": 1}, OrderedDict(a=1), Counter("a"), defaultdict(list, a=1), [1], (1,), deque([1], 3), {1}, frozenset([1]),
        Point(1, 2), Plain(1, 2), Slots(1, 2), Frozen(1, 2), FrozenSlots(1, 2), Colour.RED, Mode.READ | Mode.WRITE,
        Node(1, 2), Keyed(1, 2), Registered(1, 2),
    ],
)  # fmt: skip
def test_what_was_taken_apart_is_put_together_to_the_same(value):
    parts = take_apart(value)
    made = put_together(parts.kind, parts.keys, parts.children, parts.meta, like=value)
    assert bits(made) == bits(value)
    assert made is not value or isinstance(value, enum.Enum | tuple | frozenset)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (Point(1, 2), (1, 2)), (Plain(1, 2), {"a": 1, "b": 2}), (Colour.GREEN, "green"), (Node(1, 2), (1, 2)),
        (Keyed(1, 2), {"a": 1, "b": 2}), (defaultdict(list, a=1), defaultdict(None, a=1)),
        (deque([1], 3), deque([1], 3)),
    ],
)  # fmt: skip
def test_without_a_target_a_users_class_becomes_what_is_closest(value, wanted):
    parts = take_apart(value)
    assert bits(put_together(parts.kind, parts.keys, parts.children, parts.meta)) == bits(wanted)


def test_a_value_that_no_member_has_is_a_mismatch():
    with pytest.raises(MismatchError, match="Colour has no member with the value 'purple'"):
        put_together("enum", ("value",), ["purple"], like=Colour.RED)


@pytest.mark.parametrize("kind", ["set", "frozenset"])
def test_what_cannot_be_in_a_set_is_a_mismatch(kind):
    with pytest.raises(MismatchError, match=f"a {kind} holds what cannot be in one"):
        put_together(kind, (0,), [[1]])


def test_a_dataclass_with_a_field_that_was_never_set_keeps_the_others():
    @dataclass
    class Late:
        a: int
        b: Any = field(init=False)

    assert take_apart(Late(1)).keys == ("a",)


def test_a_frozen_dataclass_is_made_without_calling_it():
    @dataclass(frozen=True)
    class Once:
        a: int

        def __post_init__(self):
            if self.a == 2:
                raise AssertionError

    assert put_together("dataclass", ("a",), [2], like=Once(1)).a == 2


def test_a_named_tuple_is_made_without_calling_it():
    class Strict(namedtuple("Strict", "a")):
        def __new__(cls, a):
            raise AssertionError

    like = tuple.__new__(Strict, (1,))
    assert put_together("namedtuple", ("a",), [2], like=like).a == 2


@pytest.mark.parametrize(
    ("target", "kind", "keys", "children", "wanted"),
    [
        ({"a": 1, "b": 2}, "dict", ("a",), [3], {"a": 3, "b": 2}),
        (OrderedDict(a=1, b=2), "OrderedDict", ("b", "a"), [3, 4], OrderedDict(b=3, a=4)),
        (Counter("ab"), "Counter", ("c",), [3], Counter(c=3)),
        (defaultdict(int, a=1), "defaultdict", ("c",), [3], {"c": 3}),
        ([1, 2], "list", (0,), [3], [3]),
        ({1, 2}, "set", (0,), [3], {3}),
        (deque([1, 2], 2), "deque", (0,), [3], deque([3], 2)),
    ],
)
def test_a_container_is_changed_in_place_and_a_second_time_makes_no_difference(target, kind, keys, children, wanted):
    for _ in range(2):
        change(kind, target, keys, children)
        assert target == wanted
        assert list(target) == list(wanted)


def test_every_kind_that_changes_in_place_grows_or_has_keys():
    assert containers.IN_PLACE <= containers.MAPPINGS | containers.SEQUENCES


@pytest.mark.parametrize("value", [{}, [], {"a": [{}, ()]}, Plain([], {}), set()])
def test_a_container_of_empty_containers_is_hollow(value):
    assert is_hollow(value)


@pytest.mark.parametrize("value", [3, None, [None], {"a": [{}, 1]}, np.empty(0)])
def test_anything_else_is_not_hollow(value):
    assert not is_hollow(value)


@pytest.mark.parametrize("value", [{}, [], (), None, OrderedDict(), Point(1, 2), 3, np.ones(1), object(), Plain(1, 2)])
def test_what_jax_takes_apart_of_itself_is_no_pytree_of_the_users(value):
    assert not is_pytree(value)


class Empty:
    """A pytree without children, which jax.tree_util.treedef_is_leaf takes for a leaf."""


jax.tree_util.register_pytree_node(Empty, lambda one: ((), None), lambda _, children: Empty())


@pytest.mark.parametrize("value", [Node(1, 2), Keyed(1, 2), Registered(1, 2), jax.tree_util.Partial(len), Empty()])
def test_what_a_user_registered_is_one(value):
    assert is_pytree(value)


@pytest.mark.parametrize("key", ["a", 1, True, None, 0.5, b"a", (1, ("a", None)), 1 << 4000, float("inf"), -0.0])
def test_keys_of_plain_types_are_kept(key):
    assert take_apart({key: 1}).keys == (key,)


@pytest.mark.parametrize("key", [np.int64(1), Colour.RED, frozenset(), Point(1, 2), (1, Colour.RED), 1j, float("nan")])
def test_keys_of_other_types_are_refused(key):
    with pytest.raises(CaptureError, match="key"):
        take_apart({key: 1})


@pytest.mark.parametrize(
    "items",
    [
        [1, "1", 1.5, None, b"1", (1,)], [np.int8(1), np.datetime64(7, "s"), np.datetime64(5, "D")], [1 << 20000, 2],
        [(1 << 20000, 1), (1, 2)], [frozenset([1, 2]), frozenset([3])], [float("nan"), 1.0],
    ],
)  # fmt: skip
def test_the_items_of_a_set_are_ordered_by_what_they_are(items):
    backwards = set()
    for item in reversed(items):
        backwards.add(item)
    assert bits(take_apart(set(items)).children) == bits(take_apart(backwards).children)


def test_a_generic_datetime_can_be_in_a_set():
    five = np.frombuffer(b"\5\0\0\0\0\0\0\0", "M8")[0]
    with pytest.raises(ValueError, match="generic units"):
        repr(five)
    assert len(take_apart({five, 1}).children) == 2


def test_many_keys_take_a_time_that_grows_with_their_number():
    start = time.process_time()
    assert len(take_apart(dict.fromkeys(range(200_000))).keys) == 200_000
    assert time.process_time() - start < 5
