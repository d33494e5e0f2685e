from __future__ import annotations

import numpy as np
import pytest

import holdfast
from holdfast import reporter
from holdfast.state.capture import capture
from holdfast.state.flat import flatten
from holdfast.training import Trainer, extensions
from holdfast.training.updaters.standard_updater import StandardUpdater
from training.chainers_parts import Delegate, as_it_is, batches_of, new_optimizer, new_updater
from training.serializers import loaded, saved

ITERATIONS = 30  # 4 to an epoch, as 14 examples make batches of 4


class Adversarial(StandardUpdater):
    """Two models with an optimizer each, the arguments popped and the update made as in Chainer's example DCGAN."""

    def __init__(self, *args, **kwargs):
        self.gen, self.dis = kwargs.pop("models")
        super().__init__(*args, **kwargs)

    def update_core(self):
        batch = self.get_iterator("main").next()
        x, y = self.converter(batch, self.device)
        self.get_optimizer("dis").update(self.dis, x, y)
        self.get_optimizer("gen").update(self.gen, x, self.dis.arrays["b"] + y)


def adversarial():
    gen, dis = new_optimizer(), new_optimizer()
    iterators = {"main": batches_of(shuffle=True, seed=1), "unused": batches_of(shuffle=True, seed=2)}
    return Adversarial(iterators, {"gen": gen, "dis": dis}, as_it_is, models=(gen.target, dis.target))


def delegating():
    return StandardUpdater(Delegate(batches_of(shuffle=True, seed=1)), Delegate(new_optimizer()), as_it_is)


MADE = {"one": new_updater, "two with a core of their own": adversarial, "delegates": delegating}


def run(folder, make, period=1000):
    """Train to the end, from the newest snapshot in the folder; returns the last state and the losses on the way."""
    updater = make()
    trainer = Trainer(updater, (ITERATIONS, "iteration"), out=folder)
    losses = []
    trainer.extend(lambda trainer: losses.append(dict(trainer.observation)), name="losses")
    snapshot = extensions.snapshot(filename="s_{.updater.iteration}", autoload=True)
    trainer.extend(snapshot, trigger=(period, "iteration"))
    trainer.run()
    return bytes_of(updater), losses


class TestState:
    def test_the_keys_are_chainers(self):
        updater = adversarial()
        updater.update()
        assert {key for key in flatten(capture(updater)) if not key.startswith("iterator:")} == {
            "optimizer:gen/t", "optimizer:gen/epoch", "optimizer:gen/W/v", "optimizer:gen/b/v",
            "optimizer:dis/t", "optimizer:dis/epoch", "optimizer:dis/W/v", "optimizer:dis/b/v",
            "model:gen/W", "model:gen/b", "model:dis/W", "model:dis/b", "iteration",
        }  # fmt: skip
        assert {"iterator:main/order", "iterator:unused/order"} < set(flatten(capture(updater)))

    @pytest.mark.parametrize("make", MADE.values(), ids=MADE)
    def test_a_run_resumed_at_any_iteration_ends_as_if_it_had_not_been(self, make, tmp_path):
        state, losses = run(tmp_path / "calm", make, period=1)
        assert len(losses) == ITERATIONS
        for stop in range(1, ITERATIONS):
            folder = tmp_path / f"{stop}"
            folder.mkdir()
            (tmp_path / f"calm/s_{stop}").rename(folder / f"s_{stop}")
            found, rest = run(folder, make)
            assert (stop, found) == (stop, state)
            assert rest == losses[stop:]

    @pytest.mark.parametrize("stop", [0, 1, 5])
    def test_any_serializer_of_chainers_protocol_will_do(self, stop):
        updater = StandardUpdater(batches_of(), new_optimizer(), as_it_is)
        for _ in range(stop):
            updater.update()
        other = loaded(saved(updater), StandardUpdater(batches_of(), new_optimizer(), as_it_is))
        for _ in range(4):
            updater.update()
            other.update()
        found, wanted = saved(other), saved(updater)
        assert found.keys() == wanted.keys()
        for key, value in wanted.items():
            np.testing.assert_array_equal(found[key], value, err_msg=key)

    def test_npz_files_will_do_too(self, tmp_path):
        updater = new_updater()
        for _ in range(6):
            updater.update()
        holdfast.serializers.save_npz(tmp_path / "six.npz", updater)
        other = new_updater()
        holdfast.serializers.load_npz(tmp_path / "six.npz", other)
        updater.update()
        other.update()
        assert other.iteration == 7
        np.testing.assert_array_equal(
            other.get_optimizer("main").target.arrays["W"], updater.get_optimizer("main").target.arrays["W"]
        )

    def test_an_iterator_of_another_kind_is_saved_by_its_state_dict(self, tmp_path):
        class Numbers:
            is_new_epoch = False

            def __init__(self):
                self.place = 0

            def __next__(self):
                self.place += 1
                return self.place

            def state_dict(self):
                return {"place": self.place}

            def load_state_dict(self, state):
                self.place = state["place"]

        def new():
            return StandardUpdater(Numbers(), new_optimizer(), as_it_is, loss_func=lambda number: None)

        updater, other = new(), new()
        updater.update()
        updater.update()
        holdfast.save(tmp_path / "two", updater)
        holdfast.restore(tmp_path / "two", other)
        other.update()
        assert other.get_optimizer("main").calls[0][1] == (3,)

    def test_it_works_without_a_trainer(self, tmp_path):
        updater = new_updater()
        with holdfast.SnapshotStore(tmp_path) as store, reporter.Reporter() as current:
            current.add_observer("main", updater.get_optimizer("main").target)
            for step in range(1, 7):
                updater.update()
                store.save(step, updater).result()
            other, snapshot = store.resume(new_updater(), step=4)
            current.add_observer("main", other.get_optimizer("main").target)
            assert (snapshot.step, other.iteration) == (4, 4)
            for _ in range(2):
                other.update()
        assert bytes_of(other) == bytes_of(updater)


def bytes_of(updater):
    return {name: array.tobytes() for name, array in flatten(capture(updater)).items()}
