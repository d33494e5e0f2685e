"""A restore is done wholly or not at all: whoever fails half-way is put back, and what load methods get is theirs."""

from __future__ import annotations

import collections
import gc
import logging
import sys
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from holdfast import files
from holdfast.errors import MismatchError
from holdfast.state import moving
from holdfast.state.capture import capture
from holdfast.state.load import load
from holdfast.state.restore import restore
from state.nets import net, step, trained
from state.same import refused, state_of
from state.users import Point

# --- a load method that fails half-way --------------------------------------------------------------------------------


class Fragile:
    """Has a load method that fails after its first half, a given number of times."""

    keys_may_differ = True

    def __init__(self, value: float, failures: int = 0, error: BaseException | None = None):
        self.a, self.b, self.note = np.full(2, value), torch.full((2,), value), [value]
        self.failures, self.error = failures, error or RuntimeError("out of luck")

    def fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise self.error


class WithStateDict(Fragile):
    def state_dict(self):
        return {"a": self.a, "b": self.b, "note": self.note}

    def load_state_dict(self, state):
        self.a[...] = state["a"]
        self.note = state["note"]
        self.fail()
        self.b = state["b"]


class WithSerialize(Fragile):
    def serialize(self, serializer):
        self.a = serializer("a", self.a)
        self.note = serializer("note", self.note)
        if serializer.loading:
            self.fail()
        self.b = serializer["part"]("b", self.b)


class WithHook(torch.nn.Module):
    """A module whose second part refuses: torch has loaded the first by then."""

    def __init__(self, value: float, failures: int = 0, error: BaseException | None = None):
        super().__init__()
        self.first = torch.nn.Linear(2, 2)
        self.second = Refusing()
        torch.nn.init.constant_(self.first.weight, value)
        self.second.failures, self.second.error = failures, error or RuntimeError("out of luck")


class Refusing(torch.nn.Linear):
    def __init__(self):
        super().__init__(2, 2)

    def _load_from_state_dict(self, state, *args):
        super()._load_from_state_dict(state, *args)
        if self.failures:
            self.failures -= 1
            raise self.error


FRAGILE = [WithStateDict, WithSerialize, WithHook]


@pytest.mark.parametrize("kind", FRAGILE)
def test_a_load_method_that_fails_half_way_is_put_back_and_so_is_everything_before_it(kind):
    saved = {"first": WithStateDict(1), "net": net(0), "it": kind(1), "last": WithHook(1), "w": np.ones(2)}
    target = {"first": WithStateDict(2), "net": net(1), "it": kind(2, 1), "last": WithHook(2), "w": np.zeros(2)}
    said = refused(saved, target, "'it': its own .* refused the snapshot's state: RuntimeError: ")
    assert "out of luck" in said
    outcome = (
        "'first' was put back; 'net' is unchanged; 'it' was put back; 'last' is unchanged; nothing else was changed"
    )
    assert outcome in said


@pytest.mark.parametrize("kind", FRAGILE)
def test_a_failed_restore_can_be_done_again(kind):
    target = {"it": kind(2, failures=1), "w": np.zeros(2)}
    saved = {"it": kind(1), "w": np.ones(2)}
    refused(saved, target, "put back")
    restore(capture(saved), target)
    assert state_of(target) == state_of(saved)


@pytest.mark.parametrize("kind", FRAGILE)
def test_what_cannot_be_put_back_either_is_said_not_to_be(kind):
    target = {"first": WithHook(2), "it": kind(2, failures=2)}
    first = state_of(target["first"])
    with pytest.raises(MismatchError, match=r"'it' was NOT put back .*out of luck.*; make a new one") as caught:
        restore(capture({"first": WithHook(1), "it": kind(1)}), target)
    assert "'first' was put back" in str(caught.value)
    assert state_of(target["first"]) == first
    assert isinstance(caught.value.__cause__, RuntimeError)


@pytest.mark.parametrize("kind", FRAGILE)
def test_an_interrupt_half_way_puts_back_and_goes_on(kind, caplog):
    target = {"first": net(1), "it": kind(2, failures=1, error=KeyboardInterrupt()), "w": np.zeros(2)}
    before = state_of(target)
    with caplog.at_level(logging.WARNING, "holdfast"), pytest.raises(KeyboardInterrupt):
        restore(capture({"first": net(0), "it": kind(1), "w": np.ones(2)}), target)
    assert state_of(target) == before
    assert "'it' was put back" in caplog.text


def test_a_key_that_only_the_target_serializes_is_found_before_anything_changes():
    class Link:
        def __init__(self, *names):
            self.names, self.w = names, np.zeros(2)

        def serialize(self, serializer):
            for name in self.names:
                serializer(name, self.w)

    refused({"a": np.ones(1), "l": Link("w")}, {"a": np.zeros(1), "l": Link("w", "v")}, "missing .*: 'l/v'")


def test_a_key_that_only_a_lenient_target_asks_for_is_missed_half_way_and_put_back():
    class Grown(WithSerialize):
        def serialize(self, serializer):
            super().serialize(serializer)
            serializer("new", 1)

    refused({"l": WithSerialize(1)}, {"l": Grown(2)}, "KeyError.*holds no 'l/new'")


def test_an_interrupt_while_arrays_are_copied_leaves_the_target_whole(monkeypatch):
    saved = {"a": np.ones(2), "t": torch.ones(2), "l": [np.ones(2)], "n": 1}
    target = {"a": np.zeros(2), "t": torch.zeros(2), "l": [np.zeros(2)], "n": 0}
    move = moving.move
    calls = []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 1:
            raise KeyboardInterrupt
        move(*arguments)

    monkeypatch.setattr(moving, "move", interrupted)
    with pytest.raises(KeyboardInterrupt):
        restore(capture(saved), target)
    assert state_of(target) == state_of(saved)


@dataclass
class Checked:
    """A dataclass with a mind of its own about what its attributes may be."""

    a: Any
    b: Any

    def __setattr__(self, name, value):
        if name == "b" and value == "bad":
            raise ValueError("b is bad")
        super().__setattr__(name, value)


def test_an_attribute_that_its_class_refuses_puts_everything_back():
    good = {"net": net(0), "it": Checked(1, "good"), "w": np.ones(1)}
    state = load(capture(good))
    state["it"]["b"] = "bad"
    target = {"net": net(1), "it": Checked(0, "old"), "w": np.zeros(1)}
    said = refused(state, target, "'it': its class refused .*ValueError: b is bad")
    assert "'net' is unchanged; 'it' was put back" in said


class Moment(KeyboardInterrupt):
    pass


def test_an_interrupt_at_any_moment_leaves_the_old_state_or_the_new_one():
    def make(value: float) -> dict[str, Any]:
        parts = {"it": WithStateDict(value), "that": WithSerialize(value), "d": Checked(value, value)}
        return {**parts, "w": np.full(2, value), "l": [np.full(2, value), value]}

    tree, new, old = capture(make(1)), state_of(make(1)), state_of(make(2))
    outcomes = set()
    moment = 0
    while True:
        moment += 1 if moment < 100 else 3
        target, left = make(2), moment

        def interrupt(frame, event, argument):
            nonlocal left
            if frame.f_code.co_filename.endswith(("state/restore.py", "state/loading.py", "state/writes.py")):
                left -= 1
                if not left:
                    sys.settrace(None)
                    raise Moment
            return interrupt

        sys.settrace(interrupt)
        try:
            restore(tree, target)
        except Moment:
            outcomes.add(state_of(target))
        else:
            break
        finally:
            sys.settrace(None)
            gc.enable()  # an interrupt may have come right before it was
    assert moment > 500
    assert outcomes == {old, new}


def test_arrays_that_are_to_change_places_do():
    one, other = np.ones(2), np.zeros(2)
    restore(capture({"a": one, "b": other}), {"a": other, "b": one})
    assert [one.tolist(), other.tolist()] == [[0, 0], [1, 1]]


def test_modules_that_are_to_change_places_do():
    one, other = net(0), net(1)
    first, second = state_of(one), state_of(other)
    restore(capture({"a": one.state_dict(), "b": other.state_dict()}), {"a": other, "b": one})
    assert [state_of(one), state_of(other)] == [second, first]


def test_what_was_loaded_is_not_copied_once_more_before_it_is_restored(tmp_path, monkeypatch):
    files.save(tmp_path / "it", {"a": np.ones(2), "b": np.ones(2)})
    loaded = files.load(tmp_path / "it")
    monkeypatch.setattr("holdfast.state.restore.detached", None)
    target = {"a": np.zeros(2), "b": np.zeros(2)}
    assert files.restore({**loaded, "b": loaded["b"] + 1}, target)["b"].tolist() == [2, 2]


# --- what load methods get is theirs ----------------------------------------------------------------------------------

OPTIMIZERS = {
    "Adam": (torch.optim.Adam, {}),
    "SGD": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    "AdamW fused": (torch.optim.AdamW, {"fused": True}),
    "AdamW foreach": (torch.optim.AdamW, {"foreach": True}),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_goes_on_after_a_restore_and_the_file_stays_as_it_is(name, tmp_path):
    kind, options = OPTIMIZERS[name]
    path = tmp_path / "it.safetensors"
    module, optimizer = trained(0, kind, **options)
    files.save(path, {"net": module, "opt": optimizer})
    fresh = net(1)
    target = {"net": fresh, "opt": kind(fresh.parameters(), **options)}
    files.restore(path, target)
    for one in (module, fresh):
        step(one, optimizer if one is module else target["opt"])
    assert state_of(target) == state_of({"net": module, "opt": optimizer})
    assert files.verify(path)
    with torch.no_grad():
        for moments in target["opt"].state.values():
            for moment in moments.values():
                if isinstance(moment, torch.Tensor):
                    moment += 1
    assert files.verify(path)


def test_what_two_restores_give_is_not_shared(tmp_path):
    path = tmp_path / "it.safetensors"
    files.save(path, {"it": WithStateDict(1)})
    one, other = {"it": WithStateDict(2)}, {"it": WithStateDict(3)}
    files.restore(path, one)
    files.restore(path, other)
    one["it"].b += 5
    assert other["it"].b.tolist() == [1, 1]


def test_what_is_made_for_a_target_that_has_nothing_yet_can_be_changed(tmp_path):
    path = tmp_path / "it.safetensors"
    files.save(path, {"a": np.ones(2), "t": torch.ones(2), "p": Point(np.ones(1), 2)})
    made = files.restore(path, {"a": None, "t": None, "p": None})
    made["a"] += 1
    made["t"] += 1
    made["p"][0][0] = 3
    assert files.load(path)["a"].tolist() == [1, 1]


def test_a_target_in_a_growing_container_with_a_load_method_is_put_back_too():
    saved = {"d": deque([WithStateDict(1)]), "x": collections.Counter(a=1)}
    target = {"d": deque([WithStateDict(2, failures=1)]), "x": collections.Counter(b=1)}
    refused(saved, target, "'d/~i0' was put back")
