"""LoaderIterator: batches of a data loader, epoch after epoch, resumed at the very batch.

Its state is small: how many batches of the epoch were given (not how many the workers have loaded ahead), and the
generators as they were when the epoch began. A restored iterator begins that epoch again, and skips what was given.
"""

from __future__ import annotations

import copy
import logging
import sys
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

import numpy as np

from holdfast.errors import MismatchError
from holdfast.iterators.loader_passes import END, StatefulPasses, TorchPasses
from holdfast.state import values
from holdfast.state.serializable import serialize_state

_log = logging.getLogger("holdfast")


class LoaderIterator:
    """The batches of a data loader, epoch after epoch, for ever.

        data = DataLoader(images, batch_size=64, shuffle=True, num_workers=4, generator=torch.Generator())
        batches = LoaderIterator(data)
        _, found = store.resume({"model": model, "batches": batches})
        for step, batch in zip(range(found.step if found else 0, 100_000), batches):
            train(model, batch)
            if step % 1000 == 999:
                store.save(step + 1, {"model": model, "batches": batches})

    A restored one gives, bit for bit, the batches that the first one would have given next, in this epoch and in every
    later one. Before each epoch, `set_epoch(epoch)` of the loader's sampler is called where it has one.

    Args:
        loader: a torch.utils.data.DataLoader, with any sampler, dataset and number of workers; or any loader that has
            `state_dict` and `load_state_dict`, such as torchdata's StatefulDataLoader: then its own state is kept, and
            is as exact as the loader makes it (torchdata 0.11 without workers shuffles later epochs otherwise).
        load_skipped: what becomes of the batches of an epoch that were given before the snapshot. True: they are loaded
            again, and dropped. False: only their indices are drawn. None: what is exact without a further thought:
            True with workers and for an IterableDataset (whose samples cannot be skipped otherwise), else False.
            Resume with the same one.

    What is exact:
        The order of the samples: always.
        Samples without randomness: always; `load_skipped=False` is the fast way.
        Random samples, num_workers=0: what is drawn from the global generators of Python, NumPy and torch, given that
            these are restored as well. A generator that the dataset keeps is for the caller to save and restore.
        Random samples from workers, loaded again: everything, as workers begin each epoch anew, with the dataset as it
            is in this process. With `persistent_workers=True`: what is drawn from the global generators, which are then
            seeded as each epoch begins; not what a dataset keeps in a worker from one epoch to the next.
        Random samples from workers, `load_skipped=False`: what is drawn from the global generators, which are then
            seeded for each batch: other numbers than the plain loader's, but the same in every run. Not what is drawn
            from a generator that a dataset keeps in a worker.
        A batch comes from the worker that would have loaded it; with `load_skipped=False`, up to num_workers - 1
        batches are loaded and dropped for that.

    A loader without a generator of its own draws the order, and the seeds of its workers, from torch's global one, as
    that is when an epoch begins. A Trainer's snapshot holds it. In a loop without a trainer, give the loader one, or
    save and restore `torch.default_generator` beside the iterator. What is skipped changes no global generator. A
    sampler that draws again in the course of an epoch needs a generator of its own; what else it keeps, but for what it
    is told by `set_epoch`, is not part of the state.

    Attributes:
        loader: as given. Go through it by this iterator only.
        load_skipped: as it was decided; None for a loader that keeps its own place.
        epoch: finished epochs.
        current_position: batches of the running epoch that were given.
        is_new_epoch: whether the last batch ended an epoch. Where the loader has no length, or ends before it, that is
            found out a batch later: it is then True with the first batch of the next epoch.

    Raises:
        TypeError: `loader` is no loader, or `load_skipped` is no bool.
        ValueError: it gives no batches, or in an order that depends on how fast its workers are (`in_order=False`);
            or `load_skipped` does not suit it.
        CaptureError: a generator of its sampler has no state that could be set again.
    """

    repeat = True
    epoch: int
    current_position: int
    is_new_epoch: bool

    def __init__(self, loader: Any, *, load_skipped: bool | None = None) -> None:
        if load_skipped is not None and not isinstance(load_skipped, bool):
            raise TypeError(f"load_skipped must be True, False or None, not {type(load_skipped).__name__}")
        self.loader = loader
        self._passes = _passes_over(loader, load_skipped)
        self.load_skipped = self._passes.load_skipped
        self._length = _length_of(loader)
        self._facts = {  # what a place in an epoch depends on; None: not known
            "batch_size": getattr(loader, "batch_size", None),
            "length": self._length,
            "dataset_length": _length_of(getattr(loader, "dataset", None)),
            "num_workers": getattr(loader, "num_workers", None),
            "load_skipped": self.load_skipped,
        }
        if self._length == 0:
            raise ValueError(f"LoaderIterator: the {type(loader).__name__} gives no batches: its length is 0")
        self._start()

    def reset(self) -> None:
        """Go back to the start of epoch 0. Generators are not set back: a loader that shuffles draws a new order."""
        self._passes.leave()
        self._start()

    def _start(self) -> None:
        self.epoch = 0
        self.current_position = 0
        self.is_new_epoch = False
        self._previous_epoch_detail = -1.0
        self._ahead: list[Any] = []  # a batch that was asked for to see whether there is one

    @property
    def epoch_detail(self) -> float:
        """Finished epochs, with the part of the running one where the loader has a length."""
        return self.epoch + (min(self.current_position / self._length, 1.0) if self._length else 0.0)

    @property
    def previous_epoch_detail(self) -> float | None:
        """`epoch_detail` before the last batch; None before the first."""
        return None if self._previous_epoch_detail < 0 else self._previous_epoch_detail

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        """The next batch. After an error of the loader's, the same one is asked for again.

        Raises:
            MismatchError: the epoch ends before the place of the snapshot: the dataset or the sampler is another one.
            ValueError: the loader gave no batch in a whole epoch.
        """
        previous = self.epoch_detail
        batch = self._ahead.pop() if self._ahead else self._fetch(self.current_position)
        ended = batch is END and self.current_position > 0
        if batch is END:
            if ended:
                self._end_epoch()
            else:  # a loader that was restored at its very end
                self._passes.leave()
            batch = self._fetch(0)
            if batch is END:
                raise ValueError(f"LoaderIterator: the {type(self.loader).__name__} gave no batch in a whole epoch")
        given = self.current_position + 1
        if self._length is not None and given >= self._length:
            ahead = self._fetch(given)  # a length may be too short by mistake, and samplers have a last word to say
            if ahead is END:
                self._end_epoch()
                given, ended = 0, True
            else:
                self._ahead.append(ahead)
        self.current_position, self.is_new_epoch, self._previous_epoch_detail = given, ended, previous
        return batch

    next = __next__

    def finalize(self) -> None:
        """Stop the workers, persistent ones too. A batch that is asked for later is the next one all the same."""
        self._passes.close()

    def __enter__(self) -> LoaderIterator:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.finalize()

    def serialize(self, serializer: Any) -> None:
        """Save or restore the place in the epoch, and the generators that the epoch was begun with.

        Raises:
            MismatchError: the loader has another batch size, length or dataset length than the snapshot's, or the
                position lies beyond the epoch. Nothing was changed.
        """
        found = {key: serialize_state(serializer, key, value) for key, value in self._state().items()}
        loading = getattr(serializer, "loading", False)
        if loading:
            found = _with_plain_values(found)
            self._check(found)
        if self._passes.part is not None:
            serialize_state(serializer, "loader", self._passes.part)
        if loading:
            self._take(found)

    def state_dict(self) -> dict[str, Any]:
        """The same state as plain values; what `torch.load` reads with `weights_only=True`."""
        state: dict[str, Any] = _without_arrays(self._state())
        if self._passes.part is not None:
            state["loader"] = copy.deepcopy(self._passes.part.state_dict())
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave.

        Raises:
            MismatchError: as of `serialize`; or the state lacks something.
        """
        wanted = [*self._state(), *(["loader"] if self._passes.part is not None else [])]
        missing = [key for key in wanted if key not in state]
        if missing:
            raise MismatchError(
                f"LoaderIterator: the state lacks {', '.join(map(repr, missing))}; want what state_dict() of a "
                "LoaderIterator over such a loader gave"
            )
        found = copy.deepcopy(dict(state))
        self._check(found)
        if self._passes.part is not None:
            self._passes.part.load_state_dict(found["loader"])
        self._take(found)

    def _fetch(self, given: int) -> Any:
        return self._passes.fetch(self.epoch, given)

    def _end_epoch(self) -> None:
        self.epoch += 1
        self.current_position = 0
        self._passes.end(self.epoch)

    def _state(self) -> dict[str, Any]:
        return {
            "epoch": self.epoch,
            "current_position": self.current_position,
            "is_new_epoch": self.is_new_epoch,
            "previous_epoch_detail": self._previous_epoch_detail,
            **self._facts,
            **self._passes.state(self.epoch),
        }

    def _check(self, found: Mapping[str, Any]) -> None:
        changed = {key: f"{key} was {found[key]} and is {now}" for key, now in self._facts.items() if found[key] != now}
        drawn = [
            changed.pop(key) for key in ("num_workers", "load_skipped") if key in changed and not self._is_iterable
        ]
        if changed:
            raise MismatchError(
                f"LoaderIterator: the loader is not as the snapshot's: {', '.join(changed.values())}; its place in the "
                "epoch cannot be found again. Use the snapshot's, or leave the iterator out to begin a new epoch"
            )
        epoch, position = int(found["epoch"]), int(found["current_position"])
        known = self._length if self._facts["batch_size"] is not None and not self._is_iterable else None
        if epoch < 0 or position < 0 or (known is not None and position > known):
            raise MismatchError(
                f"LoaderIterator: the snapshot was taken in epoch {epoch} after {position} batches, and an epoch of "
                f"the loader has {self._length}"
            )
        self._passes.check(found, position)
        if drawn and self._passes.part is None:
            _log.warning(
                "LoaderIterator: %s; the samples come in the same order, but what is drawn at random in workers is not "
                "what the run that was not stopped would have drawn",
                ", ".join(drawn),
            )

    def _take(self, found: Mapping[str, Any]) -> None:
        self._passes.restore(found)
        self._ahead = []
        self.epoch, self.current_position = int(found["epoch"]), int(found["current_position"])
        self.is_new_epoch = bool(found["is_new_epoch"])
        self._previous_epoch_detail = float(found["previous_epoch_detail"])

    @property
    def _is_iterable(self) -> bool:
        data = sys.modules.get("torch.utils.data")
        return data is not None and isinstance(getattr(self.loader, "dataset", None), data.IterableDataset)


def _passes_over(loader: Any, load_skipped: bool | None) -> StatefulPasses | TorchPasses:
    kind = type(loader).__name__
    if isinstance(loader, type) or not hasattr(loader, "__iter__"):
        raise TypeError(f"LoaderIterator: loader must give batches, and {kind} {loader!r:.80} cannot be iterated over")
    if callable(getattr(loader, "state_dict", None)) and callable(getattr(loader, "load_state_dict", None)):
        if load_skipped is not None:
            raise ValueError(
                f"LoaderIterator: a {kind} keeps its own place, and decides itself what to load; leave load_skipped out"
            )
        return StatefulPasses(loader)
    data = sys.modules.get("torch.utils.data")
    if data is None or not isinstance(loader, data.DataLoader):
        hint = "pass the loader itself" if hasattr(loader, "__next__") else "for arrays in memory, use BatchIterator"
        raise TypeError(
            f"LoaderIterator: loader must be a torch.utils.data.DataLoader, or have state_dict() and "
            f"load_state_dict(), and not be a {kind}; {hint}"
        )
    return TorchPasses(loader, load_skipped)


def _length_of(part: Any) -> int | None:
    try:
        return len(part)
    except (TypeError, NotImplementedError):  # a dataset, or a sampler, need not have one
        return None


def _without_arrays(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_arrays(child) for key, child in value.items()}
    return value.tolist() if isinstance(value, np.ndarray) else value


def _with_plain_values(value: Any) -> Any:
    """Numbers and texts in the place of arrays of no dimensions, which are all that a file of flat names can tell."""
    if isinstance(value, Mapping):
        return {key: _with_plain_values(child) for key, child in value.items()}
    if isinstance(value, np.ndarray) and not value.shape:
        return values.from_value(values.guess(value))
    return value
