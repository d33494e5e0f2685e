"""A trainer whose restore fails half-way is as it was before: every part of it, at whatever depth."""

from __future__ import annotations

import numpy as np
import pytest

import holdfast
from holdfast import training
from holdfast.iterators import BatchIterator
from holdfast.state.capture import capture
from holdfast.state.flat import flatten
from holdfast.training import updaters


class Fragile:
    """A part with a load method that fails when it is told to, after it has changed."""

    def __init__(self):
        self.values = np.zeros(3)
        self.fails = False

    def state_dict(self):
        return {"values": self.values}

    def load_state_dict(self, state):
        self.values[:] = state["values"]
        if self.fails:
            self.fails = False
            raise OSError("half-way")


def make(fills):
    weights = np.full(4, fills)
    fragile, late = Fragile(), Fragile()
    fragile.values[:] = late.values[:] = fills
    generator = np.random.default_rng(int(fills))
    batches = BatchIterator(np.arange(8.0), 2, shuffle=True, seed=int(fills))
    targets = {"weights": weights, "generator": generator, "fragile": fragile, "late": late}
    return training.Trainer(updaters.FunctionUpdater(batches, lambda batch: None, targets=targets), (3, "iteration"))


def state_of(trainer):
    return {name: array.tobytes() for name, array in flatten(capture(trainer)).items() if not name.startswith("~run/")}


def test_every_part_of_a_trainer_is_put_back(tmp_path):
    path = tmp_path / "snapshot"
    saved = make(5.0)
    holdfast.save(path, saved)
    trainer = make(7.0)
    before, kept = state_of(trainer), trainer.updater.targets["weights"]
    trainer.updater.targets["fragile"].fails = True
    with pytest.raises(holdfast.MismatchError, match=r"half-way[\s\S]*was put back"):
        holdfast.restore(path, trainer)
    assert state_of(trainer) == before
    assert trainer.updater.targets["weights"] is kept
    holdfast.restore(path, trainer)
    assert state_of(trainer) == state_of(saved)
    assert trainer.updater.targets["weights"] is kept


def test_restoring_a_trainer_keeps_its_state_once_and_not_once_for_each_level(tmp_path, monkeypatch):
    from holdfast.state import loading

    path = tmp_path / "snapshot"
    holdfast.save(path, make(5.0))
    kept = []
    detached = loading.detached
    monkeypatch.setattr(loading, "detached", lambda node: kept.append(node) or detached(node))
    holdfast.restore(path, make(7.0))
    assert [node.keys[0] for node in kept if node.kind == "dict"] == ["updater"]  # the others are global generators
