"""The shifts: Chainer's formulas, for any optimizer, and the very same values after a resume."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from holdfast.training import Trainer, extensions, make_extension
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


def rates(optimizer):
    return [one["lr"] for one in optimizer.param_groups] if hasattr(optimizer, "param_groups") else [optimizer.lr]


def run(out, shift, optimizer, length=LENGTH, state=None, restore=restored):
    """The rates that each update had, by its iteration; and the trainer."""
    used = {}
    updater = Tuning(main=optimizer)

    @make_extension(priority=1000)
    def note(trainer):
        used[trainer.updater.iteration] = rates(optimizer)

    trainer = Trainer(updater, (length, "iteration"), out=out, extensions=[note, shift])
    if state is not None:
        restore(state, trainer)
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


@shifts
@pytest.mark.parametrize(
    ("optimizer", "save", "restore"),
    [(plain, tree_of, restored), (plain, saved, loaded), (lambda: groups(2.0, 0.2), tree_of, restored)],
    ids=["an attribute", "an attribute, by the least of serializers", "groups"],
)
def test_a_run_that_is_stopped_anywhere_goes_on_with_the_same_values(make, formula, optimizer, save, restore, tmp_path):
    whole, _ = run(tmp_path, make(), optimizer())
    for stop in range(1, LENGTH):
        before, trainer = run(tmp_path, make(), optimizer(), length=stop)
        after, _ = run(tmp_path, make(), optimizer(), state=save(trainer), restore=restore)
        assert {**before, **after} == whole, f"stopped at {stop}"


def test_groups_keep_their_ratio_and_a_first_value_is_everybodys(tmp_path):
    used, _ = run(tmp_path / "own", extensions.ExponentialShift("lr", 0.5), groups(2.0, 0.2), length=3)
    assert used == {1: [2.0, 0.2], 2: [1.0, 0.1], 3: [0.5, 0.05]}
    used, _ = run(tmp_path / "one", extensions.ExponentialShift("lr", 0.5, init=8.0), groups(2.0, 0.2), length=2)
    assert used == {1: [8.0, 8.0], 2: [4.0, 4.0]}


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


def test_an_optimizer_or_attribute_that_is_not_there_is_named():
    shift = extensions.ExponentialShift("lr", 0.5)
    with pytest.raises(KeyError, match="has no optimizer 'main'; it has 'gen', 'dis'"):
        shift.initialize(SimpleNamespace(updater=Tuning(gen=plain(), dis=plain())))
    with pytest.raises(AttributeError, match="a SimpleNamespace, has no 'lr'; it has alpha"):
        shift.initialize(SimpleNamespace(updater=Tuning(main=SimpleNamespace(alpha=1.0))))
    with pytest.raises(AttributeError, match=r"an? SGD, has no 'alpha'; it has .*lr, .*momentum"):
        extensions.ExponentialShift("alpha", 0.5).initialize(SimpleNamespace(updater=Tuning(main=groups(1.0))))


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: extensions.ExponentialShift("lr", -1), ValueError, "does not support negative rate"),
        (lambda: extensions.ExponentialShift(0.5, "lr"), TypeError, "attr must be the name of an attribute"),
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
