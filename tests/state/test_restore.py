"""What a restored target is: the same objects wherever they can change, with the state of the snapshot."""

from __future__ import annotations

import random
from collections import Counter, OrderedDict, defaultdict, deque
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from holdfast.errors import DamagedError, MismatchError
from holdfast.state import lookup
from holdfast.state.capture import capture
from holdfast.state.load import load
from holdfast.state.restore import restore
from holdfast.state.tree import Branch, Leaf, Packed, StateTree
from state.nets import net
from state.same import bits, state_of
from state.users import Colour, Frozen, Keyed, Plain, Point, Slots


def given(saved: Any, target: Any, **options: Any) -> Any:
    """`target`, after the state of `saved` was restored into it."""
    return restore(capture(saved), target, **options)


# --- in place, or new -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("saved", "target"),
    [
        ({"a": 1}, {"a": 2}), ([1, 2], [3, 4]), ([1], []), ({1, 2}, {3}), (deque([1]), deque([2, 3])),
        (Counter("aab"), Counter("c")), (OrderedDict(a=1), OrderedDict(a=2)), (Plain(1, 2), Plain(3, 4)),
        (Slots(1, 2), Slots(3, 4)), (np.ones(2), np.zeros(2)), (torch.ones(2), torch.zeros(2)),
        (random.Random(1), random.Random(2)), (np.random.default_rng(1), np.random.default_rng(2)),
    ],
)  # fmt: skip
def test_what_can_change_in_place_does(saved, target):
    assert given(saved, target) is target
    assert bits(target) == bits(saved)


@pytest.mark.parametrize(
    ("saved", "target"),
    [
        ((1, 2), (3, 4)), (Point(1, 2), Point(3, 4)), (Frozen(1, 2), Frozen(3, 4)), (frozenset([1]), frozenset()),
        (Colour.RED, Colour.BLUE), (3, 4), ("a", "b"), (jnp.ones(2), jnp.zeros(2)), (Keyed(1, 2), Keyed(3, 4)),
        (jax.random.key(1), jax.random.key(2)),
    ],
)  # fmt: skip
def test_what_cannot_is_made_anew_and_the_old_one_stays(saved, target):
    before = bits(target)
    made = given(saved, target)
    assert bits(made) == bits(saved)
    assert bits(target) == before


def test_a_tuple_whose_parts_change_in_place_stays_the_same_object():
    target = (np.zeros(1), [2])
    assert given((np.ones(1), [1]), target) is target


def test_a_container_inside_keeps_its_identity():
    inner, row = [1], np.zeros(1)
    target = {"a": {"b": inner}, "t": (row, 1)}
    given({"a": {"b": [5]}, "t": (np.ones(1), 2)}, target)
    assert target["a"]["b"] is inner
    assert target["t"][0] is row


def test_an_immutable_part_of_a_dict_is_replaced_in_it():
    target = {"t": (1, 2), "j": jnp.zeros(1)}
    given({"t": (3, 4), "j": jnp.ones(1)}, target)
    assert target["t"] == (3, 4)
    assert target["j"].tolist() == [1]


def test_a_dataclass_keeps_what_is_no_part_of_the_snapshot():
    target = Keyed(1, 2, static="mine")
    assert given(Keyed(3, 4, static="theirs"), target).static == "mine"


def test_an_ordered_dict_takes_the_order_of_the_snapshot_and_a_dict_keeps_its_own():
    ordered, plain = OrderedDict(a=1, b=2), {"a": 1, "b": 2}
    given([OrderedDict(b=3, a=4), {"b": 3, "a": 4}], [ordered, plain])
    assert list(ordered) == ["b", "a"]
    assert list(plain) == ["a", "b"]


def test_a_default_dict_keeps_its_factory():
    target = defaultdict(list, old=[1])
    given(defaultdict(list, new=[2]), target)
    assert target == {"new": [2]}
    assert target.default_factory is list


def test_a_number_is_of_the_type_that_was_saved():
    assert given([1, 2.5, True], [0.5, 3, 7]) == [1, 2.5, True]
    assert [type(one) for one in given([1, 2.5, True], [0.5, 3, 7])] == [int, float, bool]


# --- growing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("saved", "target"),
    [
        ([0.5, 0.25], []), ([], [1, 2]), ([1], [1, 2, 3]), ([{"epoch": 1, "loss": 0.5}], []),
        ([(1, 2), (3, 4)], [(5, 6)]), ([["a"], ["b"]], [["c"]]), ({"log": [1, 2]}, {"log": []}),
    ],
)  # fmt: skip
def test_a_list_of_plain_values_is_taken_at_any_length(saved, target):
    assert given(saved, target) == saved


def test_a_list_with_arrays_must_have_the_same_length():
    with pytest.raises(MismatchError, match="only in the snapshot: '~i1'"):
        given([np.ones(1), np.ones(1)], [np.zeros(1)])


def test_a_deque_of_arrays_is_taken_as_the_snapshot_has_it():
    target = deque([np.zeros(2), np.zeros(3)], maxlen=4)
    first = target[0]
    given(deque([np.ones(2), np.ones(5), np.ones(1)], maxlen=4), target)
    assert [row.shape for row in target] == [(2,), (5,), (1,)]
    assert target[0] is first


def test_what_a_deque_has_more_takes_the_framework_that_it_was_saved_with():
    assert type(given(deque([torch.ones(1)]), deque())[0]) is torch.Tensor


def test_a_deque_of_user_classes_takes_the_classes_that_stand_in_it():
    target = given(deque([Point(1, 2), Point(3, 4)]), deque([Point(5, 6), Point(7, 8)]))
    assert target == deque([Point(1, 2), Point(3, 4)])
    assert type(target[1]) is Point


def test_a_deque_of_dicts_is_not_mixed_with_what_it_held():
    assert given(deque([{"b": 2}]), deque([{"a": 1}]), strict=False) == deque([{"b": 2}])


def test_a_counter_takes_the_order_of_the_snapshot():
    assert list(given(Counter("bba"), Counter("a"))) == ["b", "a"]


# --- nothing is there yet ---------------------------------------------------------------------------------------------


def test_none_in_a_target_takes_whatever_the_snapshot_has():
    saved = {"a": np.ones(2), "b": {"c": [1, torch.ones(1)]}, "d": "text"}
    made = given(saved, {"a": None, "b": None, "d": None})
    assert bits(made) == bits(saved)


def test_none_in_a_snapshot_replaces_plain_values_containers_and_arrays():
    target = {"a": np.ones(2), "b": [1], "c": 3, "d": Colour.RED}
    assert given(dict.fromkeys("abcd"), target) == dict.fromkeys("abcd")


def test_none_as_the_whole_target():
    assert given({"a": 1}, None) == {"a": 1}


def test_a_module_that_knows_no_shapes_yet_takes_those_of_the_snapshot():
    lazy = torch.nn.Sequential(torch.nn.LazyLinear(3), torch.nn.LazyBatchNorm1d())
    trained = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    given(trained, lazy)
    assert torch.equal(lazy(torch.ones(4, 2)), trained(torch.ones(4, 2)))


def test_a_module_that_knew_no_shapes_goes_into_one_that_knows_none():
    lazy = torch.nn.LazyLinear(3)
    given(torch.nn.LazyLinear(3), lazy)
    assert lazy(torch.ones(1, 2)).shape == (1, 3)


# --- other structures -------------------------------------------------------------------------------------------------


def test_what_was_loaded_edited_and_restored():
    module, target = net(0), net(1)
    state = load(capture({"net": module, "kind": Colour.RED, "p": Point(1, np.ones(2)), "f": Plain(1, 2)}))
    state["net"]["0.weight"] = 2 * state["net"]["0.weight"]
    made = given(state, {"net": target, "kind": Colour.BLUE, "p": Point(0, np.zeros(2)), "f": Frozen(0, 0)})
    assert torch.equal(target[0].weight, 2 * module[0].weight)
    assert made["kind"] is Colour.RED
    assert type(made["p"]) is Point
    assert made["f"] == Frozen(1, 2)


@pytest.mark.parametrize(
    ("saved", "target", "wanted"),
    [
        ([1, 2], (0, 0), (1, 2)), ((1, 2), [0, 0], [1, 2]), (OrderedDict(a=1), {"a": 0}, {"a": 1}),
        ({"a": 1, "b": 2}, Plain(0, 0), Plain(1, 2)), ((1, 2), Point(0, 0), Point(1, 2)), (Point(1, 2), (0, 0), (1, 2)),
        ({"a": 1, "b": 2}, Point(0, 0), Point(1, 2)), (Plain(1, 2), {"a": 0, "b": 0}, {"a": 1, "b": 2}),
        ({1, 2}, frozenset(), frozenset([1, 2])), (deque([1, 2]), [0, 0], [1, 2]), ((1, 2), deque(), deque([1, 2])),
        (Keyed(1, 2), {"a": 0, "b": 0}, {"a": 1, "b": 2}), ((1, 2), Keyed(0, 0), Keyed(1, 2)),
        ({"b": 2, "a": 1}, Keyed(0, 0), Keyed(1, 2)),
    ],
)  # fmt: skip
def test_a_container_of_one_kind_goes_into_one_of_a_kindred_kind(saved, target, wanted):
    assert bits(given(saved, target)) == bits(wanted)


def test_a_number_may_stand_where_an_array_of_no_dimensions_stood():
    assert given({"a": torch.tensor(2.5), "b": np.array(3)}, {"a": 0.5, "b": 1}) == {"a": 2.5, "b": 3}


# --- strict, and the ways out -----------------------------------------------------------------------------------------


def test_not_strict_keeps_what_is_missing_and_leaves_out_the_rest():
    target = {"a": 1, "only here": 2, "net": net(1), "t": (1, 2, 3)}
    before = target["net"][2].weight.clone()
    first = net(0)
    state = load(capture(first))
    del state["2.weight"]
    given({"a": 5, "only there": 6, "net": {**state, "more": np.ones(1)}, "t": (7,)}, target, strict=False)
    assert target.keys() == {"a", "only here", "net", "t"}
    assert (target["a"], target["only here"], target["t"]) == (5, 2, (7, 2, 3))
    assert torch.equal(target["net"][2].weight, before)
    assert torch.equal(target["net"][0].weight, first[0].weight)


def test_not_strict_keeps_what_a_serialize_method_asks_for_in_vain():
    class Link:
        def __init__(self, *names):
            self.values = dict.fromkeys(names, 1)

        def serialize(self, serializer):
            for name, value in self.values.items():
                self.values[name] = serializer(name, value)

    saved, target = Link("a"), Link("a", "b")
    saved.values["a"] = 5
    assert given(saved, target, strict=False).values == {"a": 5, "b": 1}


def test_not_strict_still_compares_shapes():
    with pytest.raises(MismatchError, match=r"F64 \(2,\)"):
        given({"a": np.ones(2)}, {"a": np.ones(3)}, strict=False)


def test_a_caller_may_say_which_paths_may_be_missing():
    tree = capture({"a": 1, "more": 2})
    assert restore(
        tree,
        {"a": 0, "less": 3},
        may_lack=lambda path: path == "less",
        may_have_more=lambda path: path == "more",
    ) == {"a": 1, "less": 3}
    with pytest.raises(MismatchError, match="only in the snapshot: 'more'"):
        restore(tree, {"a": 0, "less": 3}, may_lack=lambda path: True)


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module."])
@pytest.mark.parametrize("at", ["", "net"])
def test_keys_that_differ_by_a_prefix_are_explained(prefix, at):
    plain = net(0)
    wrapped = torch.nn.Module()
    wrapped.add_module(prefix.rstrip("."), net(1))
    one, other = ({at: plain}, {at: wrapped}) if at else (plain, wrapped)
    with pytest.raises(MismatchError, match=f"keys differ by '{prefix}', which only the target has") as caught:
        given(one, other)
    assert "save and restore the same object" in str(caught.value)
    with pytest.raises(MismatchError, match=f"keys differ by '{prefix}', which only the snapshot has"):
        given(other, one)


def test_a_compiled_module_says_what_its_keys_differ_by():
    with pytest.raises(MismatchError, match=r"keys differ by '_orig_mod\.', which only the snapshot has"):
        given(torch.compile(net(0), backend="eager"), net(1))


def test_a_part_that_was_saved_as_a_whole_is_named_as_the_subtree():
    saved = {"epoch": 1, "model": net(0)}
    with pytest.raises(MismatchError, match=r"restore\(..., subtree='model'\)"):
        given(saved, net(1))
    tree = capture(saved)
    target = restore(StateTree(lookup.at(tree.root, "model")), net(1))
    assert state_of(target) == state_of(saved["model"])


def test_a_long_list_of_misfits_is_cut_short():
    with pytest.raises(MismatchError, match="and 92 more") as caught:
        given({}, {f"a{number}": 1 for number in range(100)})
    assert len(str(caught.value)) < 600


def test_an_array_of_a_file_that_is_no_json_is_damage():
    leaf = Leaf("a", "U8", (3,), 3, np.frombuffer(b"{}{", np.uint8))
    with pytest.raises(DamagedError, match="'a' does not hold what its kind, 'json', wants"):
        restore(StateTree(Branch("dict", ("a",), (Packed("json", leaf),))), {"a": [1]})


# --- what a trainer reserves ------------------------------------------------------------------------------------------


class Trainer:
    """Keeps the state of its surroundings beside its own."""

    def __init__(self, value: int, generator: random.Random | None):
        self.value, self.generator = value, generator
        self.given: Any = None

    def serialize(self, serializer):
        self.value = serializer("value", self.value)

    def reserved_state(self):
        return None if self.generator is None else {"python": self.generator}

    def restore_reserved(self, node):
        self.given = node


def test_what_a_trainer_reserved_is_given_back_to_it_and_to_nobody_else():
    tree = capture(Trainer(3, random.Random(5)))
    target = Trainer(0, None)
    restore(tree, target)
    assert target.value == 3
    generator = restore(StateTree(target.given), {"python": random.Random(0)})["python"]
    assert generator.random() == random.Random(5).random()
    assert restore(tree, {"value": 0}) == {"value": 3}
    assert load(tree) == {"value": 3}


def test_a_trainer_that_reserved_nothing_is_given_nothing():
    target = Trainer(0, random.Random(1))
    restore(capture(Trainer(3, None)), target)
    assert target.given is None


def test_what_was_reserved_does_not_change_with_what_it_was_read_from():
    words = bytearray(capture(Trainer(3, random.Random(5))).leaves()[0].nbytes)
    leaf = Leaf("~run/w", "U8", (len(words),), len(words), np.frombuffer(words, np.uint8))
    target = Trainer(0, None)
    restore(StateTree(capture(Trainer(3, None)).root, Branch("dict", ("w",), (Packed("bytes", leaf),))), target)
    words[:] = b"x" * len(words)
    assert set(lookup.unpacked(target.given.children[0]).data) == {"0"}
