"""BatchIterator: batches of arrays in memory, resumed at the very example.

Its state is the order of the running epoch, the position in it, the count of epochs and the generator that makes the
next order: a restored iterator gives the same batches, in this and in every later epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np

from holdfast.errors import MismatchError
from holdfast.state.serializable import serialize_state


class BatchIterator:
    """Batches of `batch_size` examples, epoch after epoch.

    Args:
        data: an array whose first dimension counts the examples; a tuple or a dict of such arrays, all of one length,
            whose batches have the same structure; or any other sequence, whose batches are lists of its items. Arrays
            may be of any framework that takes slices and integer arrays as indices.
        batch_size: examples a batch.
        shuffle: draw a new order for each epoch; else the examples come as they lie.
        seed: what the orders are drawn with: an int, or a numpy.random.Generator, which is then part of the state.
            None draws a seed from the system once; a snapshot holds what came of it all the same.
        repeat: go on for ever. Where the data is no multiple of `batch_size`, the batch that reaches the end of an
            epoch is filled up with the first examples of the next one, as Chainer's SerialIterator does. With False
            the iterator stops after one epoch, whose last batch may be shorter.
        drop_last: leave out the examples at the end of an epoch that make no whole batch. Every batch then has
            `batch_size` examples of one epoch, and an epoch counts only the examples it gives.

    A batch is a copy where the order is shuffled, and otherwise a view wherever it can be: a step that changes its
    batch in place changes the data.

    Raises:
        ValueError: no examples, arrays of unequal length, or a batch size that gives no batch.
        TypeError: `data` or `batch_size` is of another kind.
    """

    epoch: int  # finished epochs
    current_position: int  # examples of the running epoch that were given
    is_new_epoch: bool  # whether the last batch ended an epoch

    def __init__(
        self,
        data: Any,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int | np.random.Generator | None = None,
        repeat: bool = True,
        drop_last: bool = False,
    ) -> None:
        if isinstance(batch_size, bool) or not isinstance(batch_size, int | np.integer):
            raise TypeError(f"batch_size must be an int, not {type(batch_size).__name__}")
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, not {batch_size}")
        self.data = data
        self.batch_size = int(batch_size)
        self.shuffle = shuffle
        self.repeat = repeat
        self.drop_last = drop_last
        self._length = _common_length(data)
        if drop_last and self.batch_size > self._length:
            raise ValueError(
                f"batches of {batch_size} out of {self._length} examples with drop_last=True: there would be none"
            )
        self._epoch_size = self._length - (self._length % self.batch_size if drop_last else 0)
        self._generator = np.random.default_rng(seed) if shuffle else None
        self.reset()

    def reset(self) -> None:
        """Go back to the start of epoch 0. A shuffled iterator draws a new order: the generator is not set back."""
        self.epoch = 0
        self.current_position = 0
        self.is_new_epoch = False
        self._previous_epoch_detail = -1.0
        self._order = self._draw_order()

    @property
    def epoch_detail(self) -> float:
        """Finished epochs, with the part of the running one."""
        return self.epoch + self.current_position / self._epoch_size

    @property
    def previous_epoch_detail(self) -> float | None:
        """`epoch_detail` before the last batch; None before the first."""
        return None if self._previous_epoch_detail < 0 else self._previous_epoch_detail

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if not self.repeat and self.epoch > 0:
            raise StopIteration
        self._previous_epoch_detail = self.epoch_detail
        self.is_new_epoch = False
        wanted = self.batch_size
        parts: list[slice | np.ndarray[Any, Any]] = []
        while wanted:
            begin = self.current_position
            end = min(begin + wanted, self._epoch_size)
            parts.append(slice(begin, end) if self._order is None else self._order[begin:end])
            wanted -= end - begin
            self.current_position = end
            if end == self._epoch_size:
                self.epoch += 1
                self.is_new_epoch = True
                self.current_position = 0
                self._order = self._draw_order()
                if not self.repeat:
                    break
        return _take(self.data, parts[0] if len(parts) == 1 else np.concatenate([_indices(part) for part in parts]))

    next = __next__

    def finalize(self) -> None:
        """Nothing is held that would have to be given back."""

    def __enter__(self) -> BatchIterator:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.finalize()

    def serialize(self, serializer: Any) -> None:
        """Save or restore the place in the epoch, the order and the generator.

        Raises:
            MismatchError: the data has another length than the data of the snapshot, or the position suits no batch of
                this iterator. Nothing was changed.
        """
        length = int(serializer("length", self._length))
        if length != self._length:
            raise MismatchError(
                f"BatchIterator: the snapshot was taken with {length} examples, but the data has {self._length}; "
                "its place in the epoch cannot be found again in other data"
            )
        position = int(serializer("current_position", self.current_position))
        if not 0 <= position < self._epoch_size or (self.drop_last and position % self.batch_size):
            raise MismatchError(
                f"BatchIterator: position {position} of the snapshot is none that batches of {self.batch_size} out of "
                f"{self._length} examples (drop_last={self.drop_last}) come to; use the batch size of the snapshot"
            )
        epoch = int(serializer("epoch", self.epoch))
        is_new_epoch = bool(serializer("is_new_epoch", self.is_new_epoch))
        previous = float(serializer("previous_epoch_detail", self._previous_epoch_detail))
        order, generator = self._order, self._generator
        if order is not None:
            order = _checked_order(serializer("order", order), length)
            generator = serialize_state(serializer, "generator", generator)
        self.current_position, self.epoch, self.is_new_epoch = position, epoch, is_new_epoch
        self._previous_epoch_detail, self._order, self._generator = previous, order, generator

    def _draw_order(self) -> np.ndarray[Any, np.dtype[np.int64]] | None:
        return (
            None if self._generator is None else self._generator.permutation(self._length).astype(np.int64, copy=False)
        )


def _common_length(data: Any) -> int:
    """The number of examples, the same in every part of `data`."""
    lengths = dict(_lengths(data, "data"))
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{where} has {length}" for where, length in lengths.items())
        raise ValueError(f"BatchIterator: every array must have the same number of examples: {found}")
    length = next(iter(lengths.values()), 0)
    if not length:
        raise ValueError("BatchIterator: the data holds no examples")
    return length


def _lengths(data: Any, where: str) -> Iterator[tuple[str, int]]:
    if isinstance(data, Mapping):
        for key, part in data.items():
            yield from _lengths(part, f"{where}[{key!r}]")
    elif isinstance(data, tuple):
        for position, part in enumerate(data):
            yield from _lengths(part, f"{where}[{position}]")
    elif hasattr(data, "shape"):
        if not data.shape:
            raise ValueError(f"BatchIterator: {where} has no dimensions; its first one would count the examples")
        yield where, int(data.shape[0])
    elif hasattr(data, "__len__") and hasattr(data, "__getitem__") and not isinstance(data, str | bytes):
        yield where, len(data)
    else:
        raise TypeError(
            f"BatchIterator: {where} is a {type(data).__name__}; want an array, a tuple or dict of arrays, or a "
            "sequence with a length"
        )


def _take(data: Any, index: slice | np.ndarray[Any, Any]) -> Any:
    """The examples at `index`, in the structure of `data`."""
    if isinstance(data, Mapping):
        return {key: _take(part, index) for key, part in data.items()}
    if isinstance(data, tuple):
        parts = [_take(part, index) for part in data]
        return type(data)(*parts) if hasattr(data, "_fields") else tuple(parts)
    if hasattr(data, "shape"):
        return data[index]
    sequence: Sequence[Any] = data
    return [sequence[int(position)] for position in _indices(index)]


def _indices(part: slice | np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.arange(part.start, part.stop) if isinstance(part, slice) else part


def _checked_order(order: Any, length: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The order as an array; what comes from a file must be as long as the data and point inside it."""
    checked = np.asarray(order, dtype=np.int64)
    if checked.shape != (length,) or checked.min() < 0 or checked.max() >= length:
        raise MismatchError(f"BatchIterator: the snapshot's order does not fit data of {length} examples")
    return checked
