from __future__ import annotations

import collections

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.errors import MismatchError
from holdfast.iterators import BatchIterator
from training.serializers import loaded, restored, saved, tree_of

Pair = collections.namedtuple("Pair", "images labels")


def taken(iterator, count):
    """Up to so many batches, and where the iterator was after each."""
    found = []
    for _ in range(count):
        try:
            batch = next(iterator)
        except StopIteration:
            break
        place = (iterator.epoch, iterator.epoch_detail, iterator.previous_epoch_detail, iterator.is_new_epoch)
        found.append((batch.tolist(), *place))
    return found


def batches(iterator, count):
    return [batch for batch, *_ in taken(iterator, count)]


class TestBatches:
    def test_a_batch_at_the_end_of_an_epoch_is_filled_up_with_the_next_one(self):
        iterator = BatchIterator(np.arange(5), 2)
        assert taken(iterator, 5) == [
            ([0, 1], 0, 0.4, 0.0, False),
            ([2, 3], 0, 0.8, 0.4, False),
            ([4, 0], 1, 1.2, 0.8, True),
            ([1, 2], 1, 1.6, 1.2, False),
            ([3, 4], 2, 2.0, 1.6, True),
        ]

    def test_without_repeating_the_last_batch_is_short_and_then_it_ends(self):
        iterator = BatchIterator(np.arange(5), 2, repeat=False)
        assert batches(iterator, 9) == [[0, 1], [2, 3], [4]]
        assert (iterator.epoch, iterator.is_new_epoch, iterator.epoch_detail) == (1, True, 1.0)
        assert list(iterator) == []

    def test_dropping_the_rest_gives_whole_batches_of_one_epoch(self):
        iterator = BatchIterator(np.arange(5), 2, drop_last=True)
        assert batches(iterator, 4) == [[0, 1], [2, 3], [0, 1], [2, 3]]
        assert iterator.epoch_detail == 2.0

    def test_a_batch_may_be_larger_than_the_data(self):
        iterator = BatchIterator(np.arange(3), 7)
        assert batches(iterator, 2) == [[0, 1, 2, 0, 1, 2, 0], [1, 2, 0, 1, 2, 0, 1]]
        assert (iterator.epoch, iterator.current_position) == (4, 2)

    def test_before_the_first_batch_there_is_no_previous_one(self):
        iterator = BatchIterator(np.arange(5), 2)
        assert (iterator.epoch, iterator.epoch_detail, iterator.previous_epoch_detail) == (0, 0.0, None)
        assert not iterator.is_new_epoch

    def test_shuffled_epochs_hold_each_example_once_in_an_order_of_their_own(self):
        iterator = BatchIterator(np.arange(20), 5, shuffle=True, seed=0)
        epochs = [[x for batch in batches(iterator, 4) for x in batch] for _ in range(3)]
        assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
        assert len({tuple(epoch) for epoch in epochs}) == 3

    def test_the_seed_decides_the_order(self):
        def first(seed):
            return batches(BatchIterator(np.arange(50), 50, shuffle=True, seed=seed), 1)

        assert first(1) == first(1) == first(np.random.default_rng(1))
        assert first(1) != first(2)
        assert first(None) != first(None)

    def test_what_the_last_epoch_dropped_comes_in_another(self):
        iterator = BatchIterator(np.arange(5), 2, shuffle=True, drop_last=True, seed=0)
        assert {x for batch in batches(iterator, 40) for x in batch} == set(range(5))

    def test_reset_goes_back_to_the_start_in_a_new_order(self):
        iterator = BatchIterator(np.arange(50), 50, shuffle=True, seed=0)
        first = batches(iterator, 1)
        iterator.reset()
        assert (iterator.epoch, iterator.previous_epoch_detail) == (0, None)
        assert batches(iterator, 1) != first

    def test_next_is_the_same_as_in_chainer(self):
        iterator = BatchIterator(np.arange(4), 2)
        with iterator as same:
            assert same is iterator
            assert [iterator.next().tolist(), next(iterator).tolist()] == [[0, 1], [2, 3]]


class TestData:
    def test_batches_have_the_structure_of_the_data(self):
        images, labels = np.arange(10).reshape(5, 2), np.arange(5)
        for shuffle in (False, True):
            pair = next(BatchIterator(Pair(images, labels), 3, shuffle=shuffle, seed=0))
            assert type(pair) is Pair
            assert (pair.images[:, 0] == 2 * pair.labels).all()
            nested = next(BatchIterator({"x": (images, labels), "y": labels}, 3, shuffle=shuffle, seed=0))
            assert (nested["x"][0][:, 0] == 2 * nested["y"]).all()
            assert (nested["x"][1] == nested["y"]).all()

    def test_a_sequence_gives_lists_of_its_items(self):
        data = [("a", 1), ("b", 2), ("c", 3)]
        assert next(BatchIterator(data, 2)) == [("a", 1), ("b", 2)]
        assert sorted(next(BatchIterator(data, 3, shuffle=True))) == data
        assert next(BatchIterator(range(5), 2)) == [0, 1]

    @pytest.mark.parametrize("shuffle", [False, True])
    def test_tensors_give_tensors(self, shuffle):
        torch = pytest.importorskip("torch")
        data = torch.arange(12).reshape(6, 2)
        batch = next(BatchIterator(data, 4, shuffle=shuffle, seed=0))
        assert isinstance(batch, torch.Tensor)
        assert batch.shape == (4, 2)

    @pytest.mark.parametrize("shuffle", [False, True])
    def test_jax_arrays_give_jax_arrays(self, shuffle):
        jax = pytest.importorskip("jax")
        data = jax.numpy.arange(6)
        batch = next(BatchIterator(data, 4, shuffle=shuffle, seed=0))
        assert isinstance(batch, jax.Array)
        assert batch.shape == (4,)

    def test_a_shuffled_batch_is_a_copy(self):
        data = np.arange(6)
        next(BatchIterator(data, 6, shuffle=True))[:] = -1
        assert data.tolist() == [0, 1, 2, 3, 4, 5]

    @pytest.mark.parametrize(
        ("data", "error", "words"),
        [
            ([], ValueError, "no examples"),
            (np.empty((0, 3)), ValueError, "no examples"),
            ((), ValueError, "no examples"),
            (np.array(3), ValueError, "data has no dimensions"),
            ((np.zeros(3), np.zeros(4)), ValueError, r"data\[0\] has 3, data\[1\] has 4"),
            ({"x": np.zeros(3), "y": [1]}, ValueError, r"data\['x'\] has 3, data\['y'\] has 1"),
            ("text", TypeError, "data is a str"),
            (iter([1]), TypeError, "data is a list_iterator"),
        ],
    )
    def test_what_cannot_be_cut_into_batches_is_refused(self, data, error, words):
        with pytest.raises(error, match=words):
            BatchIterator(data, 1)

    @pytest.mark.parametrize(
        ("size", "error"), [(0, ValueError), (-1, ValueError), (2.0, TypeError), (True, TypeError)]
    )
    def test_a_wrong_batch_size_is_refused(self, size, error):
        with pytest.raises(error, match="batch_size must be"):
            BatchIterator([1, 2], size)

    def test_dropping_everything_is_refused(self):
        with pytest.raises(ValueError, match="there would be none"):
            BatchIterator([1, 2], 3, drop_last=True)


OPTIONS = st.fixed_dictionaries(
    {"shuffle": st.booleans(), "repeat": st.booleans(), "drop_last": st.booleans()},
)


class TestState:
    @settings(max_examples=200, deadline=None)
    @given(
        options=OPTIONS, length=st.integers(1, 12), size=st.integers(1, 15), stop=st.integers(0, 25), real=st.booleans()
    )
    def test_it_goes_on_at_the_very_example_and_so_do_all_later_epochs(self, options, length, size, stop, real):
        if options["drop_last"]:
            size = min(size, length)
        data = np.arange(length)
        iterator = BatchIterator(data, size, seed=1, **options)
        other = BatchIterator(data, size, seed=2, **options)
        taken(iterator, stop)
        if real:
            restored(tree_of(iterator), other)
        elif options["shuffle"]:  # a generator needs a serializer of holdfast's
            return
        else:
            loaded(saved(iterator), other)
        assert (other.epoch, other.epoch_detail, other.previous_epoch_detail, other.is_new_epoch) == (
            iterator.epoch,
            iterator.epoch_detail,
            iterator.previous_epoch_detail,
            iterator.is_new_epoch,
        )
        assert taken(other, 20) == taken(iterator, 20)

    def test_saving_changes_nothing(self):
        iterator, watched = (BatchIterator(np.arange(10), 3, shuffle=True, seed=0) for _ in range(2))
        for _ in range(10):
            tree_of(watched)
            assert next(watched).tolist() == next(iterator).tolist()

    def test_a_generator_that_was_given_is_restored_in_place(self):
        generator = np.random.default_rng(0)
        iterator = BatchIterator(np.arange(10), 3, shuffle=True, seed=generator)
        tree, expected = tree_of(iterator), generator.bit_generator.state
        taken(iterator, 10)
        restored(tree, iterator)
        assert generator.bit_generator.state == expected

    def test_the_keys_are_chainers_and_two_more(self):
        iterator = BatchIterator(np.arange(5), 2)
        assert set(saved(iterator)) == {
            *["current_position", "epoch", "is_new_epoch", "previous_epoch_detail"],
            "length",
        }
        shuffled = tree_of(BatchIterator(np.arange(5), 2, shuffle=True))
        assert set(shuffled.root.keys) == set(saved(iterator)) | {"order", "generator"}

    @pytest.mark.parametrize(
        ("other", "words"),
        [
            (lambda: BatchIterator(np.arange(6), 2), "taken with 5 examples, but the data has 6"),
            (lambda: BatchIterator(np.arange(5), 3, drop_last=True), "position 2 of the snapshot is none that batches"),
        ],
    )
    def test_other_data_and_other_batches_are_refused_and_nothing_is_changed(self, other, words):
        iterator = BatchIterator(np.arange(5), 2)
        next(iterator)
        target = other()
        before = saved(target)
        with pytest.raises(MismatchError, match=words):
            loaded(saved(iterator), target)
        assert saved(target) == before

    @pytest.mark.parametrize("order", [[0, 1, 2, 3], [0, 1, 2, 3, 5], [-1, 1, 2, 3, 4]])
    def test_an_order_that_points_outside_the_data_is_refused(self, order):
        class Reading:
            """A serializer whose file holds that order, and else what it is given."""

            def __call__(self, key, value):
                return np.array(order) if key == "order" else value

        with pytest.raises(MismatchError, match="order does not fit data of 5 examples"):
            BatchIterator(np.arange(5), 2, shuffle=True).serialize(Reading())

    def test_a_snapshot_without_an_order_does_not_fit_a_shuffled_one(self):
        plain, shuffled = BatchIterator(np.arange(5), 2), BatchIterator(np.arange(5), 2, shuffle=True)
        with pytest.raises(MismatchError, match="order"):
            restored(tree_of(plain), shuffled)
        with pytest.raises(MismatchError, match="order"):
            restored(tree_of(shuffled), plain)
