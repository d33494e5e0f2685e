"""Batches of indices between a sampler and the workers of a loader: skipped without loading, and seeding the workers.

A worker's generators have come to where they are by what it loaded. Where that was not loaded, or in an earlier life of
the worker, a batch of indices brings a seed of its own.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import xxhash


class Indices:
    """The batches of indices of a sampler, as a loader asks for them: from a given one on.

    Attributes:
        skipped: how many were drawn and dropped in the running pass.
    """

    def __init__(self, sampler: Any) -> None:
        self._sampler = sampler
        self._running: Iterator[tuple[int, Any]] | None = None
        self.prepare(0, 0, 0)

    def prepare(self, first: int, seed: int, seeding: float) -> None:
        """Say what the next pass gives.

        Args:
            first: the number of the batch that it begins with; those before it are drawn from the sampler and dropped.
            seed: of the epoch.
            seeding: how many batches, counted from batch 0, seed the worker that loads them.
        """
        self._first, self._seed, self._seeding = first, seed, seeding
        self.skipped = 0

    def __len__(self) -> int:
        return len(self._sampler)

    def __iter__(self) -> Iterator[Any]:
        self._running = None  # loaders with workers ask twice, and use the second one
        return self._draw()

    def begin(self) -> Iterator[tuple[int, Any]]:
        """Begin the sampler and skip, unless the loader has asked for the first batch already."""
        if self._running is None:
            self._running = enumerate(self._sampler)
            self.skipped = sum(1 for _ in islice(self._running, self._first))
        return self._running

    def _draw(self) -> Iterator[Any]:
        for number, indices in self.begin():
            if number < self._seeding:
                yield _Seeding(indices, xxhash.xxh3_64_intdigest(number.to_bytes(8, "little"), seed=self._seed))
            else:
                yield indices


class _Seeding:
    """Indices on their way to a worker. There they are what they were: it is seeded as it takes them out of its queue,
    right before it loads their batch."""

    def __init__(self, indices: Any, seed: int) -> None:
        self._arguments = (indices, seed)

    def __reduce__(self) -> tuple[Any, ...]:
        return _seeded, self._arguments


def _seeded(indices: Any, seed: int) -> Any:
    random.seed(seed)
    np.random.seed([seed & 0xFFFFFFFF, seed >> 32, 1])  # one word more than Python's, whose stream it would be else
    sys.modules["torch"].default_generator.manual_seed(seed)
    return indices
