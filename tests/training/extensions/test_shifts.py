"""The shifts: Chainer's formulas, for any optimizer, and the very same values after a resume."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from holdfast import serializers
from holdfast.iterators import BatchIterator
from holdfast.training import Trainer, extensions, make_extension, updaters
from training.fakes import CountingUpdater
from training.serializers import loaded, restored, saved, tree_of

LENGTH = 30


class Tuning(CountingUpdater):
    """An updater with optimizers, whose iterations do nothing."""

    def __init__(self, **optimizers):
        super().__init__()
        self.optimizers = optimizers

    def get_optimizer(self, name):
        return self.optimizers[name]

    def get_all_optimizers(self):
        return self.optimizers

    def serialize(self, serializer):
        super().serialize(serializer)
        for name, optimizer in self.optimizers.items():
            if hasattr(optimizer, "state_dict"):
                serializer(f"optimizer:{name}", optimizer)


def plain(lr=2.0):
    return SimpleNamespace(lr=lr)


def groups(*rates):
    return torch.optim.SGD([{"params": [torch.zeros(1)], "lr": rate} for rate in rates])


def tensors(*rates):
    """Rates that a captured step looks into."""
    return torch.optim.Adam(
        [{"params": [torch.zeros(1)], "lr": torch.tensor(rate)} for rate in rates], foreach=False, capturable=True
    )


def rates(optimizer):
    if not hasattr(optimizer, "param_groups"):
        return [optimizer.lr]
    return [float(one["lr"]) for one in optimizer.param_groups]


def run(out, shift, optimizer, length=LENGTH, state=None):
    """The rates that each update had, by its iteration; and the trainer. The shift may be several."""
    used = {}
    updater = Tuning(main=optimizer)

    @make_extension(priority=1000)
    def note(trainer):
        used[trainer.updater.iteration] = rates(optimizer)

    shifts = shift if isinstance(shift, list) else [shift]
    trainer = Trainer(updater, (length, "iteration"), out=out, extensions=[note, *shifts])
    if state is not None:
        restored(state, trainer)
    trainer.run()
    return used, trainer


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


def follow(shift, optimizer, calls):
    """The rates at the start and after each call."""
    trainer = SimpleNamespace(updater=Tuning(main=optimizer))
    shift.initialize(trainer)
    found = [rates(optimizer)]
    for _ in range(calls):
        shift(trainer)
        found.append(rates(optimizer))
    return found


def parts(shift, optimizer):
    return {"shift": shift, "optimizer": optimizer} if hasattr(optimizer, "state_dict") else {"shift": shift}


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


def test_a_warm_up_that_nothing_took_over_from_sets_its_end_again(tmp_path):
    end = 2.1  # a tensor of float32 holds it only nearly
    _, trainer = run(tmp_path, extensions.WarmupShift("lr", 0.5, 8, end), tensors(1.1), length=20)
    state = saved(trainer.get_extension("WarmupShift"))
    optimizer = plain()
    loaded(state, extensions.WarmupShift("lr", 0.5, 8, end)).initialize(SimpleNamespace(updater=Tuning(main=optimizer)))
    assert optimizer.lr == end


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


def test_groups_keep_their_ratio_and_a_first_value_is_everybodys(tmp_path):
    used, _ = run(tmp_path / "own", extensions.ExponentialShift("lr", 0.5), groups(2.0, 0.2), length=3)
    assert used == {1: [2.0, 0.2], 2: [1.0, 0.1], 3: [0.5, 0.05]}
    used, _ = run(tmp_path / "one", extensions.ExponentialShift("lr", 0.5, init=8.0), groups(2.0, 0.2), length=2)
    assert used == {1: [8.0, 8.0], 2: [4.0, 4.0]}


def test_a_target_is_everybodys_but_not_of_a_group_that_begins_beyond_it(tmp_path):
    used, _ = run(
        tmp_path / "down", extensions.ExponentialShift("lr", 0.5, target=0.5), groups(2.0, 0.2, 1.0), length=4
    )
    assert used == {1: [2.0, 0.2, 1.0], 2: [1.0, 0.2, 0.5], 3: [0.5, 0.2, 0.5], 4: [0.5, 0.2, 0.5]}
    used, _ = run(tmp_path / "up", extensions.StepShift("lr", 2, 1, target=3.0), groups(2.0, 4.0), length=3)
    assert used == {1: [2.0, 4.0], 2: [3.0, 4.0], 3: [3.0, 4.0]}
    used, _ = run(tmp_path / "one", extensions.ExponentialShift("lr", 0.5, target=0.5), groups(0.2), length=2)
    assert used == {1: [0.2], 2: [0.5]}  # as Chainer has it


def test_a_first_value_of_numpys_is_a_number_like_any_other(tmp_path):
    whole, _ = run(tmp_path, extensions.ExponentialShift("lr", np.float32(0.7)), plain(np.float32(0.1)))
    _, trainer = run(tmp_path, extensions.ExponentialShift("lr", np.float32(0.7)), plain(np.float32(0.1)), length=9)
    after, _ = run(
        tmp_path, extensions.ExponentialShift("lr", np.float32(0.7)), plain(np.float32(0.1)), state=tree_of(trainer)
    )
    assert after == {t: whole[t] for t in range(10, 31)}


def test_a_group_that_is_added_later_begins_with_its_own_value():
    optimizer = groups(2.0)
    shift, trainer = extensions.ExponentialShift("lr", 0.5), SimpleNamespace(updater=Tuning(main=optimizer))
    shift.initialize(trainer)
    shift(trainer)
    optimizer.add_param_group({"params": [torch.zeros(1)], "lr": 8.0})
    shift(trainer)
    assert rates(optimizer) == [0.5, 2.0]


def test_a_rate_that_is_a_tensor_stays_the_same_tensor():
    rate = torch.tensor(2.0)
    optimizer = torch.optim.Adam([torch.zeros(1)], lr=rate, foreach=False, capturable=True)
    shift, trainer = extensions.ExponentialShift("lr", 0.5), SimpleNamespace(updater=Tuning(main=optimizer))
    shift.initialize(trainer)
    shift(trainer)
    assert optimizer.param_groups[0]["lr"] is rate
    assert rate.item() == 1.0


def test_a_file_of_chainers_has_the_count_and_the_last_value(tmp_path):
    optimizer = plain()
    shift = loaded({"_t": 3, "_last_value": 0.25}, extensions.ExponentialShift("lr", 0.5))
    trainer = SimpleNamespace(updater=Tuning(main=optimizer))
    shift.initialize(trainer)
    assert optimizer.lr == 0.25
    shift(trainer)
    assert optimizer.lr == 2.0 * 0.5**4
    optimizer = plain()
    shift = loaded({"_t": 5, "_current_step": 1}, extensions.MultistepShift("lr", 0.1, [3, 7], 1.0))
    shift.initialize(SimpleNamespace(updater=Tuning(main=optimizer)))
    assert optimizer.lr == 0.1  # Chainer would begin with 1.0 again
    assert saved(shift)["_t"] == 5


def test_another_optimizer_may_be_given_and_the_only_one_need_not_be_called_main(tmp_path):
    other, only = plain(8.0), plain()
    run(tmp_path / "given", extensions.ExponentialShift("lr", 0.5, optimizer=other), only, length=2)
    assert (other.lr, only.lr) == (2.0, 2.0)
    trainer = Trainer(Tuning(generator=only), (2, "iteration"), out=tmp_path, extensions=[])
    trainer.extend(extensions.ExponentialShift("lr", 0.5))
    trainer.run()
    assert only.lr == 0.5


def test_a_target_that_is_called_main_is_the_one_whatever_else_there_is(tmp_path):
    tuned, other = plain(), groups(1.0)
    batches = BatchIterator(np.arange(4.0), 2)
    updater = updaters.FunctionUpdater(batches, lambda batch: None, targets={"main": tuned, "optimizer": other})
    Trainer(updater, (1, "iteration"), out=tmp_path, extensions=[extensions.ExponentialShift("lr", 0.5)]).run()
    assert (tuned.lr, rates(other)) == (1.0, [1.0])


def test_an_optimizer_or_attribute_that_is_not_there_is_named():
    shift = extensions.ExponentialShift("lr", 0.5)
    with pytest.raises(KeyError, match="has no optimizer 'main'; it has 'gen', 'dis'"):
        shift.initialize(SimpleNamespace(updater=Tuning(gen=plain(), dis=plain())))
    with pytest.raises(AttributeError, match="a SimpleNamespace, has no 'lr'; it has alpha"):
        shift.initialize(SimpleNamespace(updater=Tuning(main=SimpleNamespace(alpha=1.0))))
    with pytest.raises(AttributeError, match=r"an? SGD, has no 'alpha'; it has .*lr, .*momentum"):
        extensions.ExponentialShift("alpha", 0.5).initialize(SimpleNamespace(updater=Tuning(main=groups(1.0))))


def test_a_first_value_of_the_optimizers_that_is_no_number_is_named():
    optimizer = torch.optim.Adam([torch.zeros(1)])
    with pytest.raises(TypeError, match=r"the optimizer's betas must be a number, not \(0.9, 0.999\)"):
        extensions.ExponentialShift("betas", 0.5).initialize(SimpleNamespace(updater=Tuning(main=optimizer)))


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: extensions.ExponentialShift("lr", -1), ValueError, "does not support negative rate"),
        (lambda: extensions.ExponentialShift(0.5, "lr"), TypeError, "attr must be the name of an attribute"),
        (lambda: extensions.ExponentialShift("lr", "0.5"), TypeError, "rate must be a number, not '0.5'"),
        (lambda: extensions.ExponentialShift("lr", 0.5, init=[1.0]), TypeError, r"init must be a number, not \[1.0\]"),
        (
            lambda: extensions.ExponentialShift("lr", 0.5, target=math.nan),
            TypeError,
            "target must be a number, not nan",
        ),
        (lambda: extensions.InverseShift("lr", 1, None), TypeError, "power must be a number, not None"),
        (lambda: extensions.LinearShift("lr", 1.0, (0, 5)), ValueError, "value_range must be a pair"),
        (lambda: extensions.LinearShift("lr", (1, "2"), (0, 5)), TypeError, "second of value_range must be a number"),
        (lambda: extensions.MultistepShift("lr", 0.1, 30, 1.0), TypeError, "step_value must be several counts"),
        (lambda: extensions.MultistepShift("lr", 0.1, [None], 1.0), TypeError, "each of step_value must be a number"),
        (lambda: extensions.WarmupShift("lr", 0.0, 5, None), TypeError, "init must be a number, not None"),
        (lambda: extensions.InverseShift("lr", -1, 1), ValueError, "does not support negative gamma"),
        (lambda: extensions.LinearShift("lr", (1, 2, 3), (0, 5)), ValueError, "value_range must be a pair"),
        (lambda: extensions.LinearShift("lr", (1, 2), (5, 4)), ValueError, "must not be the smaller one"),
        (lambda: extensions.MultistepShift("lr", 0.1, [5, 3], 1.0), ValueError, r"must rise, not \[5, 3\]"),
        (lambda: extensions.PolynomialShift("lr", 1, 0), ValueError, "max_count must be above 0"),
        (lambda: extensions.StepShift("lr", 0.5, 0), ValueError, "step must be above 0"),
        (lambda: extensions.WarmupShift("lr", 0.0, 0, 1.0), ValueError, "warmup_iter must be above 0"),
    ],
)
def test_arguments_that_make_no_shift_are_refused_when_it_is_made(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_a_polynomial_that_rises_without_end_is_infinite_after_it():
    optimizer = plain()
    shift, trainer = extensions.PolynomialShift("lr", -1, 2), SimpleNamespace(updater=Tuning(main=optimizer))
    shift.initialize(trainer)
    shift(trainer)
    shift(trainer)
    assert optimizer.lr == math.inf
