"""The arena: the host buffer into which leaves are staged, byte for byte the data part of the snapshot file to be.

Once a tree is staged the trainer may train on: nothing looks into its arrays any more.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import xxhash

from holdfast.errors import CaptureError, StagingError
from holdfast.format.header import PAGE, Layout, plan
from holdfast.state import arrays
from holdfast.state.arrays import Bytes
from holdfast.state.tree import StateTree


@dataclass(frozen=True, slots=True)
class Staged:
    """A state that no longer changes: its plain values in the tree, its leaves' bytes in the arena."""

    tree: StateTree
    layout: Layout
    data: Bytes  # layout.data_bytes of the arena, until it stages the next tree

    def checksums(self) -> Sequence[bytes]:
        """The xxh3-128 digest (16 bytes) of each leaf, in file order."""
        slots = self.layout.slots
        return [xxhash.xxh3_128_digest(self.data[slot.offset : slot.offset + slot.nbytes].data) for slot in slots]


class Arena:
    """Host memory for one staged state, kept and used again.

    Args:
        budget_bytes: the most that it may grow to; None: as far as there is memory.
    """

    def __init__(self, *, budget_bytes: int | None = None) -> None:
        self._budget_bytes = budget_bytes
        self._memory: Bytes = np.empty(0, np.uint8)

    def stage(self, tree: StateTree) -> Staged:
        """Copy every leaf of `tree` into the arena; the caller may train on as soon as this returns.

        Args:
            tree: leaves of any shape and dtype, on any device.
        Returns:
            The same tree, and its bytes in C order; valid until the next call.
        Raises:
            StagingError: the leaves need more than `budget_bytes`, or more than there is.
            CaptureError: the tree is larger than a file can hold.
        """
        try:
            layout = plan(tree)
        except ValueError as error:
            raise CaptureError(f"the target cannot be kept: {error}") from None
        data = self._room(layout.data_bytes)
        for slot in layout.slots:
            arrays.copy_into(slot.leaf, data[slot.offset : slot.offset + slot.nbytes])
        return Staged(tree, layout, data)

    def _room(self, size_bytes: int) -> Bytes:
        if self._budget_bytes is not None and size_bytes > self._budget_bytes:
            raise StagingError(
                f"a copy of the state takes {size_bytes} bytes, and budget_bytes allows {self._budget_bytes}; raise "
                "budget_bytes, or keep less in the target"
            )
        if size_bytes > self._memory.size:
            self._memory = np.empty(0, np.uint8)  # give the old memory back before asking for new
            roomy = size_bytes + size_bytes // 16 + PAGE  # some values grow from snapshot to snapshot
            try:
                self._memory = _allocate(min(roomy, self._budget_bytes or roomy))
            except (OSError, ValueError, OverflowError, MemoryError) as error:
                raise StagingError(
                    f"there is no memory for a copy of the state, which takes {size_bytes} bytes ({error}); free "
                    "memory, or keep less in the target"
                ) from error
        return self._memory[:size_bytes]


def _allocate(size_bytes: int) -> Bytes:
    """Memory that starts at a page, and that a forked child cannot change for its parent."""
    if not hasattr(mmap, "MAP_PRIVATE"):
        return np.frombuffer(mmap.mmap(-1, size_bytes), np.uint8)
    memory = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel without them
            memory.madvise(mmap.MADV_HUGEPAGE)  # the first copy into small pages takes five times as long
    return np.frombuffer(memory, np.uint8)
