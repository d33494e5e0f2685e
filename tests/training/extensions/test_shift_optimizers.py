"""The shifts: what they set in optimizers of every kind, Chainer's own state, and what is refused."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from holdfast.iterators import BatchIterator
from holdfast.training import Trainer, extensions, updaters
from training.extensions.shifting import Tuning, groups, plain, rates, run
from training.serializers import loaded, saved, tree_of


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
