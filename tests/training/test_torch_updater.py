from __future__ import annotations

from collections import OrderedDict, defaultdict, namedtuple
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

import holdfast
from holdfast import reporter
from holdfast.training import Trainer
from holdfast.training.updaters.torch_updater import TorchUpdater, to_device
from training.serializers import restored, tree_of

torch = pytest.importorskip("torch")
from training.torch_parts import (  # noqa: E402  only where torch is
    assert_same,
    batches_of,
    by_hand,
    halving,
    linear_model,
    new_model,
    new_updater,
    rate_of,
    squared_error,
    updated,
)


class TestConstruction:
    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"loss_fn": 3}, TypeError, "loss_fn must be a function of the model and a batch, not int"),
            (
                {"loss_fn": torch.nn.MSELoss()},
                TypeError,
                "a MSELoss, but it is called with the model.*lambda model",
            ),
            ({"accumulate": 0}, ValueError, "accumulate must be 1 or more batches to an optimizer step, not 0"),
            ({"accumulate": True}, TypeError, "accumulate must be an int.* not bool"),
            ({"accumulate": 2.0}, TypeError, "accumulate must be an int.* not float"),
            ({"autocast": "bfloat16"}, TypeError, "autocast must be a torch.dtype, True, False or None, not str"),
            ({"scaler": 1024.0}, TypeError, "scaler must be a torch.amp.GradScaler, True, False or None, not float"),
            ({"clip_grad_norm": 0}, ValueError, "clip_grad_norm must be a norm above 0, or None, not 0"),
            ({"clip_grad_norm": float("nan")}, ValueError, "clip_grad_norm must be a norm above 0, or None, not nan"),
            ({"clip_grad_norm": True}, TypeError, "clip_grad_norm must be the greatest norm, or None, not bool"),
            ({"scheduler": 3}, TypeError, r"scheduler must have a method step\(\), and a int has none"),
            ({"scheduler_interval": "batch"}, ValueError, "scheduler_interval is 'batch', wanted 'step', 'epoch' or"),
        ],
    )
    def test_what_cannot_be_meant_is_refused(self, options, error, message):
        with pytest.raises(error, match=message):
            new_updater(**options)

    def test_the_model_and_the_optimizer_are_torchs(self):
        model = linear_model()
        with pytest.raises(TypeError, match=r"model must be a torch.nn.Module, not generator"):
            TorchUpdater(batches_of(), model.parameters(), None, squared_error)
        with pytest.raises(TypeError, match=r"optimizer must be a torch.optim.Optimizer, not type"):
            TorchUpdater(batches_of(), model, torch.optim.SGD, squared_error)

    def test_a_parameter_that_would_not_be_in_snapshots_is_refused(self):
        model, scale = linear_model(), torch.nn.Parameter(torch.ones(3))
        optimizer = torch.optim.SGD([*model.parameters(), scale], lr=0.1)
        with pytest.raises(ValueError, match=r"a parameter of shape \(3,\) that is none of the model's"):
            TorchUpdater(batches_of(), model, optimizer, squared_error)

    def test_a_loader_that_cannot_tell_its_place_is_refused(self):
        with pytest.raises(TypeError, match="a DataLoader cannot save its place"):
            new_updater(iterator=torch.utils.data.DataLoader([1, 2, 3]))

    def test_a_scheduler_that_needs_a_value_is_only_kept(self):
        def plateau(optimizer):
            return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)

        with pytest.raises(TypeError, match=r"ReduceLROnPlateau needs a measured value.*scheduler_interval=None"):
            new_updater(schedule=plateau)
        updater = new_updater(schedule=plateau, scheduler_interval=None)
        updater.scheduler.step(1.0)
        updater.scheduler.step(1.0)
        other = restored(tree_of(updater), new_updater(schedule=plateau, scheduler_interval=None))
        assert (other.scheduler.last_epoch, rate_of(other)) == (2, pytest.approx(0.01))

    def test_epochs_for_the_scheduler_need_an_iterator_that_counts_them(self):
        class Endless:
            state_dict = load_state_dict = __next__ = lambda self, *_: {}

        with pytest.raises(TypeError, match="a Endless has no is_new_epoch"):
            new_updater(iterator=Endless(), schedule=halving, scheduler_interval="epoch")

    def test_true_is_a_scaler_for_the_models_device(self):
        updater = new_updater(scaler=True)
        assert updater.scaler.is_enabled()
        assert new_updater(scaler=False).scaler is None


class TestUpdate:
    def test_each_iteration_is_a_batch_and_an_optimizer_step(self):
        updater = updated(new_updater(), 9)
        assert_same(updater.model, by_hand(linear_model(), 9))
        assert (updater.iteration, updater.epoch) == (9, 1)

    def test_gradients_are_accumulated_over_batches_also_across_epochs(self):
        updater = updated(new_updater(accumulate=3), 9)
        assert_same(updater.model, by_hand(linear_model(), 9, accumulate=3))
        assert (updater.iteration, updater.epoch) == (9, 1)

    def test_between_two_steps_nothing_of_the_model_changes(self):
        updater, before = new_updater(accumulate=3), linear_model()
        updated(updater, 2)
        assert_same(updater.model, before)
        updater.update()
        assert not torch.equal(updater.model.weight, before.weight)

    def test_a_step_takes_the_mean_of_the_gradients(self):
        few = updated(new_updater(iterator=batches_of(4), accumulate=5), 5)
        many = updated(new_updater(iterator=batches_of(20)), 1)
        torch.testing.assert_close(few.model.state_dict(), many.model.state_dict())

    def test_a_clipped_gradient_has_at_most_that_norm(self):
        updater = updated(new_updater(clip_grad_norm=0.25), 1)
        gradients = torch.cat([parameter.grad.flatten() for parameter in updater.model.parameters()])
        assert float(gradients.norm()) == pytest.approx(0.25, rel=1e-4)
        assert_same(updated(updater, 5).model, by_hand(linear_model(), 6, clip=0.25))

    @pytest.mark.parametrize("accumulate", [1, 2])
    def test_gradients_are_unscaled_before_they_are_clipped(self, accumulate):
        def new_scaler():
            return torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=2)

        options = {"accumulate": accumulate, "clip_grad_norm": 0.25}
        updater = updated(new_updater(scaler=new_scaler(), **options), 8)
        assert_same(updater.model, by_hand(linear_model(), 8, accumulate, new_scaler(), 0.25))
        assert_same(updater.model, updated(new_updater(**options), 8).model)  # as powers of two change no digit
        assert updater.scaler.get_scale() == 2.0 ** (10 + 4 // accumulate)

    @pytest.mark.parametrize(
        ("autocast", "dtype"),
        [
            (None, torch.float32),
            (False, torch.float32),
            (True, torch.bfloat16),
            (torch.bfloat16, torch.bfloat16),
            (torch.float16, torch.float16),
        ],
    )
    def test_the_loss_is_computed_in_the_dtype_that_was_asked_for(self, autocast, dtype):
        seen = []

        def loss_fn(model, batch):
            output = model(batch[0])
            seen.append(output.dtype)
            return output.float().square().mean()

        updater = updated(new_updater(loss_fn=loss_fn, autocast=autocast), 1)
        assert seen == [dtype]
        assert updater.model.weight.grad.dtype == torch.float32

    def test_a_step_that_fails_is_not_tried_again_with_the_same_gradients(self):
        updater, before = new_updater(accumulate=2), linear_model()
        updater.update()
        updater.optimizer.step = lambda: 1 / 0
        with pytest.raises(ZeroDivisionError):
            updater.update()
        del updater.optimizer.step
        updater.update()
        assert_same(updater.model, before)
        updater.update()
        assert not torch.equal(updater.model.weight, before.weight)
        assert updater.iteration == 3

    def test_gradients_are_there_for_extensions_to_look_at(self):
        updater = updated(new_updater(accumulate=2), 2)
        assert updater.model.weight.grad.abs().sum() > 0

    def test_batches_are_moved_to_the_device_of_the_model_or_to_the_one_that_was_named(self):
        seen = []

        def loss_fn(model, batch):
            seen.append(batch[0].device.type)
            return model.weight.sum()

        updated(new_updater(loss_fn=loss_fn), 1)
        updated(new_updater(loss_fn=loss_fn, device="meta"), 1)
        assert seen == ["cpu", "meta"]


class TestScheduler:
    def test_it_follows_the_steps_of_the_optimizer(self):
        updater = new_updater(schedule=halving, accumulate=2)
        rates = [rate_of(updated(updater, 1)) for _ in range(4)]
        assert rates == [0.1, 0.05, 0.05, 0.025]

    def test_it_follows_the_epochs_where_it_is_told_to(self):
        updater = new_updater(schedule=halving, scheduler_interval="epoch")
        rates = [rate_of(updated(updater, 1)) for _ in range(14)]
        assert rates == [0.1] * 6 + [0.05] * 7 + [0.025]

    def test_it_is_left_alone_where_it_is_told_to(self):
        updater = updated(new_updater(schedule=halving, scheduler_interval=None), 9)
        assert rate_of(updater) == 0.1

    def test_it_takes_no_step_where_the_optimizer_took_none(self):
        def loss_fn(model, batch):
            return squared_error(model, batch) * (torch.inf if updater.iteration == 1 else 1)

        scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
        updater = new_updater(loss_fn=loss_fn, schedule=halving, scaler=scaler)
        rates = [rate_of(updated(updater, 1)) for _ in range(3)]
        assert rates == [0.05, 0.05, 0.025]
        assert scaler.get_scale() == 4.0

    def test_a_disabled_scaler_keeps_it_from_nothing(self):
        updater = updated(new_updater(schedule=halving, scaler=torch.amp.GradScaler("cpu", enabled=False)), 1)
        assert rate_of(updater) == 0.05


class TestReports:
    def test_the_loss_of_the_batch_is_reported_under_main(self):
        with reporter.Reporter() as current:
            updated(new_updater(accumulate=4), 1)
        expected = squared_error(linear_model(), next(batches_of()))
        assert current.observation == {"main/loss": expected}
        assert not current.observation["main/loss"].requires_grad

    def test_everything_in_a_mapping_is_reported(self):
        def loss_fn(model, batch):
            return OrderedDict(size=len(batch[0]), loss=squared_error(model, batch).reshape(1))

        with reporter.Reporter() as current:
            updated(new_updater(loss_fn=loss_fn), 1)
        assert list(current.observation) == ["main/size", "main/loss"]
        assert current.observation["main/size"] == 6
        assert current.observation["main/loss"].shape == ()

    def test_the_model_and_its_modules_are_observers(self, tmp_path):
        def loss_fn(model, batch):
            holdfast.report({"accuracy": 0.5}, model)
            holdfast.report({"norm": 2.0}, model[0])
            return squared_error(model, batch)

        trainer = Trainer(new_updater(new_model(), loss_fn=loss_fn), (1, "iteration"), out=tmp_path)
        trainer.run()
        assert list(trainer.observation) == ["main/accuracy", "main/0/norm", "main/loss"]

    @pytest.mark.parametrize(
        ("returned", "error", "message"),
        [
            (0.5, TypeError, "loss_fn returned a float as the loss; want a tensor with one element"),
            ({"loss": None}, TypeError, "loss_fn returned a NoneType as the loss"),
            ({"lost": 1}, KeyError, "loss_fn returned a mapping without 'loss'; it has 'lost'"),
            (torch.ones(2, requires_grad=True), ValueError, r"a tensor of shape \(2,\) as the loss; want one element"),
            (torch.ones(()), ValueError, "a tensor that no parameter leads to as the loss"),
        ],
    )
    def test_what_is_no_loss_is_refused_and_the_iteration_does_not_count(self, returned, error, message):
        updater = new_updater(loss_fn=lambda model, batch: returned)
        with pytest.raises(error, match=message):
            updater.update()
        assert updater.iteration == 0


Pair = namedtuple("Pair", ("x", "y"))


@dataclass(frozen=True)
class Sample:
    x: Any
    derived: Any = field(init=False, default=None)


class TestToDevice:
    META = torch.device("meta")

    def test_tensors_are_moved_wherever_they_stand(self):
        def new():
            return torch.ones(2)

        batch = {"a": [new(), (new(), Pair(new(), 1))], "b": Sample(new()), "c": OrderedDict(d=new())}
        moved = to_device(batch, self.META)
        inner, pair = moved["a"][1]
        assert type(pair) is Pair
        assert type(moved["b"]) is Sample
        assert type(moved["c"]) is OrderedDict
        assert all(one.is_meta for one in (moved["a"][0], inner, pair.x, moved["b"].x, moved["c"]["d"]))
        assert not any(one.is_meta for one in (batch["a"][0], batch["b"].x, batch["c"]["d"]))

    def test_what_is_no_tensor_is_the_same(self):
        array = np.ones(2)
        batch = defaultdict(list, text="a", none=None, number=3, array=array, kind=torch.Tensor, some={1, 2})
        moved = to_device(batch, self.META)
        assert moved == batch
        assert moved.default_factory is list
        assert moved["array"] is array

    def test_what_can_move_itself_does(self):
        packed = torch.nn.utils.rnn.pack_sequence([torch.ones(3), torch.ones(2)])
        assert to_device([packed], self.META)[0].data.is_meta

    def test_a_tensor_that_is_there_already_is_not_copied(self):
        tensor = torch.ones(2)
        assert to_device([tensor], torch.device("cpu"))[0] is tensor
