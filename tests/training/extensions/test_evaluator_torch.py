"""Evaluator with PyTorch: modes, graphs, and that the training does not notice it."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

import holdfast
from holdfast.iterators import BatchIterator
from holdfast.training import Trainer, make_extension
from holdfast.training.extensions.evaluator import Evaluator
from holdfast.training.updaters import FunctionUpdater
from training.serializers import restored, tree_of


class Net(torch.nn.Module):
    """A linear layer behind dropout, which reports as it is called."""

    def __init__(self):
        super().__init__()
        self.drop = torch.nn.Dropout(0.5)
        self.linear = torch.nn.Linear(2, 1)
        self.seen = []

    def forward(self, x, y):
        out = self.linear(self.drop(x))
        self.seen.append((self.training, self.drop.training, torch.is_grad_enabled(), out.requires_grad))
        holdfast.report({"loss": ((out[:, 0] - y) ** 2).mean()}, self)
        holdfast.report({"scale": self.linear.weight.abs().max()}, self.linear)
        return out


class TestTorch:
    @pytest.fixture
    def net(self):
        torch.manual_seed(3)
        return Net()

    @pytest.fixture
    def batches(self):
        generator = np.random.default_rng(5)
        return [(torch.tensor(generator.normal(size=(n, 2)), dtype=torch.float32), torch.ones(n)) for n in (4, 4, 2)]

    def test_a_module_reports_for_itself_and_for_the_modules_in_it(self, net, batches):
        evaluator = Evaluator(batches, net)
        evaluator.name = "validation"  # as a trainer names it
        found = evaluator()
        net.eval()
        losses = [((net.linear(x)[:, 0] - y) ** 2).mean().item() for x, y in batches]
        assert found["validation/main/loss"] == pytest.approx(np.mean(losses))
        assert found["validation/main/linear/scale"] == pytest.approx(net.linear.weight.abs().max().item())

    def test_it_runs_in_eval_mode_without_a_graph(self, net, batches):
        Evaluator(batches, net)()
        assert net.seen == [(False, False, False, False)] * 3
        assert torch.is_grad_enabled()

    @pytest.mark.parametrize("fails", [False, True])
    def test_each_module_is_put_back_into_its_mode(self, net, batches, fails):
        net.drop.eval()

        def measure(x, y):
            net(x, y)
            if fails:
                raise OSError("no data")

        evaluator = Evaluator(batches, {"main": measure, "net": net})
        if fails:
            with pytest.raises(OSError, match="no data"):
                evaluator()
        else:
            evaluator()
        assert net.seen[0][:2] == (False, False)
        assert [module.training for module in (net, net.drop, net.linear)] == [True, False, True]
        assert torch.is_grad_enabled()

    def test_what_a_module_does_when_its_mode_changes_is_done(self):
        class Merging(torch.nn.Module):
            merged = False

            def train(self, mode=True):
                self.merged = not mode
                return super().train(mode)

            def forward(self, batch):
                return {"merged": float(self.merged)}

        module = Merging()
        assert Evaluator([1], module)() == {"main/merged": 1}
        assert not module.merged

    def test_a_method_of_a_module_as_eval_func_switches_its_module(self):
        class Own(torch.nn.Module):
            def measure(self, batch):
                return {"training": float(self.training)}

        module = Own()
        assert Evaluator([1], None, eval_func=module.measure)() == {"main/training": 0}
        assert module.training

    def test_the_hook_and_a_subclass_see_eval_mode(self, net, batches):
        modes = []
        Evaluator(batches, net, eval_hook=lambda evaluator: modes.append(net.training))()
        assert modes == [False]

    def test_values_on_a_graph_are_cut_from_it(self, net, batches):
        def measure(x, y):
            with torch.enable_grad():
                return {"loss": net.linear(x).sum()}

        assert type(Evaluator(batches, measure)()["main/loss"]) is float


class TestTheTrainingIsNotDisturbed:
    def test_the_global_generators_stay_where_they_are(self):
        torch.manual_seed(1)
        net = Net()
        before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
        Evaluator(BatchIterator((torch.ones(4, 2), torch.ones(4)), 2, repeat=False), net)()
        assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before

    def training(self, out, iterations, resume_from=None, evaluates=True):
        """A net with dropout, evaluated in each third iteration; what was observed, by iteration, and the trainer."""
        torch.manual_seed(7)
        net = Net()
        optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
        inputs = np.random.default_rng(3).normal(size=(14, 2)).astype(np.float32)
        data = (torch.from_numpy(inputs), torch.from_numpy(inputs.sum(1)))

        def step(batch):
            optimizer.zero_grad()
            loss = ((net.linear(net.drop(batch[0]))[:, 0] - batch[1]) ** 2).mean()
            loss.backward()
            optimizer.step()
            return {"loss": loss.item()}

        found = {}

        @make_extension(priority=50)
        def look(trainer):
            found[trainer.updater.iteration] = dict(trainer.observation)

        batches = BatchIterator(data, 4, shuffle=True, seed=1)
        updater = FunctionUpdater(batches, step, targets={"net": net, "optimizer": optimizer})
        trainer = Trainer(updater, (iterations, "iteration"), out=out)
        if evaluates:
            evaluator = Evaluator(BatchIterator(data, 5, repeat=False), net)
            trainer.extend(evaluator, trigger=(3, "iteration"))
        trainer.extend(look)
        if resume_from is not None:
            restored(resume_from, trainer)
        trainer.run()
        return found, trainer

    def test_it_goes_on_as_if_nobody_looked(self, tmp_path):
        evaluated, _ = self.training(tmp_path, 30)
        plain, _ = self.training(tmp_path, 30, evaluates=False)
        assert [found["loss"] for found in evaluated.values()] == [found["loss"] for found in plain.values()]
        assert len([found for found in evaluated.values() if "validation/main/loss" in found]) == 10

    def test_everything_is_the_same_bit_for_bit_wherever_the_run_was_stopped(self, tmp_path):
        whole, _ = self.training(tmp_path, 30)
        for stop in range(1, 30):
            before, trainer = self.training(tmp_path, stop)
            after, _ = self.training(tmp_path, 30, resume_from=tree_of(trainer))
            assert {**before, **after} == whole
