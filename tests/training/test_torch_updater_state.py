from __future__ import annotations

import itertools
import shutil

import pytest

import holdfast
from holdfast import serializers
from holdfast.errors import MismatchError
from holdfast.iterators import BatchIterator
from holdfast.state.capture import capture
from holdfast.state.flat import flatten
from holdfast.training import Trainer, extensions, make_extension
from holdfast.training.updaters.torch_updater import TorchUpdater
from training.serializers import restored, tree_of

torch = pytest.importorskip("torch")
from training.torch_parts import (  # noqa: E402  only where torch is
    assert_same,
    batches_of,
    halving,
    linear_model,
    new_model,
    new_updater,
    one_thread,  # noqa: F401  a fixture for all
    rate_of,
    squared_error,
    updated,
)

ITERATIONS = 30  # 7 to an epoch, as 40 examples make batches of 6


def plain(seed):
    model = new_model(seed, dropout=0.5)
    return TorchUpdater(batches_of(seed=seed), model, torch.optim.AdamW(model.parameters(), 0.01), squared_error)


def accumulated(seed):
    model = new_model(seed, dropout=0.5)
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    options = {"accumulate": 4, "clip_grad_norm": 0.5, "scheduler": schedule, "scheduler_interval": "epoch"}
    return TorchUpdater(batches_of(seed=seed), model, optimizer, squared_error, **options)


def mixed(seed):
    model = new_model(seed, dropout=0.5)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127 if seed == 0 else 1.0, growth_interval=2)
    return TorchUpdater(
        batches_of(seed=seed), model, optimizer, squared_error,
        accumulate=3, autocast=torch.bfloat16, scaler=scaler, clip_grad_norm=0.5, scheduler=schedule,
    )  # fmt: skip


MADE = {"plain": plain, "accumulated": accumulated, "mixed": mixed}


def run(folder, make, *, seed=1, period=1000, spoil=None):
    """Train to the end, from the newest snapshot in the folder; returns the last state, and what there was on the way.

    Args:
        seed: of all that a snapshot is to bring back.
        spoil: called with the updater right after the resume.
    """
    updater = make(seed)
    trainer = Trainer(updater, (ITERATIONS, "iteration"), out=folder)
    seen = []

    def look(trainer):
        scale = updater.scaler.get_scale() if updater.scaler else None
        seen.append((float(trainer.observation["main/loss"]), rate_of(updater), scale))

    trainer.extend(look, name="look")
    if spoil is not None:
        spoiling = make_extension(initializer=lambda trainer: spoil(updater))(lambda trainer: None)
        trainer.extend(spoiling, name="spoil")
    snapshot = extensions.snapshot(filename="s_{.updater.iteration}", autoload=True)
    trainer.extend(snapshot, trigger=(period, "iteration"))
    trainer.run()
    return bytes_of(updater), seen


def bytes_of(updater):
    return {name: (array.dtype, array.tobytes()) for name, array in flatten(capture(updater)).items()}


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    """Runs that nothing happened to, by name: the folder with a snapshot of each iteration, and what came out."""
    found = {}

    def of(name):
        if name not in found:
            folder = tmp_path_factory.mktemp("calm")
            found[name] = (folder, *run(folder, MADE[name], seed=0, period=1))
        return found[name]

    return of


class TestResume:
    @pytest.mark.parametrize("name", MADE)
    def test_a_run_resumed_at_any_iteration_ends_as_if_it_had_not_been(self, name, calm, tmp_path):
        snapshots, state, seen = calm(name)
        assert len(seen) == ITERATIONS
        for stop in range(1, ITERATIONS):
            folder = tmp_path / f"{stop}"
            folder.mkdir()
            shutil.copy(snapshots / f"s_{stop}", folder)
            found, rest = run(folder, MADE[name])
            assert (stop, rest) == (stop, seen[stop:])
            assert found.keys() == state.keys()
            assert [key for key in state if found[key] != state[key]] == []

    def test_the_run_with_a_scaler_skips_steps_and_grows_its_scale(self, calm):
        scales = [scale for _, _, scale in calm("mixed")[2]]
        changes = {later / scale for scale, later in itertools.pairwise(scales)}
        assert changes == {0.5, 1.0, 2.0}

    @pytest.mark.parametrize("name", ["accumulated", "mixed"])
    def test_without_the_accumulated_gradients_it_would_end_elsewhere(self, name, calm, tmp_path):
        snapshots, state, _ = calm(name)

        def forget(updater):
            for parameter in updater.model.parameters():
                assert parameter.grad is not None
                parameter.grad = None

        shutil.copy(snapshots / "s_17", tmp_path)  # one of four, two of three
        found, _ = run(tmp_path, MADE[name], spoil=forget)
        assert found["model:main/0.weight"] != state["model:main/0.weight"]

    def test_it_works_without_a_trainer(self, tmp_path):
        def new(seed):
            torch.manual_seed(seed)
            return {"updater": accumulated(seed), "generator": torch.default_generator}

        with holdfast.SnapshotStore(tmp_path) as store:
            target = new(0)
            for step in range(1, 12):
                target["updater"].update()
                store.save(step, target).result()
            other, snapshot = store.resume(new(1), step=6)
            assert (snapshot.step, other["updater"].iteration) == (6, 6)
            updated(other["updater"], 5)
        assert bytes_of(other["updater"]) == bytes_of(target["updater"])

    @pytest.mark.parametrize("count", [0, 5, 8])
    def test_npz_files_will_do_too(self, count, tmp_path):
        updater, other = updated(new_updater(accumulate=4), count), new_updater(new_like(), accumulate=4)
        serializers.save_npz(tmp_path / "five.npz", updater)
        serializers.load_npz(tmp_path / "five.npz", other)
        assert bytes_of(updated(other, 8)) == bytes_of(updated(updater, 8))


def new_like():
    model = linear_model()
    with torch.no_grad():
        model.weight.zero_()
    return model


class TestState:
    def test_between_two_steps_there_are_gradients_and_else_there_are_none(self):
        updater = new_updater(accumulate=2, scaler=True, schedule=halving)
        for _ in range(4):
            updater.update()
            keys = set(flatten(capture(updater)))
            gradients = {key for key in keys if key.startswith("accumulation/gradients/")}
            expected = {f"accumulation/gradients/{name}" for name in ("weight", "bias")}
            assert gradients == (expected if updater.iteration % 2 else set())
            assert keys > {"model:main/weight", "scaler/scale", "scheduler:main/last_epoch", "iteration"}

    def test_a_restore_forgets_the_gradients_that_were_there(self):
        updater = updated(new_updater(accumulate=4), 4)
        tree = tree_of(updater)
        updated(updater, 2)
        restored(tree, updater)
        assert updater.model.weight.grad is None
        assert_same(updated(updater, 4).model, updated(new_updater(accumulate=4), 8).model)

    @pytest.mark.parametrize(("count", "accumulate"), [(3, 4), (3, 1), (1, 3)])
    def test_gradients_of_another_accumulation_are_refused_and_nothing_is_changed(self, count, accumulate):
        tree = tree_of(updated(new_updater(accumulate=2), count))
        updater = updated(new_updater(accumulate=accumulate), 1)
        before = bytes_of(updater)
        with pytest.raises(MismatchError, match="the gradients of 1 of 2 batches, and accumulate is"):
            restored(tree, updater)
        assert bytes_of(updater) == before

    def test_between_two_accumulations_another_one_may_begin(self):
        updater = restored(tree_of(updated(new_updater(accumulate=2), 4)), new_updater(accumulate=3))
        updated(updater, 3)
        assert updater.iteration == 7
        assert "accumulation/gradients/weight" not in flatten(capture(updater))

    def test_a_parameter_without_a_gradient_stays_without_one(self):
        def loss_fn(model, batch):
            return squared_error(model[0], batch)

        def new():
            return new_updater(torch.nn.ModuleList([linear_model(), linear_model()]), loss_fn=loss_fn, accumulate=4)

        updater = updated(new(), 2)
        other = restored(tree_of(updater), new())
        assert other.model[0].weight.grad is not None
        assert other.model[1].weight.grad is None
        assert_same(updated(other, 6).model, updated(updater, 6).model)

    def test_a_gradient_has_the_strides_of_its_parameter_again(self):
        def new():
            model = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
            images = BatchIterator(torch.randn(4, 3, 5, 5), 2)
            loss_fn = lambda model, batch: model(batch).square().mean()  # noqa: E731
            return new_updater(model, loss_fn=loss_fn, iterator=images, accumulate=3)

        updater = updated(new(), 2)
        other = restored(tree_of(updater), new())
        gradient, found = updater.model.weight.grad, other.model.weight.grad
        assert gradient.stride() == updater.model.weight.stride() != gradient.contiguous().stride()
        assert found.stride() == gradient.stride()
        assert torch.equal(found, gradient)

    def test_parameters_that_joined_the_optimizer_later_have_gradients_too(self):
        def loss_fn(model, batch):
            return squared_error(model[0], batch) + squared_error(model[1], batch)

        def new():
            model = torch.nn.Sequential(linear_model(), linear_model())
            optimizer = torch.optim.SGD(model[0].parameters(), 0.1)
            updater = TorchUpdater(batches_of(), model, optimizer, loss_fn, accumulate=4)
            optimizer.add_param_group({"params": list(model[1].parameters()), "lr": 0.2})
            return updater

        updater = updated(new(), 3)
        other = restored(tree_of(updater), new())
        assert_same(updated(other, 1).model, updated(updater, 1).model)

    def test_what_only_one_side_has_is_refused(self):
        tree = tree_of(updated(new_updater(scaler=True), 1))
        with pytest.raises(MismatchError, match="only in the snapshot: 'scaler'"):
            restored(tree, new_updater())

    def test_the_optimizer_is_main(self):
        updater = new_updater()
        assert updater.get_optimizer() is updater.get_optimizer("main") is updater.optimizer
        assert updater.get_all_optimizers() == {"main": updater.optimizer}
        with pytest.raises(KeyError, match="there is no optimizer 'gen'; the only one is 'main'"):
            updater.get_optimizer("gen")
