from __future__ import annotations

import random

import numpy as np
import pytest

from holdfast.iterators import BatchIterator
from holdfast.state.flat import flatten
from holdfast.training import Extension, Trainer, extensions, make_extension, updaters
from training.fakes import CountingUpdater, nothing
from training.serializers import loaded, restored, saved, tree_of


class Steps(CountingUpdater):
    """Iterations that take a time."""

    def __init__(self, clock, seconds):
        super().__init__()
        self.clock, self.seconds = clock, seconds

    def update(self):
        self.clock.now += self.seconds
        super().update()


class TestElapsedTime:
    def test_there_is_none_before_the_run(self, make):
        with pytest.raises(RuntimeError, match="training has not been started yet"):
            _ = make().elapsed_time

    def test_it_counts_from_the_start_of_the_run_and_stands_still_after_it(self, make, clock):
        seen = []
        trainer = make(Steps(clock, 2.5), extensions=[lambda trainer: seen.append(trainer.elapsed_time)])
        clock.now += 100
        trainer.run()
        clock.now += 100
        assert seen == [2.5, 5.0, 7.5]
        assert trainer.elapsed_time == 7.5

    @pytest.mark.parametrize("when", ["before the run", "while it resumes"])
    def test_it_is_kept_across_a_resume(self, make, clock, when):
        first = make(Steps(clock, 2.5))
        first.run()
        state = saved(first)
        clock.now += 1000
        second = make(Steps(clock, 2.5), stop=(5, "iteration"))
        if when == "before the run":
            loaded(state, second)
        else:
            restoring = Extension()
            restoring.resume = lambda trainer: loaded(state, trainer)
            second.extend(restoring, trigger=nothing)
        clock.now += 1000
        second.run()
        assert second.elapsed_time == 12.5

    def test_saving_does_not_change_it(self, make, clock):
        trainer = make(Steps(clock, 2.5), extensions=[saved])
        trainer.run()
        assert trainer.elapsed_time == 7.5

    def test_a_trainer_that_has_not_run_hands_on_what_it_was_given(self, make):
        assert saved(make())["_snapshot_elapsed_time"] == 0.0
        assert saved(loaded({**saved(make()), "_snapshot_elapsed_time": 3.5}, make()))["_snapshot_elapsed_time"] == 3.5


class Keeping(Extension):
    """An extension, or a trigger, with a state."""

    def __init__(self, value):
        self.value = value

    def __call__(self, trainer):
        return False

    def serialize(self, serializer):
        self.value = serializer("value", self.value)


class TestSerialize:
    def test_the_keys_are_chainers(self, make):
        trainer = make()
        trainer.extend(Keeping(1), name="a", trigger=Keeping(2))
        trainer.extend(Keeping(3), name="a")
        trainer.extend(nothing, trigger=nothing)
        interval = ["previous_iteration", "previous_epoch_detail"]
        assert sorted(saved(trainer)) == sorted(
            [
                "updater/iteration",
                *[f"stop_trigger/{key}" for key in interval],
                *["extensions/a/value", "extensions/a_1/value", "extension_triggers/a/value"],
                *[f"extension_triggers/a_1/{key}" for key in interval],
                "_snapshot_elapsed_time",
            ]
        )

    def test_everything_comes_back(self, make):
        def new(a, b):
            trainer = make()
            trainer.extend(Keeping(a), name="x", trigger=Keeping(b))
            return trainer

        trainer = new(1, 2)
        trainer.run()
        other = restored(tree_of(trainer), new(0, 0))
        assert saved(other) == saved(trainer)
        assert saved(other)["extensions/x/value"] == 1

    @pytest.mark.parametrize("strict", [True, False])
    def test_an_extension_that_the_snapshot_lacks_stays_as_it_is(self, make, strict):
        class Careful(Keeping):
            def serialize(self, serializer):
                assert not serializer.loading, "there is nothing to restore"
                super().serialize(serializer)

        trainer = make()
        trainer.extend(Careful("as it was"), name="new", trigger=Keeping("as it was"))
        restored(tree_of(make()), trainer, strict=strict)
        assert trainer.get_extension("new").value == "as it was"

    def test_an_extension_that_only_the_snapshot_has_is_not_read(self, make):
        trainer = make()
        trainer.extend(Keeping(1), name="old")
        assert restored(tree_of(trainer), make()).updater.iteration == 0

    @pytest.mark.parametrize("strict", [True, False])
    def test_an_interval_that_the_snapshot_lacks_begins_where_the_run_goes_on(self, make, strict):
        first = make(stop=(17, "iteration"))
        first.run()
        calls = []
        second = make(stop=(31, "iteration"))
        second.extend(lambda trainer: calls.append(trainer.updater.iteration), name="new", trigger=(10, "iteration"))
        restored(tree_of(first), second, strict=strict)
        second.run()
        assert calls == [20, 30]

    def test_a_trigger_that_misses_a_part_of_its_state_is_no_new_one(self, make):
        class More(Keeping):
            def serialize(self, serializer):
                super().serialize(serializer)
                serializer("more", 0)

        first, second = make(), make()
        first.extend(nothing, trigger=Keeping(1))
        second.extend(nothing, trigger=More(1))
        with pytest.raises(ValueError, match="more"):
            restored(tree_of(first), second)


def new_training(tmp_path, iterations, snapshots, wanted):
    """A training in which everything draws random numbers: batches, steps, and extensions, also when they begin. The
    snapshots of the wanted iterations are kept."""
    random.seed(5)
    np.random.seed(5)
    generator = np.random.default_rng(1)
    weights, count = np.zeros(3), {"calls": 0}

    def step(batch):
        weights[...] = 0.9 * weights + generator.normal(size=3) * batch.mean()
        return {"loss": float((weights**2).sum())}

    @make_extension(
        trigger=(3, "iteration"), priority=-900, initializer=lambda trainer: (random.random(), np.random.normal())
    )
    def noise(trainer):
        count["calls"] += 1
        weights[0] += generator.random() + random.random()
        weights[1] += np.random.normal()

    class Snapshot(Extension):
        is_snapshot = True
        priority = 900

        def __call__(self, trainer):
            if trainer.updater.iteration in wanted:
                snapshots[trainer.updater.iteration] = tree_of(trainer)

    batches = BatchIterator(np.arange(20.0), 3, shuffle=True, seed=3)
    targets = {"weights": weights, "generator": generator, "count": count}
    trainer = Trainer(updaters.FunctionUpdater(batches, step, targets=targets), (iterations, "iteration"), out=tmp_path)
    trainer.extend(Snapshot(), trigger=(1, "iteration"))
    trainer.extend(extensions.LogReport(trigger=(0.35, "epoch")))
    trainer.extend(noise)
    return trainer


def test_the_global_generators_are_set_when_a_trainer_is_restored_and_again_before_the_first_update(make):
    drawn = []

    class Drawing(CountingUpdater):
        def update(self):
            super().update()
            drawn.append((random.random(), np.random.random()))

    first = make(Drawing(), stop=(1, "iteration"))
    first.run()
    tree = tree_of(first)
    expected = (random.random(), np.random.random())
    second = make(Drawing(), stop=(2, "iteration"))
    second.extend(Extension(), trigger=nothing)
    second.get_extension("Extension").initialize = lambda trainer: (random.random(), np.random.random())
    restored(tree, second)
    assert (random.random(), np.random.random()) == expected
    second.run()
    assert drawn[-1] == expected


def test_a_run_that_is_resumed_at_any_iteration_ends_as_one_that_was_not_stopped(tmp_path, clock):
    snapshots = {}
    new_training(tmp_path, 30, snapshots, range(1, 31)).run()
    expected = flatten(snapshots[30])
    assert len(expected) > 20
    for stopped in range(1, 30):
        ended = {}
        restored(snapshots[stopped], trainer := new_training(tmp_path, 30, ended, [30]))
        trainer.run()
        np.testing.assert_equal(flatten(ended[30]), expected, f"resumed after iteration {stopped}")
