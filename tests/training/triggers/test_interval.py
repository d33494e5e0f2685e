from __future__ import annotations

import math
from fractions import Fraction
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.training import Trainer
from holdfast.training.triggers import AnyTrigger, IntervalTrigger, every, get_trigger
from holdfast.training.triggers.interval import has_ended, position_of, whole_intervals
from training.fakes import CountingUpdater
from training.serializers import loaded, restored, saved, tree_of

STEP_S = 0.125  # of the clock, an iteration; exact in binary, as sums of 0.1 are not


def at(iteration, epoch_detail=None, elapsed_s=0.0, previous_epoch_detail=None):
    """A trainer that is there."""
    updater = SimpleNamespace(iteration=iteration, previous_epoch_detail=previous_epoch_detail)
    if epoch_detail is not None:
        updater.epoch_detail = epoch_detail
    return SimpleNamespace(updater=updater, elapsed_time=elapsed_s)


class TestWholeIntervals:
    @settings(deadline=None)
    @given(count=st.integers(0, 10**6), parts=st.integers(1, 1000))
    def test_a_position_that_is_a_whole_number_of_fractions_counts_them_exactly(self, count, parts):
        assert whole_intervals(count / parts, 1 / parts) == count

    @settings(deadline=None)
    @given(count=st.integers(1, 10**6), parts=st.integers(1, 1000))
    def test_what_is_a_thousandth_of_an_iteration_short_does_not_count(self, count, parts):
        assert whole_intervals((count - 0.001) / parts, 1 / parts) == count - 1

    def test_whole_numbers_of_any_size_are_exact(self):
        assert whole_intervals(10**30 - 1, 10**15) == 10**15 - 1


class TestConstruction:
    @pytest.mark.parametrize("period", [0, -1, -0.5, math.inf, math.nan])
    def test_a_period_that_is_not_above_zero_and_finite_is_refused(self, period):
        with pytest.raises(ValueError, match="above zero and finite"):
            IntervalTrigger(period, "epoch")

    @pytest.mark.parametrize("period", [True, "1", None, 1j])
    def test_a_period_that_is_no_number_is_refused(self, period):
        with pytest.raises(TypeError, match="must be a number"):
            IntervalTrigger(period, "epoch")

    def test_an_unknown_unit_is_refused_with_the_known_ones(self):
        with pytest.raises(ValueError, match="one of iteration, epoch, second, not 'epochs'"):
            IntervalTrigger(1, "epochs")

    def test_it_says_what_it_is(self):
        trigger = IntervalTrigger(5, "epoch")
        assert str(trigger) == "IntervalTrigger(5, 'epoch')"
        assert trigger.get_training_length() == (5, "epoch")
        assert str(trigger | every(seconds=3)) == "IntervalTrigger(5, 'epoch') | IntervalTrigger(3, 'second')"


class TestEvery:
    @pytest.mark.parametrize(
        ("given", "period", "unit"),
        [
            ({"steps": 100}, 100, "iteration"),
            ({"seconds": 1.5}, 1.5, "second"),
            ({"minutes": 10}, 600, "second"),
            ({"hours": 0.5}, 1800, "second"),
        ],
    )
    def test_it_makes_an_interval(self, given, period, unit):
        assert every(**given).get_training_length() == (period, unit)

    @pytest.mark.parametrize("given", [{}, {"steps": 1, "hours": 1}])
    def test_it_takes_exactly_one(self, given):
        with pytest.raises(TypeError, match="exactly one of"):
            every(**given)

    @pytest.mark.parametrize("given", [{"steps": 0}, {"minutes": -1}])
    def test_it_must_be_above_zero(self, given):
        with pytest.raises(ValueError, match="above zero"):
            every(**given)


class TestGetTrigger:
    def test_a_callable_is_a_trigger(self):
        assert get_trigger(print) is print

    def test_none_never_fires(self):
        assert get_trigger(None)(at(1)) is False

    @pytest.mark.parametrize("pair", [(3, "epoch"), [3, "epoch"]])
    def test_a_pair_makes_an_interval(self, pair):
        assert get_trigger(pair).get_training_length() == (3, "epoch")

    @pytest.mark.parametrize("wrong", [3, "epoch", (3,), (3, "epoch", 1)])
    def test_anything_else_is_refused(self, wrong):
        with pytest.raises(TypeError, match="a callable, None or a pair"):
            get_trigger(wrong)


class TestFiring:
    @pytest.mark.parametrize("parts", [3, 7, 10, 100])
    def test_a_fraction_of_an_epoch_fires_that_often_in_each_epoch_and_never_drifts(self, parts):
        trigger = IntervalTrigger(1 / parts, "epoch")
        fired = [i for i in range(1, 30 * parts + 1) if trigger(at(i, i / parts))]
        assert fired == list(range(1, 30 * parts + 1))

    def test_a_tenth_fires_at_every_tenth(self):
        trigger = IntervalTrigger(0.1, "epoch")
        fired = [i for i in range(1, 201) if trigger(at(i, i / 20))]
        assert fired == list(range(2, 201, 2))

    def test_one_that_is_asked_seldom_catches_up(self):
        trigger = IntervalTrigger(10, "iteration")
        assert [i for i in range(7, 60, 7) if trigger(at(i))] == [14, 21, 35, 42, 56]

    def test_one_that_is_late_by_several_intervals_fires_once(self):
        trigger = every(seconds=1)
        assert [trigger.due(i, seconds) for i, seconds in enumerate([0.5, 5.2, 5.9, 6.0], 1)] == [0, 1, 0, 1]
        assert trigger.count == 6

    def test_any_other_number_may_be_a_period(self):
        trigger = IntervalTrigger(Fraction(1, 3), "epoch")
        assert [i for i in range(1, 10) if trigger(at(i, i / 6))] == [2, 4, 6, 8]

    def test_a_loop_without_epochs_is_told_so(self):
        with pytest.raises(ValueError, match=r"IntervalTrigger\(1, 'epoch'\) counts epochs"):
            IntervalTrigger(1, "epoch").due(1, 0.0)

    def test_due_and_a_call_are_the_same(self):
        for trigger, other in ((every(steps=3), every(steps=3)), (every(seconds=0.25), every(seconds=0.25))):
            asked = [(i, i / 10) for i in range(1, 20)]
            assert [trigger.due(i, s) for i, s in asked] == [other(at(i, elapsed_s=s)) for i, s in asked]


class TestJoining:
    def test_it_fires_when_any_does_and_asks_every_one(self):
        joined = every(steps=2) | every(steps=3) | every(steps=6)
        assert len(joined.triggers) == 3
        assert [i for i in range(1, 13) if joined(at(i))] == [2, 3, 4, 6, 8, 9, 10, 12]
        assert [part.count for part in joined.triggers] == [6, 4, 2]

    @pytest.mark.parametrize("join", [lambda one: one | (3, "iteration"), lambda one: (3, "iteration") | one])
    def test_a_pair_joins(self, join):
        joined = join(every(steps=2))
        assert [i for i in range(1, 7) if joined(at(i))] == [2, 3, 4, 6]

    def test_a_callable_joins_but_only_a_trainer_can_ask_it(self):
        joined = every(steps=2) | (lambda trainer: trainer.updater.iteration == 5)
        assert [i for i in range(1, 7) if joined(at(i))] == [2, 4, 5, 6]
        with pytest.raises(TypeError, match="can only be asked by a trainer"):
            joined.due(7, 0.0)

    def test_a_joined_trigger_is_due_when_a_part_is(self):
        joined = every(steps=3) | every(seconds=10)
        assert [joined.due(i, 4.0 * i) for i in range(1, 7)] == [False, False, True, False, True, True]

    def test_what_is_no_trigger_does_not_join(self):
        with pytest.raises(TypeError, match="unsupported operand"):
            every(steps=2) | "epoch"


class TestEnd:
    @pytest.mark.parametrize(
        ("trigger", "ended"),
        [
            (IntervalTrigger(8, "iteration"), False),
            (IntervalTrigger(7, "iteration"), True),
            (IntervalTrigger(0.7, "epoch"), True),
            (IntervalTrigger(0.71, "epoch"), False),
            (every(seconds=30), True),
            (every(seconds=31), False),
            (every(seconds=31) | (7, "iteration"), True),
            (every(seconds=31) | (8, "iteration"), False),
            (lambda trainer: True, False),
        ],
    )
    def test_a_training_has_ended_once_it_is_as_long_as_the_trigger_says(self, trigger, ended):
        assert has_ended(trigger, at(7, 0.7, 30.0)) is ended

    def test_positions(self):
        trainer = at(7, 0.7, 30.0)
        assert [position_of(trainer, unit) for unit in ("iteration", "epoch", "second")] == [7, 0.7, 30.0]


class Sparse:
    """Asks a trigger in every third iteration only, as a rare extension asks the trigger inside it."""

    def __init__(self, trigger):
        self.trigger = trigger

    def __call__(self, trainer):
        return trainer.updater.iteration % 3 == 0 and self.trigger(trainer)

    def serialize(self, serializer):
        self.trigger.serialize(serializer["trigger"])


TRIGGERS = {
    "iterations": lambda: IntervalTrigger(4, "iteration"),
    "epochs": lambda: IntervalTrigger(1, "epoch"),
    "tenths of epochs": lambda: IntervalTrigger(0.1, "epoch"),
    "odd fractions": lambda: IntervalTrigger(0.35, "epoch"),
    "time": lambda: every(minutes=0.01),
    "time shorter than an iteration": lambda: every(seconds=0.04),
    "joined": lambda: every(seconds=0.7) | every(steps=4) | (0.25, "epoch"),
    "sparse iterations": lambda: Sparse(IntervalTrigger(4, "iteration")),
    "sparse fractions": lambda: Sparse(IntervalTrigger(0.1, "epoch")),
    "sparse time": lambda: Sparse(every(seconds=0.5)),
}


class TestResuming:
    @pytest.mark.parametrize("name", TRIGGERS)
    def test_a_run_stopped_at_any_iteration_fires_as_one_that_was_not(self, name, tmp_path, clock):
        def run(stop, fired, tree=None):
            class Updater(CountingUpdater):
                def update(self):
                    clock.now += STEP_S
                    super().update()

            trainer = Trainer(Updater(7), (stop, "iteration"), out=tmp_path)
            trainer.extend(lambda trainer: fired.append(trainer.updater.iteration), name="e", trigger=TRIGGERS[name]())
            if tree is not None:
                restored(tree, trainer)
            trainer.run()
            clock.now += 12345.625
            return tree_of(trainer)

        whole = []
        run(30, whole)
        assert whole, "a trigger that never fires shows nothing"
        for stop in range(1, 30):
            fired = []
            run(30, fired, run(stop, fired))
            assert fired == whole, f"stopped after iteration {stop}"

    def test_the_keys_are_chainers(self):
        assert saved(IntervalTrigger(3, "epoch")) == {"previous_iteration": 0, "previous_epoch_detail": 0.0}
        assert set(saved(every(seconds=3))) == {"previous_iteration", "previous_epoch_detail", "previous_elapsed_time"}
        assert set(saved(AnyTrigger((1, "epoch"), print))) == {"0/previous_iteration", "0/previous_epoch_detail"}

    @pytest.mark.parametrize(("period", "fires"), [(6, True), (4, False)])
    def test_an_old_file_without_the_iteration_warns_and_guesses_the_one_before(self, period, fires):
        trigger = IntervalTrigger(period, "iteration")
        with pytest.warns(UserWarning, match="The previous value of iteration is not saved"):
            loaded({"previous_epoch_detail": 0.5}, trigger)
        assert trigger(at(6)) is fires

    def test_the_guess_is_the_same_where_the_restore_is_not_strict(self):
        class Old:
            def serialize(self, serializer):
                serializer("previous_epoch_detail", 0.5)

        trigger = IntervalTrigger(4, "iteration")
        with pytest.warns(UserWarning, match="The previous value of iteration is not saved"):
            restored(tree_of(Old()), trigger, strict=False)
        assert trigger(at(6)) is False

    @pytest.mark.parametrize(("before", "fires"), [(0.9, True), (1.0, False), (None, True)])
    def test_an_old_file_without_the_epoch_warns_and_asks_the_updater(self, before, fires):
        trigger = IntervalTrigger(1, "epoch")
        with pytest.warns(UserWarning, match="The previous value of epoch_detail is not saved"):
            loaded({"previous_iteration": 5}, trigger)
        assert trigger(at(6, 1.1, previous_epoch_detail=before)) is fires

    def test_a_file_without_the_time_warns_and_begins_with_the_next_call(self):
        trigger = every(seconds=10)
        with pytest.warns(UserWarning, match="The previous value of elapsed_time is not saved"):
            loaded({"previous_iteration": 5, "previous_epoch_detail": 0.0}, trigger)
        assert [trigger.due(i, seconds) for i, seconds in ((6, 37.0), (7, 39.9), (8, 40.0))] == [False, False, True]
