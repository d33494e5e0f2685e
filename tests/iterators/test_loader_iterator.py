from __future__ import annotations

import random

import numpy as np
import pytest

from holdfast.errors import CaptureError
from holdfast.iterators import LoaderIterator
from iterators.loaders import (
    ONE_CORE,
    Measured,
    Moved,
    Numbers,
    Shorter,
    Shuffling,
    Stream,
    by_npz,
    by_state_dict,
    generator,
    loader,
    resumes_at_every_batch,
    seeded,
    step,
    steps,
)
from training.serializers import restored, tree_of

torch = pytest.importorskip("torch")
data = torch.utils.data

pytestmark = ONE_CORE


class Buckets(data.Sampler):
    """A batch sampler with a generator of NumPy's, drawn from again and again, and batches of unequal sizes."""

    def __init__(self, length=10):
        self.length = length
        self.generator = np.random.default_rng(3)

    def __iter__(self):
        order = self.generator.permutation(self.length).tolist()
        while order:
            size = int(self.generator.integers(1, 4))
            yield order[:size]
            order = order[size:]


HERE = {
    "in order": loader,
    "shuffled": lambda: loader(shuffle=True),
    "shuffled with a generator": lambda: loader(shuffle=True, generator=generator()),
    "shuffled in whole batches": lambda: loader(Numbers(9), shuffle=True, generator=generator()),
    "dropping the rest": lambda: loader(shuffle=True, drop_last=True),
    "with replacement": lambda: loader(sampler=data.RandomSampler(range(10), replacement=True, num_samples=40)),
    "weighted": lambda: loader(sampler=data.WeightedRandomSampler([1.0, 2, 3, 4, 5, 6, 7, 8, 9, 10], 10)),
    "a subset": lambda: loader(sampler=data.SubsetRandomSampler(range(4, 10), generator=generator())),
    "a sampler by hand": lambda: loader(sampler=Shuffling()),
    "a sampler inside a batch sampler": lambda: loader(
        batch_size=1,
        batch_sampler=data.BatchSampler(data.RandomSampler(range(10), generator=generator()), 4, False),
    ),
    "a batch sampler": lambda: loader(batch_size=1, batch_sampler=Buckets()),
    "batches in a list": lambda: loader(batch_size=1, batch_sampler=[[0, 5], [1], [2, 3, 4]]),
    "no batches": lambda: loader(Numbers(4), None, shuffle=True),
    "one batch an epoch": lambda: loader(batch_size=20, shuffle=True),
    "one of two ranks": lambda: loader(sampler=data.DistributedSampler(range(10), 2, 1)),
    "its own __iter__": lambda: Moved(Numbers(noise=False), 3, shuffle=True),
}


class TestResume:
    @pytest.mark.parametrize("kind", HERE)
    def test_it_goes_on_at_the_very_batch_and_so_do_all_later_epochs(self, kind):
        resumes_at_every_batch(lambda: LoaderIterator(HERE[kind]()), 11)

    @pytest.mark.parametrize("save", [by_state_dict, by_npz])
    @pytest.mark.parametrize("kind", ["shuffled", "a batch sampler", "a sampler by hand"])
    def test_a_state_dict_and_a_file_of_flat_names_hold_the_same(self, kind, save):
        resumes_at_every_batch(lambda: LoaderIterator(HERE[kind]()), 11, save=save)

    def test_what_a_file_of_flat_names_holds_of_the_generators_is_what_they_hold(self):
        iterator, other = (LoaderIterator(loader(batch_size=1, batch_sampler=Buckets())) for _ in range(2))
        random.gauss(0, 1)  # Python's keeps a second number for the next call
        next(iterator)
        by_npz(iterator)(other)
        assert str(other.state_dict()) == str(iterator.state_dict())

    def test_samples_that_are_loaded_again_do_not_disturb_the_training(self):
        resumes_at_every_batch(lambda: LoaderIterator(loader(shuffle=True), load_skipped=True), 11)

    @pytest.mark.parametrize("dataset", [Stream, Measured])
    def test_an_iterable_dataset(self, dataset):
        resumes_at_every_batch(lambda: LoaderIterator(loader(dataset())), 11)

    def test_a_generator_that_the_training_draws_from_too(self):
        def make():
            shared = generator()
            iterator = LoaderIterator(loader(shuffle=True, generator=shared))
            shared_with[id(iterator)] = shared
            return iterator

        shared_with = {}
        whole, states = [], []
        iterator = make()
        for _ in range(9):
            states.append(tree_of(iterator))
            whole.append((step(iterator)[0], torch.rand((), generator=shared_with[id(iterator)])))
        for number, state in enumerate(states):
            iterator = restored(state, make())
            again = [
                (step(iterator)[0][:], torch.rand((), generator=shared_with[id(iterator)])) for _ in range(9 - number)
            ]
            assert [([row[0] for row in batch], noise) for batch, noise in again] == [
                ([row[0] for row in batch], noise) for batch, noise in whole[number:]
            ]

    def test_the_order_is_that_of_the_plain_loop(self):
        for options in ({"shuffle": True}, {"shuffle": True, "generator": generator()}, {"sampler": Shuffling()}):
            state = options["generator"].get_state() if "generator" in options else None
            seeded(3)
            plain = [batch.tolist() for _ in range(3) for batch in loader(**options)]
            if state is not None:
                options["generator"].set_state(state)
            seeded(3)
            iterator = LoaderIterator(loader(**options))
            assert [next(iterator).tolist() for _ in plain] == plain

    def test_a_restore_in_the_same_process_goes_back(self):
        iterator = LoaderIterator(loader(Numbers(noise=False), shuffle=True, generator=generator()))
        steps(iterator, 2)
        tree = tree_of(iterator)
        later = [next(iterator).tolist() for _ in range(9)]
        for _ in range(2):
            restored(tree, iterator)
            assert [next(iterator).tolist() for _ in range(9)] == later

    def test_a_restore_forgets_what_was_asked_for_ahead(self):
        class Modest(Shorter):
            def __iter__(self):
                return iter([[0], [1], [2], [3], [4]])

        iterator = LoaderIterator(loader(Numbers(noise=False), 1, batch_sampler=Modest()))
        trees, whole = [], []
        for _ in range(14):  # the last batch of all is followed by one that is there already
            trees.append(tree_of(iterator))
            whole.append(step(iterator)[:6])
        assert [batch[0][0] for batch, *_ in whole] == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3]
        assert [number for number, place in enumerate(whole) if place[4]] == [4, 9]
        for number, tree in enumerate(trees):
            restored(tree, iterator)
            assert [step(iterator)[:6] for _ in range(number, 14)] == whole[number:]

    def test_the_sampler_is_told_the_epoch_before_it_begins(self):
        class Told(data.SequentialSampler):
            told = ()

            def set_epoch(self, epoch):
                self.told = (*self.told, epoch)

        sampler = Told(range(10))
        iterator = LoaderIterator(loader(sampler=sampler))
        steps(iterator, 9)
        assert sampler.told == (0, 1, 2)
        again = Told(range(10))
        other = LoaderIterator(loader(batch_size=1, batch_sampler=data.BatchSampler(again, 3, False)))
        other._facts["batch_size"] = 3
        next(restored(tree_of(iterator), other))
        assert again.told == (2,)


class TestSkipping:
    @pytest.mark.parametrize("batch_sampler", [False, True])
    def test_samples_before_the_place_are_not_loaded(self, batch_sampler):
        def make():
            order = data.RandomSampler(range(10), generator=generator())
            options = {"batch_sampler": data.BatchSampler(order, 2, False)} if batch_sampler else {"sampler": order}
            return LoaderIterator(loader(Numbers(), 1, **options))

        iterator = make()
        whole = steps(iterator, 5 if batch_sampler else 10)
        order = list(iterator.loader.dataset.loaded)
        for number in range(len(whole)):
            iterator = make()
            steps(iterator, number)
            other = restored(tree_of(iterator), make())
            next(other)
            size = 2 if batch_sampler else 1
            assert other.loader.dataset.loaded == order[number * size : (number + 1) * size]

    def test_they_are_where_it_is_asked_for(self):
        iterator = LoaderIterator(loader(load_again := Numbers()), load_skipped=True)
        steps(iterator, 2)
        tree = tree_of(iterator)
        load_again.loaded.clear()
        next(restored(tree, iterator))
        assert load_again.loaded == list(range(9))

    @pytest.mark.parametrize(
        ("make", "decided"),
        [
            (loader, False),
            (lambda: loader(num_workers=2), True),
            (lambda: loader(Stream()), True),
            (lambda: Moved(Numbers()), True),
        ],
    )
    def test_without_being_told_it_does_what_is_exact(self, make, decided):
        assert LoaderIterator(make()).load_skipped is decided


class TestEpochs:
    def test_places(self):
        iterator = LoaderIterator(loader(Numbers(noise=False), 4))
        assert (iterator.epoch_detail, iterator.previous_epoch_detail, iterator.is_new_epoch) == (0.0, None, False)
        found = [step(iterator)[:6] for _ in range(4)]
        assert [([row[0] for row in batch], *rest) for batch, *rest in found] == [
            ([0, 1, 2, 3], 0, pytest.approx(1 / 3), 0.0, False, 1),
            ([4, 5, 6, 7], 0, pytest.approx(2 / 3), pytest.approx(1 / 3), False, 2),
            ([8, 9], 1, 1.0, pytest.approx(2 / 3), True, 0),
            ([0, 1, 2, 3], 1, pytest.approx(4 / 3), 1.0, False, 1),
        ]

    def test_without_a_length_the_end_of_an_epoch_is_seen_one_batch_later(self):
        iterator = LoaderIterator(loader(Stream(), 4))
        assert [step(iterator)[1:6] for _ in range(4)] == [
            (0, 0.0, 0.0, False, 1),
            (0, 0.0, 0.0, False, 2),
            (0, 0.0, 0.0, False, 3),
            (1, 1.0, 0.0, True, 1),
        ]

    def test_a_length_that_is_too_short_does_not_cut_the_epoch(self):
        with LoaderIterator(loader(Measured(10), 4, num_workers=2)) as iterator:  # 5 a worker: 4 batches, and not 3
            found = steps(iterator, 5)
        assert [len(batch) for batch, *_ in found] == [4, 4, 1, 1, 4]
        assert [(place[0], place[3]) for _, *place in found] == [(0, False)] * 3 + [(1, True), (1, False)]
        assert found[2][2] == 1.0

    def test_a_length_that_is_too_long_does_not_either(self):
        class Hopeful(Stream):
            def __len__(self):
                return 100

        iterator = LoaderIterator(loader(Hopeful(5), 4))
        assert [step(iterator)[1:6] for _ in range(3)] == [
            (0, 0.04, 0.0, False, 1),
            (0, 0.08, 0.04, False, 2),
            (1, 1.04, 0.08, True, 1),
        ]

    def test_reset_goes_back_to_the_start_in_a_new_order(self):
        iterator = LoaderIterator(loader(Numbers(50, noise=False), 50, shuffle=True))
        first = next(iterator).tolist()
        iterator.reset()
        assert (iterator.epoch, iterator.current_position, iterator.previous_epoch_detail) == (0, 0, None)
        assert next(iterator).tolist() != first

    def test_a_reset_in_the_middle_begins_a_whole_epoch(self):
        iterator = LoaderIterator(loader(Numbers(noise=False)))
        steps(iterator, 2)
        iterator.reset()
        assert sorted(row[0] for batch in steps(iterator, 4) for row in batch[0]) == list(range(10))

    def test_next_is_the_same_as_in_chainer(self):
        with LoaderIterator(loader(range(4), 2)) as iterator:
            assert iter(iterator) is iterator
            assert [iterator.next().tolist(), next(iterator).tolist()] == [[0, 1], [2, 3]]
            assert iterator.repeat

    def test_a_loader_that_gives_nothing_is_found_out(self):
        iterator = LoaderIterator(loader(Stream(0)))
        with pytest.raises(ValueError, match="gave no batch in a whole epoch"):
            next(iterator)


class TestConstruction:
    @pytest.mark.parametrize(
        ("what", "error", "words"),
        [
            (3, TypeError, "int 3 cannot be iterated over"),
            (data.DataLoader, TypeError, "cannot be iterated over"),
            ([1, 2], TypeError, "not be a list; for arrays in memory, use BatchIterator"),
            (iter(data.DataLoader([1])), TypeError, "pass the loader itself"),
            (data.DataLoader([1], batch_size=2, drop_last=True), ValueError, "gives no batches: its length is 0"),
            (data.DataLoader([1], num_workers=1, in_order=False), ValueError, "how fast its workers are"),
        ],
    )
    def test_what_cannot_be_resumed_is_refused(self, what, error, words):
        with pytest.raises(error, match=words):
            LoaderIterator(what)

    def test_a_wrong_load_skipped_is_refused(self):
        with pytest.raises(TypeError, match="load_skipped must be True, False or None, not str"):
            LoaderIterator(loader(), load_skipped="yes")
        with pytest.raises(ValueError, match="an IterableDataset can only be skipped by loading"):
            LoaderIterator(loader(Stream()), load_skipped=False)
        with pytest.raises(ValueError, match="Moved has an __iter__ of its own"):
            LoaderIterator(Moved(Numbers()), load_skipped=False)

    def test_a_generator_without_a_state_is_refused(self):
        sampler = Shuffling()
        sampler.random = random.SystemRandom()
        with pytest.raises(CaptureError, match="SystemRandom has no state"):
            LoaderIterator(loader(sampler=sampler))

    def test_the_loader_that_was_given_is_left_alone(self):
        given = loader(Numbers(noise=False))
        next(LoaderIterator(given))
        assert [row[0] for batch in given for row in batch.tolist()] == list(range(10))
