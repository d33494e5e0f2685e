"""Triggers that look at reported values: when they fire, what they keep, and that a resume changes nothing."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from holdfast.training import Trainer
from holdfast.training.triggers import (
    AnyTrigger,
    BestValueTrigger,
    EarlyStoppingTrigger,
    MaxValueTrigger,
    MinValueTrigger,
)
from holdfast.training.triggers.interval import has_ended
from training.fakes import CountingUpdater
from training.serializers import loaded, restored, saved, tree_of

LOSSES = [5, 4, 6, 3, 3, 2, 7, math.nan, 1, 1, 4, 0.5, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 0.25, 9, 9, 9, 9, 9]


def at(iteration, **observation):
    updater = SimpleNamespace(iteration=iteration, epoch_detail=iteration / 10, epoch=iteration // 10)
    return SimpleNamespace(updater=updater, observation=observation, elapsed_time=0.0)


def fired(trigger, start=1, stop=30):
    return [i for i in range(start, stop + 1) if trigger(at(i, loss=LOSSES[i - 1]))]


MAKERS = {
    "min": lambda: MinValueTrigger("loss", (2, "iteration")),
    "max": lambda: MaxValueTrigger("loss", (3, "iteration")),
    "own": lambda: BestValueTrigger("loss", lambda best, new: abs(new - 3) < abs(best - 3), (1, "iteration")),
    "early": lambda: EarlyStoppingTrigger((2, "iteration"), "loss", 2, max_trigger=(28, "iteration")),
}


class TestBestValue:
    def test_each_new_minimum_fires_and_nan_never_does(self):
        trigger = MinValueTrigger("loss", (1, "iteration"))
        assert fired(trigger) == [1, 2, 4, 6, 9, 12, 25]
        assert trigger.best_value == 0.25

    def test_each_new_maximum_fires(self):
        assert fired(MaxValueTrigger("loss", (1, "iteration"))) == [1, 3, 7, 13]

    def test_the_mean_of_an_interval_counts(self):
        trigger = MinValueTrigger("loss", (3, "iteration"))
        assert fired(trigger, stop=6) == [3, 6]
        assert trigger.best_value == pytest.approx(8 / 3)

    def test_nan_first_is_no_best_value(self):
        trigger = MaxValueTrigger("loss", (1, "iteration"))
        assert not trigger(at(1, loss=math.nan))
        assert trigger.best_value is None
        assert trigger(at(2, loss=np.float32(-1)))

    def test_a_value_reported_now_and_then_is_enough(self):
        trigger = MinValueTrigger("loss", (2, "iteration"))
        assert not trigger(at(1, loss=3.0))
        assert trigger(at(2, other=1.0))

    def test_a_value_that_was_not_reported_is_an_error_that_says_what_was(self):
        trigger = MinValueTrigger("loss", (1, "iteration"))
        with pytest.raises(KeyError, match=r"waits for 'loss'.*reported in this iteration: 'a', 'b'"):
            trigger(at(1, b=1.0, a=2.0))

    def test_a_file_without_a_best_value_warns(self):
        state = {key: value for key, value in saved(MinValueTrigger("loss")).items() if key != "best_value"}
        with pytest.warns(UserWarning, match="The best value is not saved"):
            assert loaded(state, MinValueTrigger("loss")).best_value is None

    def test_its_state_has_chainers_keys(self):
        trigger = MAKERS["min"]()
        fired(trigger, stop=3)
        assert set(saved(trigger)) == {
            "best_value", "interval_trigger/previous_iteration", "interval_trigger/previous_epoch_detail",
            "summary/_names", "summary/_summaries/0/_x", "summary/_summaries/0/_x2", "summary/_summaries/0/_n",
        }  # fmt: skip


class TestEarlyStopping:
    def stop_of(self, **arguments):
        trigger = EarlyStoppingTrigger((1, "iteration"), "loss", **{"max_trigger": (30, "iteration"), **arguments})
        return next(i for i in range(1, 31) if trigger(at(i, loss=LOSSES[i - 1])))

    def test_it_stops_after_so_many_checks_without_a_new_best(self):
        assert self.stop_of(patience=2) == 8  # 2 at the sixth, then 7 and NaN
        assert self.stop_of(patience=6) == 18
        assert self.stop_of() == 15  # three

    def test_it_stops_at_its_end_in_any_case(self):
        assert self.stop_of(patience=2, max_trigger=(5, "iteration")) == 5

    @pytest.mark.parametrize(
        ("monitor", "mode", "best"),
        [("main/accuracy", "auto", -math.inf), ("main/loss", "auto", math.inf), ("main/accuracy", "min", math.inf),
         ("main/loss", "max", -math.inf)],
    )  # fmt: skip
    def test_its_mode_says_which_is_better(self, monitor, mode, best):
        assert EarlyStoppingTrigger(monitor=monitor, mode=mode).best == best

    def test_a_value_that_was_not_reported_warns_and_stops_nothing(self):
        trigger = EarlyStoppingTrigger((1, "iteration"), "loss", 1)
        with pytest.warns(UserWarning, match="loss is not in observation.*reported: 'a'"):
            assert not trigger(at(1, a=1.0))
        assert trigger.count == 0

    def test_with_verbose_it_says_what_it_does(self, capsys):
        assert self.stop_of(patience=2, verbose=True) == 8
        assert capsys.readouterr().out == "early stopping: operator is less\nEpoch 0: early stopping\n"

    def test_the_old_name_of_patience_works_and_warns(self):
        with pytest.warns(DeprecationWarning, match="use patience"):
            assert EarlyStoppingTrigger(patients=7).patience == 7
        with pytest.raises(TypeError, match="both given"):
            EarlyStoppingTrigger(patience=1, patients=1)

    def test_an_unknown_mode_is_refused(self):
        with pytest.raises(ValueError, match="'auto', 'max' or 'min', not 'most'"):
            EarlyStoppingTrigger(mode="most")

    def test_its_length_is_that_of_its_end_where_that_has_one(self):
        assert EarlyStoppingTrigger(max_trigger=(7, "epoch")).get_training_length() == (7, "epoch")
        endless = EarlyStoppingTrigger(max_trigger=lambda trainer: False)
        assert not hasattr(endless, "get_training_length")
        assert not has_ended(endless, at(10**6))

    @pytest.mark.parametrize("join", [lambda trigger: trigger, lambda trigger: AnyTrigger(trigger, (90, "iteration"))])
    def test_a_training_that_it_has_ended_stops_at_once_when_it_is_resumed(self, join, tmp_path):
        def training(patience=2):
            stop = EarlyStoppingTrigger((3, "iteration"), "loss", patience, "max", max_trigger=(60, "iteration"))
            return Trainer(CountingUpdater(), join(stop), tmp_path)

        first = training()
        first.run()
        assert first.updater.iteration == 9  # the best of its checks is the first
        again = restored(tree_of(first), training())
        again.run()
        assert again.updater.iteration == 9
        patient = restored(tree_of(first), training(patience=4))
        patient.run()
        assert patient.updater.iteration == 15

    def test_without_patience_a_training_begins_all_the_same(self, tmp_path):
        trainer = Trainer(CountingUpdater(), EarlyStoppingTrigger((3, "iteration"), "loss", 0), tmp_path)
        trainer.run()
        assert trainer.updater.iteration == 3

    def test_it_ends_a_training(self, tmp_path):
        trainer = Trainer(CountingUpdater(), EarlyStoppingTrigger((1, "iteration"), "loss", 1, mode="max"), tmp_path)
        trainer.run()
        assert trainer.updater.iteration < 1000


@pytest.mark.parametrize(
    "make",
    [
        lambda: MaxValueTrigger("loss", (10, "iteration")),
        lambda: MinValueTrigger("loss", (1, "epoch")),
        lambda: EarlyStoppingTrigger((10, "iteration"), "loss", 1, "max", max_trigger=(50, "iteration")),
        lambda: EarlyStoppingTrigger((90, "iteration"), "loss", max_trigger=(10, "iteration")),
    ],
)
def test_one_that_is_new_to_a_resumed_training_looks_at_whole_intervals_only(make, tmp_path):
    first = Trainer(CountingUpdater(), (17, "iteration"), out=tmp_path)
    first.run()
    calls = []
    second = Trainer(CountingUpdater(), (31, "iteration"), out=tmp_path)
    second.extend(lambda trainer: calls.append(trainer.updater.iteration), name="new", trigger=make())
    restored(tree_of(first), second)
    second.run()
    assert calls
    assert not [iteration for iteration in calls if iteration % 10]


class Holder:
    """What has the trigger, as a trainer has."""

    def __init__(self, trigger):
        self.trigger = trigger

    def serialize(self, serializer):
        self.trigger.serialize(serializer["stop_trigger"])


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("stop", range(31))
def test_stopped_anywhere_and_resumed_it_fires_as_if_nothing_had_happened(kind, stop):
    make = MAKERS[kind]
    whole = fired(make())
    assert whole
    for save, load in ((saved, loaded), (tree_of, restored)):
        first = Holder(make())
        before = fired(first.trigger, stop=stop)
        resumed = load(save(first), Holder(make()))
        assert before + fired(resumed.trigger, stop + 1) == whole
