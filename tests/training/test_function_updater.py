from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast import reporter
from holdfast.iterators import BatchIterator
from holdfast.training import Trainer
from holdfast.training.updaters import FunctionUpdater
from training.serializers import loaded, restored, saved, tree_of


class Loader:
    """Numbers 0 to 3, with a place that can be saved at any time; begun anew by iter(), as a stateful DataLoader is."""

    def __init__(self):
        self.place = 0
        self.restored = 0  # where the next pass begins
        self.begun = 0

    def __iter__(self):
        self.begun += 1
        first, self.restored = self.restored, 0
        for number in range(first, 4):
            self.place = number + 1
            yield number

    def state_dict(self):
        return {"place": self.place}

    def load_state_dict(self, state):
        self.place = self.restored = state["place"]


def batches_of(count=10, size=4, **options):
    return BatchIterator(np.arange(count), size, **options)


def nothing(batch):
    return None


class TestConstruction:
    def test_a_step_that_cannot_be_called_is_refused(self):
        with pytest.raises(TypeError, match="step must be a function of one batch, not str"):
            FunctionUpdater(batches_of(), "step", targets={})

    @pytest.mark.parametrize("name", ["a/b", "", "iteration", "iterator:main", 3])
    def test_a_name_that_would_not_be_a_key_of_its_own_is_refused(self, name):
        with pytest.raises(ValueError, match="cannot be the name of a target"):
            FunctionUpdater(batches_of(), nothing, targets={name: {}})

    def test_an_iterator_that_cannot_save_its_place_is_refused_with_the_way_out(self):
        with pytest.raises(TypeError, match="BatchIterator"):
            FunctionUpdater(iter([1, 2]), nothing, targets={})

    def test_what_gives_no_batches_is_refused(self):
        with pytest.raises(TypeError, match="a int cannot be iterated over"):
            FunctionUpdater(3, nothing, targets={})


class TestUpdate:
    def test_each_update_is_one_call_with_one_batch(self):
        seen = []
        updater = FunctionUpdater(batches_of(), lambda batch: seen.append(batch.tolist()), targets={})
        for _ in range(3):
            updater.update()
        assert seen == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 1]]
        assert (updater.iteration, updater.epoch, updater.is_new_epoch) == (3, 1, True)
        assert (updater.epoch_detail, updater.previous_epoch_detail) == (1.2, 0.8)

    def test_what_the_step_returns_is_reported_under_these_names(self):
        updater = FunctionUpdater(batches_of(), lambda batch: {"loss": 0.5, "main/accuracy": 1}, targets={})
        with reporter.Reporter() as current:
            updater.update()
        assert current.observation == {"loss": 0.5, "main/accuracy": 1}

    def test_what_is_no_mapping_is_refused_and_the_update_does_not_count(self):
        updater = FunctionUpdater(batches_of(), lambda batch: 0.5, targets={})
        with pytest.raises(TypeError, match="step returned a float; want a mapping"):
            updater.update()
        assert updater.iteration == 0

    def test_a_step_that_fails_does_not_count(self):
        updater = FunctionUpdater(batches_of(), lambda batch: 1 / 0, targets={})
        with pytest.raises(ZeroDivisionError):
            updater.update()
        assert updater.iteration == 0

    def test_an_iterator_of_one_pass_is_begun_anew_at_its_end(self):
        seen, loader = [], Loader()
        updater = FunctionUpdater(loader, seen.append, targets={})
        for _ in range(6):
            updater.update()
        assert seen == [0, 1, 2, 3, 0, 1]
        assert loader.begun == 2

    def test_an_iterator_without_a_batch_is_an_error_and_no_endless_loop(self):
        class Empty(Loader):
            def __iter__(self):
                return iter(())

        with pytest.raises(ValueError, match="a Empty, gave no batch at all"):
            FunctionUpdater(Empty(), nothing, targets={}).update()

    def test_an_iterator_that_counts_no_epochs_says_what_to_do(self):
        updater = FunctionUpdater(Loader(), nothing, targets={})
        assert not hasattr(updater, "epoch_detail")
        with pytest.raises(AttributeError, match="has no epoch: use triggers that count iterations"):
            _ = updater.epoch

    def test_it_runs_by_iterations_where_no_epochs_are_counted(self, tmp_path):
        updater = FunctionUpdater(Loader(), nothing, targets={})
        Trainer(updater, (6, "iteration"), out=tmp_path).run()
        assert updater.iteration == 6


class TestParts:
    def test_targets_are_observers_of_the_trainer(self, tmp_path):
        model = SimpleNamespace()
        updater = FunctionUpdater(
            batches_of(), lambda batch: reporter.report({"norm": 2}, model), targets={"net": model}
        )
        trainer = Trainer(updater, (1, "iteration"), out=tmp_path)
        trainer.run()
        assert trainer.observation == {"net/norm": 2}

    def test_a_target_is_found_by_its_name(self):
        updater = FunctionUpdater(batches_of(), nothing, targets={"a": [1], "b": [2]})
        assert updater.get_target("a") == [1]
        assert updater.get_optimizer("b") == [2]
        with pytest.raises(KeyError, match="there is no target 'c'; the targets are 'a', 'b'"):
            updater.get_target("c")

    def test_the_iterator_is_main(self):
        batches = batches_of()
        updater = FunctionUpdater(batches, nothing, targets={})
        assert updater.get_iterator() is updater.get_iterator("main") is batches
        with pytest.raises(KeyError, match="no iterator 'test'"):
            updater.get_iterator("test")

    def test_optimizers_are_told_from_other_targets_by_what_they_have(self):
        torch_like = SimpleNamespace(param_groups=[])
        chainer_like = SimpleNamespace(target=None, update=None)
        targets = {"model": {}, "torch": torch_like, "chainer": chainer_like}
        updater = FunctionUpdater(batches_of(), nothing, targets=targets)
        assert updater.get_all_optimizers() == {"torch": torch_like, "chainer": chainer_like}

    def test_the_iterator_is_finalized_where_it_can_be(self):
        closed = []
        batches = batches_of()
        batches.finalize = lambda: closed.append(True)
        FunctionUpdater(batches, nothing, targets={}).finalize()
        FunctionUpdater(Loader(), nothing, targets={}).finalize()
        assert closed == [True]


def new_updater(iterator, seen):
    weights = np.zeros(2)

    def step(batch):
        seen.append(np.array(batch).tolist())
        weights[...] += np.mean(batch)

    return FunctionUpdater(iterator, step, targets={"weights": weights})


class TestState:
    def test_the_keys_are_those_of_chainers_updaters(self):
        updater = new_updater(batches_of(), [])
        keys = set(saved(updater))
        assert keys >= {"iteration", "weights", "iterator:main/epoch", "iterator:main/current_position"}

    @pytest.mark.parametrize(("save", "restore"), [(saved, loaded), (tree_of, restored)])
    @pytest.mark.parametrize("shuffle", [False, True])
    def test_it_goes_on_where_it_was(self, save, restore, shuffle):
        seen, again = [], []
        updater = new_updater(batches_of(shuffle=shuffle, seed=1) if save is tree_of else batches_of(), seen)
        for _ in range(4):
            updater.update()
        state = save(updater)
        other = new_updater(batches_of(shuffle=shuffle, seed=2) if save is tree_of else batches_of(), again)
        restore(state, other)
        for _ in range(5):
            updater.update()
            other.update()
        assert again == seen[4:]
        assert other.iteration == 9
        np.testing.assert_array_equal(other.get_target("weights"), updater.get_target("weights"))

    @settings(deadline=None)
    @given(stop=st.integers(0, 11))
    def test_an_iterator_of_one_pass_goes_on_in_the_middle_and_saving_does_not_disturb_it(self, stop):
        seen, again = [], []
        updater = new_updater(Loader(), seen)
        for _ in range(stop):
            updater.update()
        tree = tree_of(updater)
        other = restored(tree, new_updater(Loader(), again))
        for _ in range(12 - stop):
            updater.update()
            other.update()
        assert seen == [0, 1, 2, 3] * 3
        assert again == seen[stop:]

    def test_restoring_in_the_middle_of_a_pass_leaves_that_pass(self):
        seen = []
        updater = new_updater(Loader(), seen)
        updater.update()
        tree = tree_of(updater)
        updater.update()
        updater.update()
        restored(tree, updater)
        updater.update()
        assert seen == [0, 1, 2, 1]

    def test_a_target_that_cannot_change_in_place_is_replaced(self):
        def new(value):
            updater = FunctionUpdater(
                batches_of(), lambda batch: updater.targets.update(state=(5, 6)), targets={"state": value}
            )
            return updater

        updater = new((1, 2))
        updater.update()
        other = restored(tree_of(updater), new((1, 2)))
        assert other.get_target("state") == (5, 6)
