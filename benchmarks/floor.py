"""The least that a copy takes: all processors at once, past the caches, without a walk and without a step of Python.

The copy is holdfast's own kernel: the fastest known here.
"""

from __future__ import annotations

import time
from array import array

from holdfast.state.memcopy import KERNEL
from yardsticks import Copier


class Floor:
    """A bare copy of what a Copier copies, to the same places."""

    def __init__(self, copier: Copier) -> None:
        self._kept = copier  # it owns the memory that is copied to
        self._sources = [source for _, source, _ in copier.copies]
        self._copy = KERNEL.large(
            array("Q", (to for to, _, _ in copier.copies)), array("Q", (n for *_, n in copier.copies))
        )

    def seconds(self) -> float:
        """Copy once; the threads are awake, as those of a snapshot are."""
        KERNEL.call_up()
        began = time.perf_counter()
        self._copy(self._sources)
        return time.perf_counter() - began
