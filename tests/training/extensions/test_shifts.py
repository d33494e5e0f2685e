"""The shifts: Chainer's formulas, and the very same values after a resume."""

from __future__ import annotations

import numpy as np
import pytest

from holdfast import serializers
from holdfast.iterators import BatchIterator
from holdfast.training import Trainer, extensions, updaters
from training.extensions.shifting import LENGTH, follow, groups, parts, plain, rates, run
from training.serializers import loaded, restored, saved, tree_of

CASES = {
    "exponential": (lambda: extensions.ExponentialShift("lr", 0.9), lambda t: 2.0 * 0.9**t),
    "exponential, to a target": (
        lambda: extensions.ExponentialShift("lr", 0.5, init=16.0, target=3.0),
        lambda t: max(16.0 * 0.5**t, 3.0),
    ),
    "exponential, up to a target": (
        lambda: extensions.ExponentialShift("lr", 2, init=1, target=100),
        lambda t: min(2**t, 100),
    ),
    "exponential, below zero": (
        lambda: extensions.ExponentialShift("lr", 0.5, init=-16.0, target=-3.0),
        lambda t: min(-16.0 * 0.5**t, -3.0),
    ),
    "exponential, to zero": (lambda: extensions.ExponentialShift("lr", 0.5, target=0.0), lambda t: 2.0 * 0.5**t),
    "inverse": (lambda: extensions.InverseShift("lr", 0.1, 0.75), lambda t: 2.0 * (1 + 0.1 * t) ** -0.75),
    "inverse, up to a target": (
        lambda: extensions.InverseShift("lr", 1.0, -1, init=1.0, target=9.5),
        lambda t: min(1.0 + t, 9.5),
    ),
    "linear": (
        lambda: extensions.LinearShift("lr", (1.0, 3.0), (5, 15)),
        lambda t: 1.0 + min(max(t - 5, 0), 10) / 10 * 2.0,
    ),
    "multistep": (
        lambda: extensions.MultistepShift("lr", 0.1, [3, 7, 8], 1.0),
        lambda t: 1.0 * 0.1 ** sum(t >= step for step in (3, 7, 8)),
    ),
    "multistep, the optimizer's": (
        lambda: extensions.MultistepShift("lr", 0.5, (2, 9), None),
        lambda t: 2.0 * 0.5 ** sum(t >= step for step in (2, 9)),
    ),
    "polynomial": (lambda: extensions.PolynomialShift("lr", 2, 20), lambda t: 2.0 * max(1 - t / 20, 0) ** 2),
    "polynomial, to a target": (
        lambda: extensions.PolynomialShift("lr", 1, 20, init=4.0, target=3.0),
        lambda t: max(4.0 * max(1 - t / 20, 0), 3.0),
    ),
    "polynomial, up to a target": (
        lambda: extensions.PolynomialShift("lr", -1, 20, init=1.0, target=8.0),
        lambda t: 8.0 if t >= 18 else 1.0 * (1 - t / 20) ** -1,
    ),
    "step": (lambda: extensions.StepShift("lr", 0.5, 7), lambda t: 2.0 * 0.5 ** (t // 7)),
    "step, to a target": (
        lambda: extensions.StepShift("lr", 2, 5, target=9.0),
        lambda t: min(2.0 * 2 ** (t // 5), 9.0),
    ),
    "warm-up": (lambda: extensions.WarmupShift("lr", 0.5, 8, 4.5), lambda t: 0.5 + min(t, 8) / 8 * 4.0),
    "warm-up, the optimizer's": (lambda: extensions.WarmupShift("lr", None, 10, 3.0), lambda t: 2.0 + min(t, 10) / 10),
}
shifts = pytest.mark.parametrize(("make", "formula"), CASES.values(), ids=CASES)


@shifts
def test_values_follow_the_formula(make, formula, tmp_path):
    used, _ = run(tmp_path, make(), plain())
    assert [used[t + 1] for t in range(LENGTH)] == [[pytest.approx(formula(t), rel=1e-12)] for t in range(LENGTH)]


@shifts
@pytest.mark.parametrize("optimizer", [plain, lambda: groups(2.0, 0.2)], ids=["an attribute", "groups"])
def test_a_run_that_is_stopped_anywhere_goes_on_with_the_same_values(make, formula, optimizer):
    whole = follow(make(), optimizer(), LENGTH)
    for stop in range(LENGTH):
        first = parts(make(), optimizer())
        before = follow(first["shift"], first.get("optimizer", optimizer()), stop)
        held = optimizer()
        second = parts(make(), held)
        restored(tree_of(first), second)
        after = follow(second["shift"], held, LENGTH - stop)
        assert before + after[1:] == whole, f"stopped after {stop}"
        assert after[0] == before[-1], f"stopped after {stop}"


@shifts
def test_the_least_of_serializers_is_enough(make, formula):
    whole = follow(make(), plain(), LENGTH)
    for stop in range(LENGTH):
        first = make()
        before = follow(first, plain(), stop)
        after = follow(loaded(saved(first), make()), plain(), LENGTH - stop)
        assert before + after[1:] == whole, f"stopped after {stop}"


@pytest.mark.parametrize("name", ["exponential", "warm-up", "multistep, the optimizer's"])
def test_a_trainer_that_is_stopped_anywhere_gives_each_update_the_same_rate(name, tmp_path):
    make, _ = CASES[name]
    whole, _ = run(tmp_path, make(), groups(2.0, 0.2))
    for stop in range(1, LENGTH):
        before, trainer = run(tmp_path, make(), groups(2.0, 0.2), length=stop)
        after, _ = run(tmp_path, make(), groups(2.0, 0.2), state=tree_of(trainer))
        assert {**before, **after} == whole, f"stopped at {stop}"


@pytest.mark.parametrize("name", ["exponential, to a target", "multistep", "warm-up, the optimizer's"])
def test_a_run_that_goes_on_from_a_snapshot_file_has_the_same_values(name, tmp_path):
    make, formula = CASES[name]

    def segment(out, length):
        used = []
        optimizer = groups(2.0, 0.2)
        batches = BatchIterator(np.arange(12.0), 4, shuffle=True, seed=3)
        updater = updaters.FunctionUpdater(
            batches, lambda batch: used.append(rates(optimizer)), targets={"opt": optimizer}
        )
        trainer = Trainer(updater, (length, "iteration"), out=out)
        trainer.extend(make())
        trainer.extend(extensions.snapshot(autoload=True), trigger=(1, "iteration"))
        trainer.run()
        return used

    whole = segment(tmp_path / "whole", LENGTH)
    assert [pair[0] for pair in whole] == [pytest.approx(formula(t), rel=1e-12) for t in range(LENGTH)]
    stopped = [segment(tmp_path / "stopped", length) for length in range(1, LENGTH + 1)]
    assert [used for [used] in stopped] == whole


@shifts
@pytest.mark.parametrize("kind", ["npz", "hdf5"])
def test_the_state_goes_through_files_of_chainers_formats(make, formula, kind, tmp_path):
    if kind == "hdf5":
        pytest.importorskip("h5py")
    save, load = getattr(serializers, f"save_{kind}"), getattr(serializers, f"load_{kind}")
    fresh, whole = make(), make()
    save(tmp_path / "fresh", fresh)
    load(tmp_path / "fresh", again := make())
    assert saved(again) == saved(fresh)
    run(tmp_path, whole, groups(2.0, 0.2), length=11)
    save(tmp_path / "state", whole)
    load(tmp_path / "state", again := make())
    assert saved(again) == saved(whole)
    assert saved(again)["_t"] == 11
