"""Optimizers of Chainer's that have no moments yet: what they will ask for is missed before anything changes, and they
are put back."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest

from holdfast.errors import MismatchError
from holdfast.state.capture import capture
from holdfast.state.flat import flatten
from holdfast.state.restore import restore
from state.same import untyped


class Rule:
    """As Chainer's, with two moments."""

    def __init__(self):
        self.t, self._state, self.enabled = 0, None, True

    @property
    def state(self):
        return self._state

    def init_state(self, param):
        self._state.update(m=np.zeros_like(param.array), v=np.zeros_like(param.array))

    def update(self):
        self.t += 1
        self._state = {"m": np.full(2, self.t * 1.0), "v": np.full(2, self.t * 2.0)}

    def serialize(self, serializer):
        self.t = serializer("t", self.t)
        if self._state is not None:
            for key in self._state:
                self._state[key] = serializer(key, self._state[key])
        elif serializer.loading:
            self._state = {}
            for key in ("m", "v"):
                value = serializer(key, None)
                if value is None:
                    self._state = None
                    break
                self._state[key] = value


class Optimizer:
    def __init__(self, *names):
        self.rules = {name: Rule() for name in names or ("l1/W", "l2/W")}
        self.target = self
        self.t = 0

    def namedparams(self):
        yield "/without", object()
        for name, rule in self.rules.items():
            yield f"/{name}", types.SimpleNamespace(update_rule=rule)

    def update(self):
        self.t += 1
        for rule in self.rules.values():
            rule.update()
        return self

    def serialize(self, serializer):
        self.t = serializer("t", self.t)
        for name, rule in self.rules.items():
            rule.serialize(serializer[f"/{name}"])


class Updater:
    """As Chainer's own, which hands its serializer on."""

    def __init__(self, optimizer):
        self.optimizer, self.iteration, self.failure = optimizer, optimizer.t, None

    def get_all_optimizers(self):
        return {"main": self.optimizer}

    def serialize(self, serializer):
        self.optimizer.serialize(serializer["optimizer:main"])
        self.iteration = serializer("iteration", self.iteration)
        if serializer.loading and self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure


WHERE = {
    "alone": (lambda optimizer: optimizer, ""),
    "in a dict": (lambda optimizer: {"it": optimizer}, "it/"),
    "in an updater": (Updater, "optimizer:main/"),
    "in an updater in a dict": (lambda optimizer: {"it": Updater(optimizer)}, "it/optimizer:main/"),
}


@pytest.fixture(autouse=True)
def chainer(monkeypatch):
    """As much of Chainer as is asked for."""
    module = types.ModuleType("chainer")
    module.Optimizer = Optimizer
    module.Variable = lambda array, grad: types.SimpleNamespace(array=array, grad=grad)
    monkeypatch.setitem(sys.modules, "chainer", module)


def states(optimizer):
    return {name: (rule.t, rule.state) for name, rule in optimizer.rules.items()}


FRESH = {"l1/W": (0, None), "l2/W": (0, None)}


@pytest.mark.parametrize("place", WHERE)
@pytest.mark.parametrize("flat", [False, True])
def test_moments_that_a_snapshot_lacks_are_all_missed_before_anything_changes(place, flat):
    put, above = WHERE[place]
    saved, fresh = Optimizer().update(), Optimizer()
    for rule in saved.rules.values():
        rule._state = {}  # as those of an optimizer that has none
    tree = capture(put(saved))
    with pytest.raises(MismatchError) as caught:
        restore(untyped(flatten(tree)) if flat else tree, put(fresh))
    listed = ", ".join(f"'{above}{rule}/{name}'" for rule in fresh.rules for name in "mv")
    assert f"nothing was changed\n  missing in the snapshot: {listed}\n" in str(caught.value)
    assert (fresh.t, states(fresh)) == (0, FRESH)


def test_the_moments_of_a_rule_of_no_update_are_not_missed():
    fresh = Optimizer()
    restore(capture(Optimizer()), fresh)
    assert states(fresh) == FRESH


def test_those_of_a_rule_that_is_not_enabled_are_left_to_the_rule():
    saved, fresh = Optimizer().update(), Optimizer()
    for rule in saved.rules.values():
        rule._state = {}
    for rule in fresh.rules.values():
        rule.enabled = False
    with pytest.raises(MismatchError, match=r"refused the snapshot's state: KeyError.*\n  the target was put back"):
        restore(capture(saved), fresh)
    assert states(fresh) == FRESH


def test_with_strict_false_a_rule_is_fresh():
    saved, fresh = Optimizer().update(), Optimizer()
    saved.rules["l2/W"]._state = {}
    restore(capture(saved), fresh, strict=False)
    assert fresh.rules["l1/W"].state["m"].tolist() == [1, 1]
    assert fresh.rules["l2/W"].state is None


@pytest.mark.parametrize(
    "around", [lambda updater: updater, lambda updater: {"it": updater}], ids=["alone", "in a dict"]
)
def test_what_fails_after_it_was_given_moments_is_fresh_again(around):
    updater = Updater(Optimizer())
    updater.failure = RuntimeError("out of luck")
    with pytest.raises(MismatchError, match=r"out of luck\n.* was put back"):
        restore(capture(around(Updater(Optimizer().update()))), around(updater))
    assert (updater.iteration, updater.optimizer.t, states(updater.optimizer)) == (0, 0, FRESH)
    restore(capture(around(Updater(Optimizer().update()))), around(updater))
    assert updater.optimizer.rules["l2/W"].state["v"].tolist() == [2, 2]


def test_an_optimizer_with_moments_is_put_back_with_these():
    updater = Updater(Optimizer().update().update())
    updater.failure = RuntimeError("out of luck")
    with pytest.raises(MismatchError, match="was put back"):
        restore(capture(Updater(Optimizer().update())), updater)
    assert updater.optimizer.rules["l1/W"].t == 2
    assert updater.optimizer.rules["l1/W"].state["m"].tolist() == [2, 2]
