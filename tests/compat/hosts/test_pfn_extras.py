"""What only pytorch-pfn-extras' managers have."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import holdfast
from compat.hosts.adapters import logged, started
from holdfast import lock
from holdfast.training import extensions

torch = pytest.importorskip("torch")
ppe = pytest.importorskip("pytorch_pfn_extras")

from compat.hosts.pfn_extras_host import HOST  # noqa: E402  it imports both
from training.extensions.runs import names  # noqa: E402


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def test_an_extension_is_one_of_theirs_and_its_state_is_kept(out):
    extension = extensions.snapshot()
    assert isinstance(extension, ppe.training.Extension)
    run = started(HOST, out, 1, extension)
    assert run.host.get_extension("_Snapshot") is extension
    assert run.host.state_dict()["extensions"] == {"_Snapshot": {"extension": {}, "trigger": {}}}


def test_one_that_was_made_before_they_were_imported_is_one_too():
    program = """
import sys
from holdfast.training import extensions
extension = extensions.snapshot()
assert "pytorch_pfn_extras" not in sys.modules
import pytorch_pfn_extras as ppe
assert isinstance(extension, ppe.training.Extension)
assert type(extension).__name__ == "_Snapshot"
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_file_holds_the_managers_state_dict(out):
    run = started(HOST, out, 2, extensions.snapshot())
    found = holdfast.load(out / "snapshot_iter_2", framework="torch")
    expected = run.host.state_dict()
    assert found.keys() == expected.keys()
    assert found["_start_iteration"] == 2
    for name, tensor in expected["models"]["main"].items():
        assert torch.equal(found["models"]["main"][name], tensor)


def test_what_a_manager_has_saved_before_is_loaded_as_ever(out):
    ended = started(HOST, out, 3, ppe.training.extensions.snapshot())
    state = torch.load(out / "snapshot_iter_3", weights_only=False)
    again = HOST.new(out / "other", 5, seed=99)
    again.extend(extensions.snapshot())
    again.host.load_state_dict(state)
    assert again.iteration == 3
    np.testing.assert_array_equal(again.weights(), ended.weights())
    again.run()  # to its end, where what it has locked is let go
    assert again.iteration == 5
    assert lock.share_of(str(out / "other")) == -1, "it is still locked"


def test_a_model_that_lacks_a_layer_is_a_mismatch_and_everything_is_put_back(out):
    started(HOST, out, 2, extensions.snapshot())
    again = HOST.new(out, 3, seed=99)
    again.model.add_module("another", torch.nn.Linear(1, 1))
    again.extend(extensions.snapshot(autoload=True))
    before = again.weights()
    with pytest.raises(holdfast.MismatchError, match="another"):
        again.run()
    np.testing.assert_array_equal(again.weights(), before)


def test_a_model_of_another_shape_is_a_mismatch(out):
    started(HOST, out, 2, extensions.snapshot())
    again = HOST.new(out, 3)
    again.model[2] = torch.nn.Linear(3, 2)
    again.extend(extensions.snapshot(autoload=True))
    with pytest.raises(holdfast.MismatchError, match="models/main/2"):
        again.run()


def test_modules_are_told_the_version_of_their_state(out):
    seen = []

    class Versioned(torch.nn.Linear):
        _version = 7

        def _load_from_state_dict(self, state_dict, prefix, local_metadata, *arguments):
            seen.append(local_metadata.get("version"))
            super()._load_from_state_dict(state_dict, prefix, local_metadata, *arguments)

    for stop in (1, 2):
        run = HOST.new(out, stop)
        run.model[2] = Versioned(3, 1)
        run.optimizer.add_param_group({"params": run.model[2].parameters()})
        run.extend(extensions.snapshot(autoload=True))
        run.run()
    assert seen == [7]


def test_a_scheduler_and_state_objects_of_a_manager_go_on(out):
    class Counter:
        def __init__(self):
            self.count = 0

        def state_dict(self):
            return {"count": self.count}

        def load_state_dict(self, state):
            self.count = state["count"]

    def run(folder, stop):
        model, counter = torch.nn.Linear(1, 1), Counter()
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        manager = ppe.training.ExtensionsManager(
            model, optimizer, 1, iters_per_epoch=4, out_dir=str(folder), stop_trigger=(stop, "iteration"),
            state_objects={"counter": counter},
        )  # fmt: skip
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.5)
        manager.extend(ppe.training.extensions.LRScheduler(scheduler, trigger=(1, "iteration")))
        manager.extend(extensions.snapshot(autoload=True), trigger=(1, "iteration"))
        while not manager.stop_trigger:
            with manager.run_iteration(step_optimizers=["main"]):
                counter.count += 1
                model(torch.ones(1, 1)).sum().backward()
        manager.finalize()
        return counter.count, optimizer.param_groups[0]["lr"], scheduler.last_epoch

    for stop in range(1, 7):
        run(out, stop)
    assert run(out, 7) == run(out / "calm", 7)


def test_their_trainer_runs_it_as_well(out):
    def run(folder, stop, seed):
        torch.manual_seed(seed)
        model = torch.nn.Linear(4, 1)

        class Logic(ppe.handler.BaseLogic):
            def train_step(self, models, optimizers, batch_idx, batch):
                optimizers["main"].zero_grad()
                models["main"](batch).square().mean().backward()
                optimizers["main"].step()

        ppe.to(model, "cpu")
        trainer = ppe.engine.create_trainer(
            model, torch.optim.Adam(model.parameters()), stop, out_dir=str(folder), logic=Logic()
        )
        trainer.extend(extensions.snapshot(autoload=True, filename="epoch_{.epoch}"))
        trainer.run([torch.full((2, 4), float(number)) for number in range(3)])
        return torch.cat([parameter.detach().ravel() for parameter in model.parameters()])

    calm = run(out / "calm", 4, 0)
    run(out / "stopped", 2, 0)
    assert torch.equal(run(out / "stopped", 4, 99), calm)
    assert names(out / "stopped") == ["epoch_1", "epoch_2", "epoch_3", "epoch_4"]


def test_a_writer_of_theirs_is_a_callable_like_any_other(out):
    writer = ppe.writing.SimpleWriter(out_dir=str(out))
    started(HOST, out, 2, extensions.snapshot(writer=writer))
    found = torch.load(out / "snapshot_iter_2", weights_only=False)
    assert int(found["_start_iteration"]) == 2
    assert isinstance(found["models/main/0.weight"], np.ndarray)


def test_torch_save_as_a_savefun_is_refused_with_what_to_do():
    with pytest.raises(TypeError, match=r"other order.*lambda path, mapping: torch\.save\(mapping, path\)"):
        extensions.snapshot(torch.save)


def test_a_deprecated_attribute_of_a_manager_is_not_used(out, recwarn):
    started(HOST, out, 2, extensions.snapshot(filename="a_{0.updater.iteration}_{0.updater.epoch_detail}"))
    assert names(out) == ["a_1_0.25", "a_2_0.5"]
    assert [str(warning.message) for warning in recwarn] == []


def test_extensions_of_an_ignite_engine_are_resumed(out):
    ignite = pytest.importorskip("ignite.engine")

    def run(folder, epochs, seed):
        torch.manual_seed(seed)
        model = torch.nn.Linear(4, 1)
        optimizer = torch.optim.Adam(model.parameters())

        def step(engine, batch):
            optimizer.zero_grad()
            model(batch + torch.randn(2, 4)).square().mean().backward()
            optimizer.step()

        engine = ignite.Engine(step)
        manager = ppe.training.IgniteExtensionsManager(engine, model, optimizer, epochs, out_dir=str(folder))
        manager.extend(extensions.snapshot(autoload=True, filename="epoch_{.updater.epoch}", n_retains=1))
        engine.run([torch.full((2, 4), float(number)) for number in range(3)], max_epochs=epochs)
        return torch.cat([parameter.detach().ravel() for parameter in model.parameters()]), engine.state.iteration

    (calm, iterations), _ = run(out / "calm", 4, 0), run(out / "stopped", 2, 0)
    with logged() as messages:
        weights, at = run(out / "stopped", 4, 99)
    assert any("resumed from the snapshot of step 6" in message for message in messages)
    assert (at, iterations) == (12, 12)
    assert torch.equal(weights, calm)
    assert names(out / "stopped") == ["epoch_4"]
