"""Chainer's protocol, both ways: one `serialize` saves and restores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from holdfast.errors import CaptureError, MismatchError
from holdfast.state.capture import capture
from holdfast.state.flat import flatten
from holdfast.state.lookup import Children
from holdfast.state.restore import restore
from holdfast.state.serializable import TreeDeserializer, serialize_state
from holdfast.state.tree import Branch, Value
from state.same import bits, state_of, untyped
from state.users import Plain


class Serialized:
    """Does with its serializer what the test wants."""

    def __init__(self, do: Any):
        self.do = do

    def serialize(self, serializer):
        self.result = self.do(serializer)


def save(do: Any) -> Any:
    return capture(Serialized(do)).root


def test_values_and_parts_make_a_tree():
    root = save(lambda s: (s("a", 1), s["p"]("b", 2), s["p"]["q"]("c", 3), s("x/y", 4), s["p/r"]("d", 5)))
    assert root.keys == ("a", "p", "x")
    assert root.children[1].keys == ("b", "q", "r")


def test_a_serializer_that_saves_returns_what_it_was_given():
    array = np.ones(1)
    one = Serialized(lambda s: (s.loading, s("a", array)))
    capture(one)
    assert one.result == (False, array)


def test_a_part_in_which_nothing_stands_is_left_out():
    assert save(lambda s: (s["empty"]["inside"], s("a", 1))).keys == ("a",)


def test_a_value_that_comes_twice_is_the_last():
    assert save(lambda s: (s("a", 1), s("a", 2))).children[0].data == 2


@pytest.mark.parametrize(
    "do",
    [
        lambda s: (s["a"]("b", 1), s("a", 2)),
        lambda s: (s("a", 2), s["a"]("b", 1)),
        lambda s: (s("a", 2), s("a/b", 1)),
    ],
)
def test_a_key_is_a_value_or_a_part_and_not_both(do):
    with pytest.raises(CaptureError, match=r"'a' is serialized both as a (value|part) and as a (value|part)"):
        save(do)


@pytest.mark.parametrize("key", ["", "/"])
def test_a_key_must_be_a_name(key):
    with pytest.raises(CaptureError, match="is no key of a state"):
        save(lambda s: s(key, 1))


def test_anything_that_can_be_captured_may_be_a_value():
    one = {"list": [1, (2, None)], "plain": Plain(1, np.ones(2)), "generator": np.random.default_rng(1), "net": None}
    one["net"] = torch.nn.Linear(1, 1)
    other = {
        "list": [0],
        "plain": Plain(0, np.zeros(2)),
        "generator": np.random.default_rng(2),
        "net": torch.nn.Linear(1, 1),
    }

    def parts(values: dict[str, Any]) -> Serialized:
        return Serialized(lambda s: {key: s(key, value) for key, value in values.items()})

    target = parts(other)
    with pytest.raises(MismatchError, match="only in the snapshot: 'list/~i1'"):
        restore(capture(parts({**one, "list": [np.ones(1), 2]})), target)
    restore(capture(parts(one)), target)
    assert state_of(target.result) == state_of(one)
    assert target.result["plain"] is other["plain"]


def test_an_array_is_restored_in_place_and_returned():
    array = np.zeros(2)
    target = Serialized(lambda s: s["p"]("a", array))
    restore(capture(Serialized(lambda s: s["p"]("a", np.ones(2)))), target)
    assert target.result is array
    assert array.tolist() == [1, 1]


def test_none_takes_what_was_saved_as_in_an_uninitialised_link():
    target = Serialized(lambda s: s("W", None))
    restore(capture(Serialized(lambda s: s("W", np.ones(2)))), target)
    assert target.result.tolist() == [1, 1]
    target.result += 1


class Rule:
    """As Chainer's update rules: it has moments from its first update on, and a fresh one asks for them with None."""

    def __init__(self, t=0, m=None):
        self.t, self.m = t, m
        self.target = self.update = None  # marks of an optimizer of Chainer's

    def serialize(self, serializer):
        self.t = serializer("t", self.t)
        if self.m is not None or serializer.loading:
            self.m = serializer("m", self.m)


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("inside", [False, True])
def test_a_rule_that_has_made_no_update_has_no_moments_to_restore(inside, flat):
    saved, fresh = Rule(), Rule()
    tree = capture({"rule": saved} if inside else saved)
    if flat:
        tree = untyped(flatten(tree))
    restore(tree, {"rule": fresh} if inside else fresh)
    assert (fresh.t, fresh.m) == (0, None)


@pytest.mark.parametrize("flat", [False, True])
def test_moments_of_a_rule_that_has_made_one_are_missed(flat):
    tree = capture(Rule(3))
    if flat:
        tree = untyped(flatten(tree))
    with pytest.raises(MismatchError, match=r"KeyError.*the snapshot holds no 'm'"):
        restore(tree, Rule())


def test_a_moment_that_the_target_has_and_a_snapshot_of_no_update_has_not_is_missed():
    with pytest.raises(MismatchError, match=r"KeyError.*the snapshot holds no 'm'"):
        restore(capture(Rule()), Rule(3, np.ones(1)))


class Stateless:
    def serialize(self, serializer):
        serializer["part"]


class Empty:
    def state_dict(self):
        return {"hooks": []}

    def load_state_dict(self, state):
        raise AssertionError("there is no state to load")


EMPTY = {"dict": dict, "nested": lambda: {"a": [], "b": (set(),)}, "object": Stateless, "state dict": Empty}


@pytest.mark.parametrize("kind", EMPTY)
@pytest.mark.parametrize("inside", [False, True])
def test_flat_names_show_nothing_of_what_is_empty_and_that_is_not_missed(kind, inside):
    empty = EMPTY[kind]()
    target = Serialized(lambda s: ((s["p"]["q"] if inside else s)("it", empty), s("a", 0)))
    restore(untyped({"a": np.array(2)}), target)
    assert target.result == (empty, 2)


@pytest.mark.parametrize(
    "value", [{"a": 1}, [None], 0, "", np.zeros(0), Rule(1)], ids=["dict", "list", "zero", "text", "array", "object"]
)
def test_what_is_not_empty_is_missed(value):
    class Tolerant(Serialized):
        keys_may_differ = True

    with pytest.raises(MismatchError, match=r"KeyError.*holds no 'it'"):
        restore(untyped({"a": np.array(2)}), Tolerant(lambda s: (s("a", 0), s("it", value))))


def test_in_a_snapshot_file_an_empty_container_stands_under_its_name_and_is_missed():
    class Tolerant(Serialized):
        keys_may_differ = True

    with pytest.raises(MismatchError, match=r"KeyError.*holds no 'it'"):
        restore(capture(Serialized(lambda s: s("a", 0))), Tolerant(lambda s: (s("a", 0), s("it", {}))))


@pytest.mark.parametrize("text", ["", "a text", "gr\u00fc\u00dfe"])
def test_a_text_that_chainer_wrote_as_bytes_under_python_2_is_one(text):
    target = Serialized(lambda s: s("a", "before"))
    restore(untyped({"a": np.array(text.encode())}), target)
    assert target.result == text


def test_bytes_that_are_no_text_are_refused_in_the_place_of_one_and_nothing_is_changed():
    array = np.zeros(2)
    target = Serialized(lambda s: (s("w", array), s("a", "before")))
    with pytest.raises(MismatchError, match=r"'a' is bytes in the snapshot, and no text in UTF-8.*\n.*put back"):
        restore(untyped({"w": np.ones(2), "a": np.array(b"\xff")}), target)
    assert array.tolist() == [0, 0]


def test_bytes_stay_bytes_where_the_target_has_bytes():
    target = Serialized(lambda s: s("a", b""))
    restore(untyped({"a": np.array(b"ab")}), target)
    assert target.result == b"ab"


def test_a_missing_key_is_a_key_error_that_names_its_path():
    def tolerant(serializer):
        try:
            return serializer["p"]("new", 1)
        except KeyError as error:
            return str(error)

    class Tolerant(Serialized):
        keys_may_differ = True

    target = Tolerant(tolerant)
    restore(capture({"it": Serialized(lambda s: s("old", 1))}), {"it": target})
    assert "the snapshot holds no 'it/p/new'" in target.result


def test_a_serializer_that_loads_tells_what_there_is():
    class Asking(Serialized):
        keys_may_differ = True

    def ask(serializer):
        if not serializer.loading:
            return None
        inside = "b" in serializer["p"], "x" in serializer["nothing"]
        return [key in serializer for key in ("a", "p", "p/b", "c")], inside

    target = Asking(ask)
    restore(capture(Serialized(lambda s: (s("a", 1), s["p"]("b", 2)))), target)
    assert target.result == ([True, True, True, False], (True, False))


def test_a_part_that_is_asked_for_twice_is_looked_up_once():
    tree = untyped({"p/a": np.array(1), "p/b": np.array(2)})
    serializer = TreeDeserializer(lambda node, value, path: value, tree.root, "")
    assert serializer["p"] is serializer["p"]
    assert serializer["p"]["q"] is serializer["p/q"]


class Counted(str):
    """A key that counts how often it is compared."""

    __slots__ = ()
    compared = 0
    __hash__ = str.__hash__

    def __eq__(self, other):
        Counted.compared += 1
        return str.__eq__(self, other)


def test_a_key_is_found_without_a_look_at_all_the_others():
    keys = tuple(f"name {number}" for number in range(1000))
    children = Children(Branch("dict", keys, (Value("int", 1),) * 1000))
    children.get(Counted("name 999"))
    assert Counted.compared < 5


def test_a_value_that_does_not_fit_is_found_before_the_method_is_called():
    calls = []

    def do(serializer):
        calls.append(serializer.loading)
        return serializer("a", np.zeros(3))

    with pytest.raises(MismatchError, match=r"'a' is F64 \(2,\)"):
        restore(capture(Serialized(lambda s: s("a", np.ones(2)))), Serialized(do))
    assert calls == [False]


# --- serialize_state --------------------------------------------------------------------------------------------------


class Foreign:
    """A serializer of another library."""

    def __init__(self):
        self.found: dict[str, Any] = {}

    def __getitem__(self, key):
        return self

    def __call__(self, key, value):
        self.found[key] = value
        return value


def test_with_a_serializer_of_holdfast_any_state_is_saved_and_restored():
    saved, target = (
        Serialized(lambda s, v=value: serialize_state(s, "it", v)) for value in ([1, Plain(1, 2)], [0, Plain(0, 0)])
    )
    restore(capture(saved), target)
    assert bits(target.result) == bits([1, Plain(1, 2)])


@pytest.mark.parametrize("value", [None, 1, 0.5, True, "a", 1j, np.ones(1), torch.ones(1)])
def test_a_foreign_serializer_takes_what_chainers_take(value):
    foreign = Foreign()
    assert serialize_state(foreign, "it", value) is value
    assert foreign.found == {"it": value}


def test_a_foreign_serializer_is_handed_on_to_what_serializes_itself():
    foreign = Foreign()
    serialize_state(foreign, "it", Serialized(lambda s: s("a", 1)))
    assert foreign.found == {"a": 1}


@pytest.mark.parametrize("value", [{"a": 1}, np.random.default_rng(1), b"a", [1]])
def test_a_foreign_serializer_cannot_take_more(value):
    with pytest.raises(CaptureError, match=r"'it', .* cannot be written by Foreign.*use a snapshot file"):
        serialize_state(Foreign(), "it", value)
