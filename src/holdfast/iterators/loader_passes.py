"""Passes over a data loader: how one is begun, and begun again so that it goes on in its middle.

A pass of torch's DataLoader follows from the generators that its sampler and its workers are seeded from. They are
looked at right before the pass is begun; to go on in its middle, they are set back to that, the pass is begun again,
and what was given before is skipped. Then every generator gets back what it had: the training draws from some of them.
"""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xxhash

from holdfast.errors import MismatchError
from holdfast.iterators.loader_generators import (
    States,
    own_generators,
    read,
    samplers_of,
    set_epoch,
    write,
)
from holdfast.iterators.loader_indices import Indices
from holdfast.state.generators import global_generators

END = object()
"""What `fetch` gives at the end of a pass."""


class StatefulPasses:
    """Passes over a loader that saves and restores its own place."""

    load_skipped = None

    def __init__(self, loader: Any) -> None:
        self.part = loader  # what is saved beside `state`
        self._samplers = samplers_of(loader)
        self._pass: Iterator[Any] | None = None
        self._is_restored = False

    def fetch(self, epoch: int, given: int) -> Any:
        """The next batch of the epoch, or END."""
        if self._pass is None:
            self._pass = self._begin(epoch)
        return next(self._pass, END)

    def end(self, epoch: int) -> None:
        """The pass has come to its end, and `epoch` is the next one. It is begun at once: the state of a pass that has
        ended need not say in which order the next one comes, and beginning it may draw from global generators."""
        self._pass = self._begin(epoch)

    def leave(self) -> None:
        """Forget the running pass; the next one is a new epoch."""
        self._pass = None

    def close(self) -> None:
        """Nothing is to be stopped: the workers are the loader's own."""

    def state(self, epoch: int) -> dict[str, Any]:
        """Nothing beside the loader's own. Before the first batch of all, the pass is begun: a loader's state need not
        say whether it was."""
        if self._pass is None:
            self._pass = self._begin(epoch)
        return {}

    def check(self, state: Mapping[str, Any], given: int) -> None: ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """The loader was given its state: the next pass goes on from there."""
        self._pass = None
        self._is_restored = True

    def _begin(self, epoch: int) -> Iterator[Any]:
        set_epoch(self._samplers, epoch)
        if not self._is_restored:
            return iter(self.part)
        self._is_restored = False
        now = read(global_generators())  # what a pass draws as it is begun was drawn before the snapshot
        try:
            return iter(self.part)
        finally:
            write(global_generators(), now)


class TorchPasses:
    """Passes over a torch.utils.data.DataLoader.

    Args:
        load_skipped: as of LoaderIterator.
    Attributes:
        load_skipped: what was made of it.
    """

    part = None

    def __init__(self, loader: Any, load_skipped: bool | None) -> None:
        self.load_skipped = _loads_skipped(loader, load_skipped)
        self._workers = int(loader.num_workers)
        self._samplers = samplers_of(loader)
        self._own = own_generators(loader, self._samplers)
        self._seeds = "generator" if "generator" in self._own else "torch"  # what workers are seeded from
        name = "sampler" if loader.batch_sampler is None else "batch_sampler"
        self._indices = Indices(getattr(loader, name))
        self._loader = copy.copy(loader)  # the same class, dataset and options, over indices that can be skipped
        vars(self._loader)[name] = self._indices
        vars(self._loader)["_iterator"] = None  # persistent workers of its own
        self._begun: States | None = None  # of every generator, right before the running epoch
        self._pass: Iterator[Any] | None = None

    def fetch(self, epoch: int, given: int) -> Any:
        """The next batch of an epoch of which so many were given, or END."""
        try:
            if self._pass is None:
                self._begin(epoch, given)
            assert self._pass is not None
            return next(self._pass)
        except StopIteration:
            return END
        except BaseException:  # where the pass stands now is not known: the same batch will be asked for again
            self.close()
            raise

    def end(self, epoch: int) -> None:
        """The pass has come to its end."""
        self._pass = self._begun = None

    def leave(self) -> None:
        """Forget the running pass; the next one is a new epoch."""
        self._forget(None)

    def close(self) -> None:
        """Stop the workers. The running epoch can be gone on with, by new ones."""
        persistent, vars(self._loader)["_iterator"] = self._loader._iterator, None
        _stop(persistent)
        self._forget(self._begun)

    def state(self, epoch: int) -> dict[str, Any]:
        """Plain values and arrays, in memory of their own."""
        return {"begun": copy.deepcopy(self._begun), "generators": read(self._own)}

    def check(self, state: Mapping[str, Any], given: int) -> None:
        """Raises MismatchError where the state is another loader's."""
        if given and state["begun"] is None:
            raise MismatchError(
                f"LoaderIterator: the snapshot was taken after {given} batches of an epoch, but does not hold the "
                "generators as they were when it began"
            )
        for states, wanted in (
            (state["generators"], set(self._own)),
            (state["begun"], {*self._own, *global_generators()}),
        ):
            if states is not None and set(states) != wanted:
                raise MismatchError(
                    f"LoaderIterator: the snapshot holds the generators {_listed(states)}, but the loader draws from "
                    f"{_listed(wanted)}; use a loader with the generator and the samplers of the snapshot's"
                )

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take a state that was checked. The pass is begun when the next batch is asked for."""
        write(self._own, state["generators"])
        self._forget(state["begun"])

    def _forget(self, begun: States | None) -> None:
        """Leave the running pass, and begin the next one with these generators."""
        left, self._pass, self._begun = self._pass, None, begun
        if left is not self._loader._iterator:
            _stop(left)

    def _begin(self, epoch: int, given: int) -> None:
        everything = {**self._own, **global_generators()}
        now = read(everything)
        if self._begun is None:
            self._begun = now
            self._open(epoch, 0)
            return
        write(everything, self._begun)
        try:
            self._open(epoch, given)
        finally:
            write(everything, now)

    def _open(self, epoch: int, given: int) -> None:
        """Begin a pass, and skip what was given."""
        set_epoch(self._samplers, epoch)
        # Workers take turns, beginning with the first: whole rounds are skipped, what is left is loaded and dropped.
        skipped = 0 if self.load_skipped else given - given % max(self._workers, 1)
        self._indices.prepare(skipped, self._seed(), self._seeding())
        if self._loader._iterator is not None:  # persistent workers draw no seed, and those of a resumed run do
            torch = sys.modules["torch"]
            torch.empty((), dtype=torch.int64).random_(generator=self._loader.generator)
        self._pass = opened = iter(self._loader)
        if skipped:
            self._indices.begin()
        reached = self._indices.skipped if skipped else 0
        while reached < given and next(opened, END) is not END:
            reached += 1
        if reached < given:
            raise MismatchError(
                f"LoaderIterator: the snapshot was taken after {given} batches of an epoch, but the loader gives only "
                f"{reached}; use the dataset and the sampler of the snapshot"
            )

    def _seeding(self) -> float:
        """How many batches of an epoch, from the first, seed the worker that loads them: all, where those before them
        may not have been loaded; the first one of each worker, where it may have been loading in an earlier epoch."""
        if not self._workers:
            return 0
        if not self.load_skipped:
            return math.inf
        return self._workers if self._loader.persistent_workers else 0

    def _seed(self) -> int:
        """A number that follows from the generator that workers are seeded from, which no two epochs begin alike."""
        assert self._begun is not None
        return xxhash.xxh3_64_intdigest(np.asarray(self._begun[self._seeds]["state"], np.uint8).tobytes())


def _stop(opened: Any) -> None:
    """Stop the workers of a pass: now, and not when the garbage collector comes by, as processes that are forked until
    then would try to do so too."""
    if hasattr(opened, "_shutdown_workers"):
        opened._shutdown_workers()


def _loads_skipped(loader: Any, load_skipped: bool | None) -> bool:
    data = sys.modules["torch.utils.data"]
    kind = type(loader).__name__
    if loader.num_workers and not getattr(loader, "in_order", True):
        raise ValueError(
            f"LoaderIterator: the {kind} has in_order=False, and which batch comes next depends on how fast its "
            "workers are: no run could be resumed exactly; leave in_order at True"
        )
    must = ""
    if isinstance(loader.dataset, data.IterableDataset):
        must = "the samples of an IterableDataset can only be skipped by loading them"
    elif type(loader).__iter__ is not data.DataLoader.__iter__:
        must = f"{kind} has an __iter__ of its own, and what that skips must be loaded"
    if must and load_skipped is False:
        raise ValueError(
            f"LoaderIterator: {must}; leave load_skipped at None, or give the loader state_dict() and load_state_dict()"
        )
    return bool(must or loader.num_workers) if load_skipped is None else load_skipped


def _listed(names: Any) -> str:
    return ", ".join(map(repr, sorted(names))) or "none"
