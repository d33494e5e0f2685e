from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from holdfast import reporter
from holdfast.serializers import NpzDeserializer
from holdfast.state.flat import flatten
from holdfast.training import Trainer, make_extension
from holdfast.training.extensions.micro_average import MicroAverage
from training.fakes import CountingUpdater
from training.serializers import loaded, restored, saved, tree_of


class Batches(CountingUpdater):
    """Reports, of batches of unequal size, how many examples there were and how many of them were right; with `gaps`
    not in the last iteration of an epoch."""

    def __init__(self, iterations_an_epoch=7, kind=int, gaps=False):
        super().__init__(iterations_an_epoch)
        self.kind = kind
        self.gaps = gaps

    def update(self):
        self.iteration += 1
        if self.gaps and self.is_new_epoch:
            return
        total = 1 + self.iteration * 5 % 4
        reporter.report({"correct": self.kind(self.iteration % (total + 1)), "total": self.kind(total)})


def run(out, average, iterations=30, resume_from=None, updater=None):
    """What was reported as "accuracy", by the iteration; and the trainer."""
    found = {}

    @make_extension(priority=50)
    def look(trainer):
        if "accuracy" in trainer.observation:
            found[trainer.updater.iteration] = trainer.observation["accuracy"]

    trainer = Trainer(updater or Batches(), (iterations, "iteration"), out=out, extensions=[average, look])
    if resume_from is not None:
        restored(resume_from, trainer)
    trainer.run()
    return found, trainer


def average_of(trigger=(1, "epoch")):
    return MicroAverage("correct", "total", "accuracy", trigger)


def ratio(iterations):
    totals = [1 + i * 5 % 4 for i in iterations]
    return sum(i % (total + 1) for i, total in zip(iterations, totals, strict=True)) / sum(totals)


def at(**observation):
    updater = SimpleNamespace(iteration=3, epoch_detail=0.3, previous_epoch_detail=0.2)
    return SimpleNamespace(updater=updater, observation=observation)


def called(average, **observation):
    """What it reports of an iteration."""
    with reporter.Reporter() as current:
        average(at(**observation))
    return current.observation


class TestRatio:
    def test_it_is_that_of_the_sums_of_an_interval_and_not_the_mean_of_ratios(self, tmp_path):
        found, _ = run(tmp_path, average_of(), iterations=15)
        assert found == {7: ratio(range(1, 8)), 14: ratio(range(8, 15))}

    def test_its_own_trigger_says_when_it_is_reported(self, tmp_path):
        found, _ = run(tmp_path, average_of((4, "iteration")), iterations=10)
        assert found == {4: ratio(range(1, 5)), 8: ratio(range(5, 9))}

    def test_it_is_there_for_readers_of_the_same_iteration(self):
        assert MicroAverage.priority == 200

    @pytest.mark.parametrize("kind", [float, np.int64, np.float32, torch.tensor, lambda number: np.asarray([number])])
    def test_values_are_numbers_arrays_or_tensors(self, tmp_path, kind):
        found, _ = run(tmp_path, average_of(), iterations=7, updater=Batches(kind=kind))
        assert found == {7: ratio(range(1, 8))}
        assert type(found[7]) is float

    def test_many_large_counts_are_added_up_exactly(self):
        average = MicroAverage("n", "d", "r", lambda trainer: trainer.observation["n"] == 1)
        called(average, n=2**60, d=2**60)
        called(average, n=2**60 + 1, d=torch.tensor(1))
        assert saved(average) == {"_numerator": 2**61 + 1, "_denominator": 2**60 + 1}

    def test_an_iteration_without_both_values_is_passed_over(self):
        asked = []
        average = MicroAverage("n", "d", "r", lambda trainer: not asked.append(trainer))
        assert called(average, n=1) == called(average, d=1) == called(average) == {}
        assert asked == []
        assert called(average, n=1, d=4) == {"r": 0.25}

    def test_nothing_below_the_line_is_nan_and_no_error(self):
        [value] = called(MicroAverage("n", "d", "r", lambda trainer: True), n=0, d=0).values()
        assert math.isnan(value)

    def test_the_next_interval_begins_with_nothing(self):
        average = MicroAverage("n", "d", "r", lambda trainer: True)
        called(average, n=3, d=4)
        assert called(average, n=1, d=2) == {"r": 0.5}


class TestMistakes:
    def test_a_key_that_is_no_name_is_refused(self):
        with pytest.raises(TypeError, match="denominator_key must be the name of a value, not 3"):
            MicroAverage("n", 3, "r")

    @pytest.mark.parametrize(
        ("trigger", "error"), [((0, "epoch"), ValueError), ((1, "day"), ValueError), (3, TypeError)]
    )
    def test_a_wrong_trigger_is_refused(self, trigger, error):
        with pytest.raises(error):
            average_of(trigger)

    @pytest.mark.parametrize(
        ("value", "said"), [(np.zeros((2, 3)), r"a ndarray of shape \(2, 3\)"), ("many", "a str"), (1j, "a complex")]
    )
    def test_a_value_that_is_no_number_is_named_and_nothing_is_added(self, value, said):
        average = MicroAverage("main/n", "main/d", "r")
        trainer = at(**{"main/n": 1, "main/d": value})
        with pytest.raises(TypeError, match=f"'main/d' is {said} in iteration 3"):
            average(trainer)
        assert saved(average)["_numerator"] == 0


class TestResuming:
    @pytest.mark.parametrize("trigger", [(1, "epoch"), (4, "iteration")])
    @pytest.mark.parametrize("options", [{}, {"kind": np.float32}, {"gaps": True}], ids=str)
    def test_every_ratio_is_the_same_bit_for_bit_wherever_the_run_was_stopped(self, tmp_path, trigger, options):
        whole, _ = run(tmp_path, average_of(trigger), updater=Batches(**options))
        assert len(whole) == (4 if trigger[1] == "epoch" else 7)
        for stop in range(1, 30):
            before, trainer = run(tmp_path, average_of(trigger), iterations=stop, updater=Batches(**options))
            tree = tree_of(trainer)
            after, _ = run(tmp_path, average_of(trigger), resume_from=tree, updater=Batches(**options))
            assert {**before, **after} == whole
            assert not set(before) & set(after)

    def test_the_keys_are_chainers_and_those_of_the_trigger(self, tmp_path):
        _, trainer = run(tmp_path, average_of(), iterations=10)
        state = saved(trainer.get_extension("MicroAverage"))
        assert set(state) == {
            "_numerator",
            "_denominator",
            "_trigger/previous_iteration",
            "_trigger/previous_epoch_detail",
        }
        assert state["_numerator"] == sum(i % (2 + i * 5 % 4) for i in (8, 9, 10))
        assert type(state["_numerator"]) is int
        assert saved(loaded(state, average_of())) == state

    def test_one_that_is_new_to_a_resumed_training_begins_there(self, tmp_path):
        updater = Batches()
        updater.iteration = 10
        found, _ = run(tmp_path, average_of(), updater=updater, iterations=21)
        assert found == {14: ratio(range(11, 15)), 21: ratio(range(15, 22))}

    def test_a_file_of_chainers_has_no_trigger_and_the_interval_ends_where_it_would_have(self, tmp_path):
        whole, _ = run(tmp_path, average_of())
        _, trainer = run(tmp_path, average_of(), iterations=10)
        old = saved(trainer.get_extension("MicroAverage"))
        npz = {key: np.asarray(old[key]) for key in ("_numerator", "_denominator")}
        average = average_of()
        average.serialize(NpzDeserializer(npz))
        updater = Batches()
        updater.iteration = 10
        found, _ = run(tmp_path, average, updater=updater)
        assert found == {iteration: value for iteration, value in whole.items() if iteration > 10}

    @pytest.mark.parametrize(("stored", "other"), [(2.5, 0), (7, 1.5)])
    def test_sums_are_taken_as_they_are_stored_whatever_they_are_today(self, stored, other):
        average = average_of(lambda trainer: False)
        called(average, correct=other, total=other)
        average.serialize(NpzDeserializer({"_numerator": np.asarray(stored), "_denominator": np.asarray(4)}))
        assert saved(average) == {"_numerator": stored, "_denominator": 4}
        tree = tree_of(average)
        assert {key: array.item() for key, array in flatten(tree).items()} == saved(average)
        assert saved(restored(tree, average_of(lambda trainer: False))) == saved(average)
