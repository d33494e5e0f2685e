"""Triggers at given places: when they fire, what they keep, and that a resume changes nothing."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from holdfast.training.triggers import ManualScheduleTrigger, OnceTrigger, TimeTrigger, every
from training.serializers import loaded, restored, saved, tree_of


def at(iteration, an_epoch=10, elapsed_s=0.0):
    updater = SimpleNamespace(
        iteration=iteration,
        epoch_detail=iteration / an_epoch,
        previous_epoch_detail=(iteration - 1) / an_epoch if iteration else None,
    )
    return SimpleNamespace(updater=updater, elapsed_time=elapsed_s)


def fired(trigger, iterations):
    return [iteration for iteration in iterations if trigger(at(iteration, elapsed_s=iteration))]


MAKERS = {
    "points": lambda: ManualScheduleTrigger([3, 17, 18], "iteration"),
    "epochs": lambda: ManualScheduleTrigger([0.3, 2.0, 1.5], "epoch"),
    "once": OnceTrigger,
    "time": lambda: TimeTrigger(3.5),
}


class TestManualSchedule:
    def test_it_fires_at_its_points_whatever_their_order(self):
        assert fired(ManualScheduleTrigger([7, 2, 5], "iteration"), range(1, 12)) == [2, 5, 7]

    def test_one_number_is_one_point(self):
        trigger = ManualScheduleTrigger(4, "iteration")
        assert trigger.points == [4]
        assert fired(trigger, range(1, 9)) == [4]

    def test_tuples_and_ranges_are_points_too(self):
        assert fired(ManualScheduleTrigger((2, 4), "iteration"), range(1, 9)) == [2, 4]
        assert ManualScheduleTrigger(range(1, 4), "iteration").points == [1, 2, 3]

    def test_epochs_that_floats_cannot_hold_are_met_exactly(self):
        assert fired(ManualScheduleTrigger([0.1, 0.3, 0.7], "epoch"), range(1, 12)) == [1, 3, 7]

    def test_points_between_two_calls_are_caught_up_with_by_one_firing(self):
        assert fired(ManualScheduleTrigger([2, 3, 9], "iteration"), [1, 5, 6, 10]) == [5, 10]

    def test_it_is_finished_once_its_last_point_lies_behind(self):
        trigger = ManualScheduleTrigger([2, 6], "iteration")
        states = []
        for iteration in range(1, 8):
            trigger(at(iteration))
            states.append(trigger.finished)
        assert states == [False] * 5 + [True] * 2

    def test_a_file_that_tells_nothing_warns_and_the_next_call_catches_up_with_one_iteration(self):
        trigger = ManualScheduleTrigger([3, 5], "iteration")
        with pytest.warns(UserWarning, match="ManualScheduleTrigger") as complaints:
            loaded({}, trigger)
        assert len(complaints) == 3
        assert fired(trigger, [5]) == [5]
        assert trigger.finished

    def test_a_trigger_that_is_new_to_a_resumed_training_does_not_catch_up(self):
        trigger = ManualScheduleTrigger([3, 8], "epoch")
        trigger.begin()
        assert fired(trigger, [50, 80]) == [80]

    @pytest.mark.parametrize("unit", ["second", "epochs", None])
    def test_other_units_are_refused(self, unit):
        with pytest.raises(ValueError, match=f"'iteration' or 'epoch', not {unit!r}"):
            ManualScheduleTrigger([1], unit)

    def test_no_points_and_points_that_are_no_numbers_are_refused(self):
        with pytest.raises(ValueError, match="at least one point"):
            ManualScheduleTrigger([], "epoch")
        with pytest.raises(TypeError, match="must be numbers, not 'a'"):
            ManualScheduleTrigger([1, "a"], "epoch")

    def test_a_loop_without_epochs_is_told_so(self):
        with pytest.raises(ValueError, match="this loop has none"):
            ManualScheduleTrigger([1], "epoch").due(1, 0.0)

    def test_it_joins_others(self):
        assert fired(ManualScheduleTrigger([3], "iteration") | every(steps=4), range(1, 9)) == [3, 4, 8]


class TestOnce:
    def test_it_fires_at_its_first_call_only(self):
        trigger = OnceTrigger()
        assert not trigger.finished
        assert fired(trigger, range(5)) == [0]
        assert trigger.finished

    def test_after_a_resume_it_fires_only_where_it_was_asked_to(self):
        once, again = OnceTrigger(), OnceTrigger(call_on_resume=True)
        assert (fired(once, [1, 2]), fired(again, [1, 2])) == ([1], [1])
        assert fired(loaded(saved(once), OnceTrigger()), [3, 4]) == []
        assert fired(loaded(saved(again), OnceTrigger(call_on_resume=True)), [3, 4]) == [3]

    def test_a_file_that_does_not_tell_warns_and_is_taken_for_one_that_has_fired(self):
        with pytest.warns(UserWarning, match="OnceTrigger guess it is not first"):
            trigger = loaded({}, OnceTrigger())
        assert fired(trigger, [3]) == []


class TestTime:
    def test_it_fires_when_its_time_has_passed(self):
        assert fired(TimeTrigger(3.5), range(12)) == [4, 8, 11]

    def test_late_by_several_periods_it_fires_once(self):
        assert fired(TimeTrigger(2), [1, 11, 12, 13]) == [11, 13]

    def test_one_that_is_new_to_a_resumed_training_does_not_catch_up(self):
        trigger = TimeTrigger(10)
        trigger.begin()
        assert fired(trigger, [73, 74, 80, 81, 90, 91]) == [81, 91]

    def test_one_that_begins_anew_may_be_saved_before_it_is_asked(self):
        trigger = TimeTrigger(10)
        trigger.begin()
        assert fired(loaded(saved(trigger), TimeTrigger(10)), [73, 80, 81]) == [81]

    def test_a_file_that_does_not_tell_warns(self):
        with pytest.warns(UserWarning, match="The next time is not saved"):
            loaded({}, TimeTrigger(2))

    @pytest.mark.parametrize("period", [0, -1, float("inf")])
    def test_a_period_that_is_not_above_zero_and_finite_is_refused(self, period):
        with pytest.raises(ValueError, match="above zero and finite"):
            TimeTrigger(period)


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("stop", range(31))
def test_stopped_anywhere_and_resumed_it_fires_as_if_nothing_had_happened(kind, stop):
    make = MAKERS[kind]
    whole = fired(make(), range(1, 31))
    assert whole
    for save, load in ((saved, loaded), (tree_of, restored)):
        first = make()
        before = fired(first, range(1, stop + 1))
        second = make()
        resumed = load(save(first), second)
        assert before + fired(resumed, range(stop + 1, 31)) == whole
        assert getattr(resumed, "finished", None) == getattr(_after(make(), 30), "finished", None)


def _after(trigger, iterations):
    fired(trigger, range(1, iterations + 1))
    return trigger


@pytest.mark.parametrize(
    ("trigger", "text"),
    [
        (ManualScheduleTrigger([1, 2], "epoch"), "ManualScheduleTrigger([1, 2], 'epoch')"),
        (OnceTrigger(), "OnceTrigger()"),
        (TimeTrigger(5), "TimeTrigger(5)"),
    ],
)
def test_it_says_what_it_is(trigger, text):
    assert str(trigger) == text
