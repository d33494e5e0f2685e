"""Loaders of every kind for tests: samples that say where they come from and what they drew, and the test of a resume
that all have in common."""

from __future__ import annotations

import io
import multiprocessing
import random

import numpy as np
import pytest

from holdfast.serializers import load_npz, save_npz
from training.serializers import restored, tree_of

torch = pytest.importorskip("torch")
data = torch.utils.data

ONE_CORE = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # for tests that start workers

WORKERS = multiprocessing.get_context("forkserver")  # other tests leave threads behind, which must not be forked
WORKERS.set_forkserver_preload(["torch", "pytest", "holdfast.iterators"])


class Numbers(data.Dataset):
    """Samples that say their index, the worker that loaded them, and what they drew from each global generator."""

    def __init__(self, length=10, noise=True):
        self.length, self.noise = length, noise
        self.loaded = []

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        self.loaded.append(index)
        return torch.tensor([index, worker(), *(drawn() if self.noise else [])], dtype=torch.float64)


class Kept(Numbers):
    """Samples with noise from a generator that the dataset keeps: each worker has a copy of it."""

    def __init__(self, length=10):
        super().__init__(length)
        self.generator = np.random.default_rng(5)

    def __getitem__(self, index):
        return torch.tensor([index, worker(), self.generator.random()], dtype=torch.float64)


class Stream(data.IterableDataset):
    """Samples in shards of unequal length, one a worker."""

    def __init__(self, length=11):
        self.length = length

    def __iter__(self):
        info = data.get_worker_info()
        number, count = (info.id, info.num_workers) if info else (0, 1)
        for index in range(number, self.length, count):
            yield torch.tensor([index, worker(), *drawn()], dtype=torch.float64)


class Measured(Stream):
    """One with a length, which is too short where the shards do not make whole batches."""

    def __len__(self):
        return self.length


class Picky(Numbers):
    """Samples of which some cannot be loaded."""

    def __init__(self, allowed):
        super().__init__()
        self.allowed = allowed

    def __getitem__(self, index):
        if index not in self.allowed:
            raise OSError("no such picture")
        return super().__getitem__(index)


class Shuffling:
    """A sampler as they are written by hand: it has no length, and shuffles with Python's generator."""

    def __init__(self, length=10):
        self.length = length

    def __iter__(self):
        order = list(range(self.length))
        random.shuffle(order)
        yield from order


class Shorter:
    """A batch sampler that gives less than it says."""

    def __iter__(self):
        return iter([[0, 1]])

    def __len__(self):
        return 3


class Moved(data.DataLoader):
    """A loader whose batches are changed on their way."""

    def __iter__(self):
        for batch in super().__iter__():
            yield batch + 100


def worker():
    info = data.get_worker_info()
    return -1 if info is None else info.id


def drawn():
    return [torch.rand(()).item(), random.random(), np.random.rand()]


def the_globals():
    return [random.getstate.__self__, np.random.get_state.__self__, torch.default_generator]


def seeded(seed):
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)


def generator(seed=7):
    return torch.Generator().manual_seed(seed)


def loader(dataset=None, batch_size=3, **options):
    if options.get("num_workers"):
        options["multiprocessing_context"] = WORKERS
    return data.DataLoader(Numbers() if dataset is None else dataset, batch_size, **options)


def step(iterator):
    """One batch, where the iterator is then, and what a training step with dropout would draw."""
    batch = next(iterator).tolist()
    place = (iterator.epoch, iterator.epoch_detail, iterator.previous_epoch_detail, iterator.is_new_epoch)
    return batch, *place, iterator.current_position, *drawn()


def steps(iterator, count):
    return [step(iterator) for _ in range(count)]


def by_tree(iterator):
    tree = tree_of(iterator)
    return lambda other: restored(tree, other)


def by_state_dict(iterator):
    """As other savers keep it: in a file of torch's, which holds nothing but tensors and plain values."""
    file = io.BytesIO()
    torch.save(iterator.state_dict(), file)

    def load(other):
        file.seek(0)
        other.load_state_dict(torch.load(file, weights_only=True))

    return load


def by_npz(iterator):
    """A file of flat names, which does not tell a number from an array of no dimensions."""
    file = io.BytesIO()
    save_npz(file, iterator)

    def load(other):
        file.seek(0)
        load_npz(file, other)

    return load


def resumes_at_every_batch(make, count, *, save=by_tree, every=1, further=99):
    """Run to the end, keeping the state after each batch; then, from each, with all else thrown about, so much further
    at most."""
    seeded(0)
    whole, states = [], []
    with make() as iterator:
        save(iterator)  # a loader with a state of its own may draw from global generators as it is asked for the first
        for number in range(count + 1):
            generators = tree_of(the_globals())
            states.append((save(iterator), generators))
            if number < count:
                whole.append(step(iterator))
    assert len({str(batch) for batch, *_ in whole}) > 1, "batches that are all alike would prove nothing"
    seeded(0)
    with make() as iterator:
        assert steps(iterator, count) == whole, "saving changed something"
    for number in range(0, count + 1, every):
        load, generators = states[number]
        seeded(100 + number)
        with make() as iterator:
            load(iterator)
            seeded(200 + number)
            restored(generators, the_globals())  # as a trainer does right before its first update
            again = by_tree(iterator)
            expected = whole[number : number + further]
            assert steps(iterator, len(expected)) == expected, f"after batch {number}"
        if number == count // 2:  # from a state that was saved before it was gone on from
            with make() as iterator:
                again(iterator)
                restored(generators, the_globals())
                assert steps(iterator, len(expected)) == expected
