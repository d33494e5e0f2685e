"""Policies: what each chooses, how they join, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from holdfast import keep
from snapshots import NOON, made_up


def steps(policy, snapshots):
    return [snapshot.step for snapshot in policy.choose(snapshots)]


def test_last_chooses_the_newest_by_sequence_number_whatever_their_steps():
    snapshots = [made_up(1, step=30), made_up(2, step=10), made_up(3, step=20)]
    assert steps(keep.last(2), snapshots) == [10, 20]
    assert steps(keep.last(5), snapshots) == [30, 10, 20]


@pytest.mark.parametrize(("mode", "wanted"), [("min", [2, 4]), ("max", [3, 1])])
def test_best_chooses_by_the_metric_in_the_direction_of_its_mode(mode, wanted):
    values = {1: 0.5, 2: 0.1, 3: 0.9, 4: 0.2}
    snapshots = [made_up(sequence, metrics={"loss": value}) for sequence, value in values.items()]
    assert steps(keep.best(2, "loss", mode=mode), snapshots) == wanted


@pytest.mark.parametrize("mode", ["min", "max"])
def test_best_never_counts_nan_or_a_snapshot_without_the_metric(mode):
    snapshots = [made_up(1, metrics={"loss": math.nan}), made_up(2, metrics={"loss": 0.3}), made_up(3)]
    assert steps(keep.best(3, "loss", mode=mode), snapshots) == [2]


def test_best_of_infinite_values_is_the_infinite_one():
    snapshots = [made_up(1, metrics={"a": 1e300}), made_up(2, metrics={"a": math.inf})]
    assert steps(keep.best(1, "a", mode="max"), snapshots) == [2]


def test_of_equally_good_ones_the_older_is_best_so_that_a_plateau_changes_nothing():
    snapshots = [made_up(sequence, metrics={"accuracy": 1.0}) for sequence in (1, 2, 3)]
    assert steps(keep.best(1, "accuracy", mode="max"), snapshots) == [1]


def test_every_so_many_steps_chooses_the_first_at_or_after_each_multiple():
    snapshots = [made_up(number, step=step) for number, step in enumerate([25, 975, 1000, 1025, 1999, 2010, 4000], 1)]
    assert steps(keep.every(steps=1000), snapshots) == [25, 1000, 2010, 4000]


def test_every_so_many_steps_leaves_out_what_has_no_step():
    assert keep.every(steps=10).choose([replace(made_up(1), step=None)]) == []


def test_every_so_many_hours_goes_by_the_time_in_the_header():
    times = [NOON + timedelta(hours=hours) for hours in (0, 1, 5.9, 6, 11, 12.5)]
    snapshots = [made_up(number, created_at=time) for number, time in enumerate(times, 1)]
    assert steps(keep.every(hours=6), snapshots) == [1, 4, 6]
    assert steps(keep.every(hours=0.5), snapshots) == [1, 2, 3, 4, 5, 6]


def test_a_clock_that_jumped_forward_and_back_only_adds_an_interval():
    times = [NOON, NOON + timedelta(days=900), NOON + timedelta(hours=1), NOON + timedelta(hours=7)]
    snapshots = [made_up(number, created_at=time) for number, time in enumerate(times, 1)]
    assert sorted(steps(keep.every(hours=6), snapshots)) == [1, 2, 4]


def test_joined_policies_choose_what_either_chooses_each_once():
    snapshots = [made_up(sequence, metrics={"loss": sequence}) for sequence in range(1, 7)]
    joined = keep.last(2) | keep.best(1, "loss", mode="min") | keep.every(steps=4)
    assert sorted(steps(joined, snapshots)) == [1, 4, 5, 6]
    assert len(joined.choose(snapshots)) == 4


def test_joined_policies_have_their_parts_and_equal_ones_are_equal():
    left = keep.last(3) | (keep.every(hours=2) | keep.every(steps=5))
    assert left.parts() == (keep.last(3), keep.every(hours=2), keep.every(steps=5))
    assert left == keep.last(3) | keep.every(hours=2) | keep.every(steps=5)
    assert str(left) == "one of the last 3, or the first of each 2 hours, or the first of each 5 steps"


def test_a_policy_is_frozen():
    with pytest.raises(AttributeError):
        keep.last(3).n = 2


def test_numpy_ints_and_floats_are_numbers():
    assert keep.last(np.int64(3)) == keep.last(3)
    assert keep.every(hours=np.float32(0.5)) == keep.every(hours=0.5)


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: keep.last(0), ValueError, "keep.last: n must be at least 1, not 0"),
        (lambda: keep.last(2.0), TypeError, "keep.last: n must be an int, not 2.0"),
        (lambda: keep.last(True), TypeError, "keep.last: n must be an int, not True"),
        (lambda: keep.best(0, "loss", mode="min"), ValueError, "keep.best: n must be at least 1"),
        (lambda: keep.best("loss", 1, mode="min"), TypeError, "metric must be the name of a metric, not 1"),
        (lambda: keep.best(1, "loss", mode="lowest"), ValueError, "mode must be 'min' .* or 'max' .*, not 'lowest'"),
        (lambda: keep.best(1, "loss"), TypeError, "mode"),
        (keep.every, TypeError, "exactly one of steps and hours, not nothing"),
        (lambda: keep.every(steps=1, hours=1), TypeError, "exactly one of steps and hours, not both"),
        (lambda: keep.every(steps=0), ValueError, "steps must be at least 1"),
        (lambda: keep.every(steps=1e3), TypeError, "steps must be an int, not 1000.0"),
        (lambda: keep.every(hours=0), ValueError, "hours must be above 0 and finite, not 0"),
        (lambda: keep.every(hours=math.inf), ValueError, "hours must be above 0 and finite"),
        (lambda: keep.every(hours=math.nan), ValueError, "hours must be above 0 and finite"),
        (lambda: keep.every(hours="6"), TypeError, "hours must be a number, not '6'"),
        (lambda: keep.every(hours=True), TypeError, "hours must be a number, not True"),
        (lambda: keep.last(3) | 4, TypeError, "unsupported operand"),
    ],
)
def test_what_is_no_policy_is_refused_and_named(make, error, says):
    with pytest.raises(error, match=says):
        make()
