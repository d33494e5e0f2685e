"""Plans: what stays and why, and what a policy cannot talk anybody out of."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast import keep
from holdfast.retention import identity, plan, relied_on
from snapshots import made_up


def kept(result):
    return {snapshot.step: reasons for snapshot, reasons in result.keep.items()}


def dropped(result):
    return [snapshot.step for snapshot in result.drop]


def test_each_that_stays_has_its_reasons_in_words_and_the_others_go():
    losses = {1: 0.1, 2: 0.5, 3: 0.4, 4: 0.3}
    snapshots = [made_up(sequence, metrics={"loss": loss}) for sequence, loss in losses.items()]
    result = plan(snapshots, keep.last(2) | keep.best(2, "loss", mode="min"), pinned=[snapshots[0]])
    assert kept(result) == {
        1: ("one of the best 2 by 'loss' (min)", "pinned"),
        3: ("one of the last 2",),
        4: ("one of the last 2", "one of the best 2 by 'loss' (min)"),
    }
    assert dropped(result) == [2]


def test_without_a_policy_everything_stays():
    assert kept(plan([made_up(1), made_up(2)], None)) == {1: ("no policy",), 2: ("the newest",)}


def test_nothing_makes_an_empty_plan():
    result = plan([], keep.last(1))
    assert (dict(result.keep), result.drop) == ({}, ())


def test_the_order_goes_by_sequence_numbers_in_whatever_order_they_are_given():
    result = plan([made_up(3), made_up(1), made_up(2)], keep.last(1))
    assert (list(kept(result)), dropped(result)) == ([3], [1, 2])


def test_the_newest_stays_though_no_policy_wants_it():
    snapshots = [made_up(1, metrics={"loss": 0.1}), made_up(2, metrics={"loss": 0.2}), made_up(3)]
    result = plan(snapshots, keep.best(1, "loss", mode="min"))
    assert kept(result) == {1: ("the best by 'loss' (min)",), 3: ("the newest",)}


def test_a_metric_that_is_nan_everywhere_still_leaves_the_newest():
    snapshots = [made_up(number, metrics={"loss": math.nan}) for number in (1, 2, 3)]
    assert kept(plan(snapshots, keep.best(2, "loss", mode="max"))) == {3: ("the newest",)}


def test_one_taken_on_an_error_does_not_count_among_those_that_a_policy_keeps():
    snapshots = [made_up(1), made_up(2), made_up(3, reason="error"), made_up(4)]
    result = plan(snapshots, keep.last(2))
    assert (list(kept(result)), dropped(result)) == ([2, 4], [1, 3])


def test_one_taken_on_an_error_never_counts_as_the_best():
    snapshots = [made_up(1, metrics={"loss": 0.0}, reason="error"), made_up(2, metrics={"loss": 0.5}), made_up(3)]
    assert dropped(plan(snapshots, keep.best(1, "loss", mode="min"))) == [1]


def test_one_taken_on_an_error_stays_while_nothing_newer_is_there():
    result = plan([made_up(1), made_up(2), made_up(3, reason="error")], keep.last(1))
    assert kept(result) == {2: ("the last one",), 3: ("the newest",)}


def test_where_there_is_no_good_one_those_taken_on_an_error_count():
    snapshots = [made_up(number, reason="error") for number in (1, 2, 3)]
    result = plan(snapshots, keep.last(2))
    assert (list(kept(result)), dropped(result)) == ([2, 3], [1])


def test_a_pinned_one_stays_even_if_it_was_taken_on_an_error():
    error = made_up(1, reason="error")
    assert kept(plan([error, made_up(2), made_up(3)], keep.last(1), pinned=[error]))[1] == ("pinned",)


def test_the_one_resumed_from_stays_until_as_many_newer_ones_as_the_policy_keeps_are_there():
    old = [made_up(5), made_up(10), made_up(11), made_up(12)]
    held = old[0]
    for new in ([13], [13, 14]):
        result = plan([*old, *map(made_up, new)], keep.last(3), held=held, held_since=12)
        assert kept(result)[5] == ("this run resumed from it",)
        assert dropped(result) == sorted({10, 11, 12, *new} - {*[10, 11, 12, *new][-3:]})
    result = plan([*old, *map(made_up, (13, 14, 15))], keep.last(3), held=held, held_since=12)
    assert list(kept(result)) == [13, 14, 15]


def test_errors_are_not_counted_among_the_newer_ones_that_the_one_resumed_from_waits_for():
    snapshots = [made_up(1), made_up(2), made_up(3, reason="error"), made_up(4)]
    assert 1 in kept(plan(snapshots, keep.last(2), held=snapshots[0], held_since=2))


def test_another_snapshot_under_the_name_of_the_one_resumed_from_is_not_held():
    held = made_up(1)
    now = replace(held, sequence=2)
    result = plan([now, made_up(3), made_up(4)], keep.last(1), held=held, held_since=4)
    assert [snapshot.sequence for snapshot in result.drop] == [2, 3]


def test_pins_and_the_one_resumed_from_are_recognised_though_nan_equals_nothing():
    def read_again():
        return [made_up(number, metrics={"loss": float("nan")}) for number in (1, 2, 3, 4)]

    first = read_again()
    result = plan(read_again(), keep.last(1), pinned=[first[0]], held=first[1], held_since=4)
    assert list(kept(result)) == [1, 2, 4]


policies = st.recursive(
    st.one_of(
        st.builds(keep.last, st.integers(1, 4)),
        st.builds(keep.best, st.integers(1, 3), st.just("loss"), mode=st.sampled_from(["min", "max"])),
        st.builds(lambda steps: keep.every(steps=steps), st.integers(1, 20)),
        st.builds(lambda hours: keep.every(hours=hours), st.floats(0.01, 100)),
    ),
    lambda inner: st.builds(lambda a, b: a | b, inner, inner),
    max_leaves=4,
)


@st.composite
def stores(draw):
    snapshots = []
    for sequence in draw(st.lists(st.integers(1, 60), unique=True, max_size=12)):
        losses = st.one_of(st.just({}), st.floats(allow_nan=True).map(lambda loss: {"loss": loss}))
        reason = draw(st.sampled_from(["save", "save", "error"]))
        snapshots.append(made_up(sequence, draw(st.integers(0, 50)), draw(losses), reason))
    return snapshots


@given(snapshots=stores(), policy=st.none() | policies, data=st.data(), since=st.integers(0, 60))
@settings(deadline=None, max_examples=300)
def test_whatever_the_policy_no_plan_loses_what_must_stay(snapshots, policy, data, since):
    some = st.lists(st.sampled_from(snapshots), max_size=3) if snapshots else st.just([])
    pinned, held = data.draw(some), (data.draw(some) or [None])[0]
    result = plan(snapshots, policy, pinned=pinned, held=held, held_since=since)

    assert sorted(map(identity, [*result.keep, *result.drop])) == sorted(map(identity, snapshots))
    assert all(
        reasons and all(type(reason) is str and reason for reason in reasons) for reasons in result.keep.values()
    )
    staying = set(map(identity, result.keep))
    good = [snapshot for snapshot in snapshots if snapshot.reason != "error"]
    for group in (snapshots, good):
        if group:
            assert identity(max(group, key=lambda snapshot: snapshot.sequence)) in staying
    assert staying >= set(map(identity, pinned))
    if policy is None:
        assert result.drop == ()
    else:
        ordered = sorted(good or snapshots, key=lambda snapshot: snapshot.sequence)
        assert staying >= set(map(identity, policy.choose(ordered)))
        if (
            held is not None
            and sum(snapshot.sequence > since for snapshot in good or snapshots) == 0
            and policy.choose(ordered)
        ):
            assert identity(held) in staying


@given(policy=policies, steps=st.lists(st.integers(1, 9), min_size=1, max_size=30))
@settings(deadline=None, max_examples=100)
def test_applying_a_plan_again_changes_nothing(policy, steps):
    snapshots = [
        made_up(number, step=sum(steps[:number]), metrics={"loss": step}) for number, step in enumerate(steps, 1)
    ]
    first = plan(snapshots, policy)
    assert plan(first.keep, policy).drop == ()


@pytest.mark.parametrize("policy", [keep.last(3), keep.every(steps=10), keep.every(steps=10) | keep.last(2)])
def test_removing_as_snapshots_come_leaves_what_one_plan_over_all_of_them_would(policy):
    everything, stream = [], []
    for number in range(1, 40):
        snapshot = made_up(number, step=number * 3)
        everything.append(snapshot)
        stream = list(plan([*stream, snapshot], policy).keep)
    assert stream == list(plan(everything, policy).keep)


def test_the_last_that_this_run_saved_stays_though_others_have_higher_numbers():
    snapshots = [made_up(1), made_up(2), made_up(900)]
    result = plan(snapshots, keep.last(1), saved=snapshots[1])
    assert kept(result) == {2: ("the last that this run saved",), 900: ("the last one",)}
    assert dropped(result) == [1]
    assert dropped(plan(snapshots[1:], keep.last(1), saved=snapshots[0])) == [2]


def test_a_plan_relies_on_what_the_policy_counts_and_on_the_newest_but_on_no_pin():
    snapshots = [made_up(number) for number in range(6)]
    result = plan(snapshots, keep.last(2), pinned=[snapshots[0], snapshots[4]])
    assert [one.step for one in relied_on(result)] == [5, 4]
    result = plan(snapshots, keep.best(1, "loss", mode="min"), pinned=[snapshots[0], snapshots[5]])
    assert [one.step for one in relied_on(result)] == [5]


def test_a_plan_relies_on_one_that_was_taken_on_an_error_only_where_there_is_no_other():
    snapshots = [made_up(1), made_up(2), made_up(3, reason="error")]
    assert [one.step for one in relied_on(plan(snapshots, keep.last(1)))] == [2]
    assert [one.step for one in relied_on(plan(snapshots[2:], keep.last(1)))] == [3]
