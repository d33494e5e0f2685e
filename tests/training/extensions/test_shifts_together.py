"""Several shifts of one hyperparameter: after a resume it has the value that it had."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from holdfast.training import extensions, make_extension
from holdfast.training.extensions.shift import Hyperparameter
from training.extensions.shifting import LENGTH, Tuning, groups, plain, rates, run, tensors
from training.serializers import loaded, saved, tree_of


@pytest.mark.parametrize("optimizer", [plain, lambda: groups(2.0, 0.2), lambda: tensors(2.0, 0.2)])
@pytest.mark.parametrize("order", [1, -1], ids=["the warm-up last", "the warm-up first"])
def test_a_warm_up_and_the_shift_after_it_go_on_as_they_were(optimizer, order, tmp_path):
    def make():
        return [extensions.MultistepShift("lr", 0.1, [4, 12, 20], 2.0), extensions.WarmupShift("lr", 0.5, 8, 2.0)][
            ::order
        ]

    whole, _ = run(tmp_path, make(), optimizer())
    if order == 1:
        rising = [0.5 + 1.5 * t / 8 for t in range(9)]
        expected = [*rising, *[2.0 * 0.1] * 3, *[2.0 * 0.1**2] * 8, *[2.0 * 0.1**3] * 10]
        assert [used[0] for used in whole.values()] == pytest.approx(expected, rel=1e-6)
    for stop in range(1, LENGTH):
        before, trainer = run(tmp_path, make(), optimizer(), length=stop)
        after, _ = run(tmp_path, make(), optimizer(), state=tree_of(trainer))
        assert {**before, **after} == whole, f"stopped at {stop}"


@pytest.mark.parametrize("optimizer", [plain, lambda: groups(2.0, 0.2), lambda: tensors(2.0, 0.2)])
@pytest.mark.parametrize("order", [1, -1], ids=["the warm-up last", "the warm-up first"])
@pytest.mark.parametrize("periods", [(1, 5), (5, 1), (4, 7)], ids=str)
def test_they_may_have_triggers_of_their_own(optimizer, order, periods, tmp_path):
    def make():
        shifts = [extensions.ExponentialShift("lr", 0.9, init=2.0), extensions.WarmupShift("lr", 0.5, 3, 2.0)]
        return [(shift, (period, "iteration")) for shift, period in zip(shifts, periods, strict=True)][::order]

    whole, _ = run(tmp_path, make(), optimizer())
    assert len({used[0] for used in whole.values()}) > 5
    for stop in range(1, LENGTH):
        before, trainer = run(tmp_path, make(), optimizer(), length=stop)
        after, _ = run(tmp_path, make(), optimizer(), state=tree_of(trainer))
        assert {**before, **after} == whole, f"stopped at {stop}"


@pytest.mark.parametrize("optimizer", [plain, lambda: groups(2.0, 0.2), lambda: tensors(2.0, 0.2)])
def test_what_a_program_sets_between_two_calls_is_there_after_a_resume(optimizer, tmp_path):
    def by_hand(held):
        @make_extension()
        def by_hand(trainer):
            if trainer.updater.iteration == 12:
                Hyperparameter(held, "lr").write([0.75] * len(rates(held)))

        return by_hand

    def training(length, state=None):
        held = optimizer()
        shifts = [(extensions.ExponentialShift("lr", 0.5), (10, "iteration")), by_hand(held)]
        return run(tmp_path, shifts, held, length, state)

    whole, _ = training(LENGTH)
    assert [whole[iteration][0] for iteration in (12, 13, 20, 21)] == [1.0, 0.75, 0.75, 0.5]
    for stop in range(1, LENGTH):
        before, trainer = training(stop)
        after, _ = training(LENGTH, tree_of(trainer))
        assert {**before, **after} == whole, f"stopped at {stop}"


def test_a_warm_up_that_nothing_took_over_from_sets_its_end_again(tmp_path):
    end = 2.1  # a tensor of float32 holds it only nearly
    _, trainer = run(tmp_path, extensions.WarmupShift("lr", 0.5, 8, end), tensors(1.1), length=20)
    state = saved(trainer.get_extension("WarmupShift"))
    optimizer = plain()
    loaded(state, extensions.WarmupShift("lr", 0.5, 8, end)).initialize(SimpleNamespace(updater=Tuning(main=optimizer)))
    assert optimizer.lr == end
