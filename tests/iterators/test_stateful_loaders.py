from __future__ import annotations

import numpy as np
import pytest

from holdfast.errors import MismatchError
from holdfast.iterators import LoaderIterator
from iterators.loaders import (
    ONE_CORE,
    WORKERS,
    Numbers,
    by_state_dict,
    by_tree,
    generator,
    loader,
    resumes_at_every_batch,
)

torch = pytest.importorskip("torch")
data = torch.utils.data

pytestmark = ONE_CORE


class Counting:
    """A loader with a place of its own: a new order each epoch, and a pass that is begun by iter()."""

    def __init__(self, length=4, measured=True):
        self.length, self.measured = length, measured
        self.generator = np.random.default_rng(1)
        self.order, self.place, self.is_restored = [], 0, False

    def __iter__(self):
        torch.rand(())  # as a DataLoader does
        if not self.is_restored:
            self.order, self.place = self.generator.permutation(self.length).tolist(), 0
        self.is_restored = False
        return self._pass()

    def _pass(self):
        while self.place < self.length:
            self.place += 1
            yield np.array([self.order[self.place - 1]])

    def __len__(self):
        if not self.measured:
            raise TypeError("no length")
        return self.length

    def state_dict(self):
        return {"place": self.place, "order": list(self.order), "generator": self.generator.bit_generator.state}

    def load_state_dict(self, state):
        self.place, self.order, self.is_restored = state["place"], list(state["order"]), bool(state["order"])
        self.generator.bit_generator.state = state["generator"]


class TestStatefulLoaders:
    @pytest.mark.parametrize("measured", [True, False])
    @pytest.mark.parametrize("save", [by_tree, by_state_dict])
    def test_its_own_state_is_kept(self, measured, save):
        resumes_at_every_batch(lambda: LoaderIterator(Counting(measured=measured)), 11, save=save)

    def test_one_that_is_restored_at_its_very_end_does_not_count_an_epoch_twice(self):
        class Plain:
            """Numbers 0 to 3; what it says of its place stands still until the first number of a pass."""

            def __init__(self):
                self.place = self.first = 0

            def __iter__(self):
                first, self.first = self.first, 0
                for number in range(first, 4):
                    self.place = number + 1
                    yield np.array([number])

            def __len__(self):
                return 4

            def state_dict(self):
                return {"place": self.place}

            def load_state_dict(self, state):
                self.place = self.first = state["place"]

        resumes_at_every_batch(lambda: LoaderIterator(Plain()), 11)

    @pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning")
    @pytest.mark.parametrize("count", [0, 2])
    def test_torchdatas(self, count):
        stateful = pytest.importorskip("torchdata.stateful_dataloader")

        def make():
            # without workers, torchdata 0.11 goes on with another order in later epochs: nothing is shuffled then
            options = {"shuffle": True, "generator": generator(), "num_workers": count} if count else {}
            if count:
                options["multiprocessing_context"] = WORKERS
            return LoaderIterator(stateful.StatefulDataLoader(Numbers(noise=not count), 3, **options))

        resumes_at_every_batch(make, 9, every=2)

    def test_what_the_loader_decides_is_not_for_the_iterator_to_say(self):
        with pytest.raises(ValueError, match="a Counting keeps its own place"):
            LoaderIterator(Counting(), load_skipped=True)

    def test_a_state_without_the_loaders_does_not_fit(self):
        plain = LoaderIterator(loader())
        with pytest.raises(MismatchError, match="the state lacks 'loader'"):
            LoaderIterator(Counting()).load_state_dict(plain.state_dict())
        with pytest.raises(MismatchError, match="the state lacks 'begun', 'generators'"):
            plain.load_state_dict(LoaderIterator(Counting()).state_dict())
