"""The arena: the host buffer into which leaves are staged, byte for byte the data part of the snapshot file to be.

Once a state is staged the trainer may train on: nothing looks into its arrays any more. What a tree's shape decides is
planned once, and serves every snapshot of that shape.
"""

from __future__ import annotations

import errno
import logging
import weakref
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from holdfast.errors import CaptureError, StagingError
from holdfast.format import header
from holdfast.format.header import Layout
from holdfast.format.prefix import Facts
from holdfast.image import Image
from holdfast.memory import PAGE, Bytes, Memory
from holdfast.scarcity import Condition
from holdfast.snapshot import Json
from holdfast.state.capture import capture
from holdfast.state.copying import Copier
from holdfast.state.encoding import collector_paused
from holdfast.state.outline import Outline, outline_of
from holdfast.state.reading import Reading, read
from holdfast.state.specs import Changed
from holdfast.state.tree import StateTree

_HEADER_ROOM = 64 << 10  # for values and metadata that grow; none of it is taken before it is used
_LOOK_AGAIN_S = 1.0  # an arena that an interrupt lost tells nobody that it is gone
_logger = logging.getLogger("holdfast")


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What the shape of a tree decides."""

    layout: Layout
    outline: Outline | None  # None: each snapshot must be captured anew


@dataclass(slots=True)  # not frozen, here and below: the training waits while they are made, and that takes longer
class State:
    """The state of a target at one moment; it must be staged before the target changes."""

    plan: Plan
    reading: Reading

    @property
    def data_bytes(self) -> int:
        """Of all leaves."""
        return self.plan.layout.array_bytes + sum(map(len, self.reading.packed))


class Planner:
    """Reads targets, and keeps the plan of the last shape.

    One a series of snapshots: where the targets of two take turns, each is planned anew every time.
    """

    def __init__(self) -> None:
        self._plan: Plan | None = None

    def read(self, target: Any) -> State:
        """The state of `target`, which no copy was made of.

        Raises:
            CaptureError: something in it cannot be kept; names its path.
        """
        plan = self._plan
        if plan is not None and plan.outline is not None:
            try:
                return State(plan, plan.outline.read(target))
            except Changed:
                pass
        state = state_of(capture(target))
        self._plan = state.plan
        return state


def state_of(tree: StateTree) -> State:
    """The state that a captured tree shows.

    Raises:
        CaptureError: the tree is larger than a file can hold.
    """
    with collector_paused():  # it would run again and again over what is only growing
        try:
            plan = Plan(header.plan(tree), outline_of(tree))
        except ValueError as error:
            raise CaptureError(f"the target cannot be kept: {error}") from None
        return State(plan, read(tree))


@dataclass(slots=True)
class Staged:
    """A state that no longer changes: its leaves' bytes stand in the arena, until that stages the next one."""

    layout: Layout
    values: Sequence[Json]
    packed_sizes: Sequence[int]
    arena: Arena

    @property
    def data_bytes(self) -> int:
        """Of all leaves."""
        return self.layout.array_bytes + sum(self.packed_sizes)

    @property
    def data(self) -> Bytes:
        """The leaves' bytes, in file order: uint8 of shape (data_bytes,), a view of the arena."""
        return self.arena.memory.view[: self.data_bytes]

    def image(self, facts: Facts, metadata: Mapping[str, Json] | None = None) -> Placed:
        """The snapshot file, in the arena.

        Raises:
            CaptureError: the facts, values or metadata take more room than a header has.
            ValueError: `metadata` is no JSON.
        """
        checked = header.check_metadata({} if metadata is None else metadata)
        try:
            draft = header.encode(self.layout, self.values, self.packed_sizes, facts, checked)
        except ValueError as error:
            raise CaptureError(f"{facts.name}: {error}") from None
        return self.arena.place(self, draft)


@dataclass(frozen=True, slots=True)
class Placed:
    """A snapshot file in the memory of an arena, and where in it."""

    image: Image
    memory: Memory
    data_bytes: int  # from the start of the memory
    header_at: int
    ends_at: int  # the table of the leaves' ends, uint64

    @property
    def size_bytes(self) -> int:
        """Of the file."""
        return self.image.size_bytes


class Arena:
    """Host memory for one staged state, kept and used again.

    Args:
        budget_bytes: the most that the leaves may take; None: as much as there is memory.
        shared: a writer process is to read it.

    Attributes:
        lease: another object at each taking; None while nobody has it. See Arenas.
    """

    def __init__(self, *, budget_bytes: int | None = None, shared: bool = False) -> None:
        self.lease: object = None
        self._budget_bytes = budget_bytes
        self._shared = shared
        self._memory: Memory | None = None
        self._copier: tuple[Plan, Memory, Any, Copier] | None = None

    @property
    def memory(self) -> Memory:
        """What there is of it by now."""
        if self._memory is None:
            self._memory = Memory(0, shared=self._shared)
        return self._memory

    def prepare(self, state: State) -> None:
        """Have the memory that such a state takes, and begin to touch it in the background.

        Raises:
            StagingError: it needs more than `budget_bytes`, or more than there is.
        """
        self._room(state)
        self._copier_for(state.plan).pin(state.reading.arrays)
        self.memory.prefault(state.data_bytes + PAGE)

    def expect(self) -> None:
        """A state is about to be staged, like the last one: have threads awake to copy it."""
        if self._copier is not None:
            self._copier[3].expect()

    def stage(self, state: State | StateTree) -> Staged:
        """Copy every leaf into the arena; the caller may train on as soon as this returns.

        Args:
            state: leaves of any shape and dtype, on any device.
        Returns:
            Its values, and its leaves in C order; valid until the next call.
        Raises:
            StagingError: the leaves need more than `budget_bytes`, or more than there is.
            CaptureError: the tree is larger than a file can hold.
        """
        if isinstance(state, StateTree):
            state = state_of(state)
        plan, reading = state.plan, state.reading
        if reading.packed or not self._is_ready(plan):  # else the last one had room
            self._room(state)
        self._copier_for(plan).copy(reading.arrays, reading.addresses)
        if not reading.packed:
            return Staged(plan.layout, reading.values, [], self)
        at = plan.layout.array_bytes
        for packed in reading.packed:
            self.memory.view[at : at + len(packed)] = packed
            at += len(packed)
        return Staged(plan.layout, reading.values, [len(packed) for packed in reading.packed], self)

    def place(self, staged: Staged, draft: header.Draft) -> Placed:
        """Put a header behind the data that was staged."""
        ends = array("Q", staged.layout.ends)
        for size in staged.packed_sizes:
            ends.append((ends[-1] if ends else 0) + size)
        data_bytes, header_bytes, ends_bytes = staged.data_bytes, len(draft.text), 8 * len(ends)
        memory, header_at = self.memory, _whole_pages(data_bytes)
        needed = header_at + header_bytes + ends_bytes
        if needed > memory.size_bytes:  # metadata longer than anybody expects
            if memory.fd >= 0:
                self._grow(needed, data_bytes)
            else:  # which would lose the data
                memory, header_at = Memory(header_bytes + ends_bytes), 0
        ends_at = header_at + header_bytes
        memory.view[header_at:ends_at] = np.frombuffer(draft.text, np.uint8)
        memory.view[ends_at : ends_at + ends_bytes] = np.frombuffer(ends, np.uint8)
        image = Image(memory.view[header_at:ends_at].data, draft.checksums_at, staged.data.data, ends)
        return Placed(image, memory, data_bytes, header_at, ends_at)

    def _is_ready(self, plan: Plan) -> bool:
        """Whether the last copier is one for this plan, and its memory is still there: a restore also grows it."""
        known = self._copier
        return known is not None and known[0] is plan and known[1] is self._memory and known[2] is known[1].view

    def _copier_for(self, plan: Plan) -> Copier:
        if self._copier is not None and self._is_ready(plan):
            return self._copier[3]
        memory, self._copier = self.memory, None
        slots = plan.layout.slots
        copier = Copier(
            memory.view,
            [(slot.offset, slot.nbytes) for slot in slots],
            [(slot.path, slot.dtype, slot.shape) for slot in slots],
        )
        self._copier = plan, memory, memory.view, copier
        return copier

    def _room(self, state: State) -> None:
        layout, size = state.plan.layout, state.data_bytes
        if self._budget_bytes is not None and size > self._budget_bytes:
            raise StagingError(
                f"a copy of the state takes {size} bytes, and budget_bytes allows {self._budget_bytes}; raise "
                "budget_bytes, or keep less in the target"
            )
        texts = len(layout.tree_text) + len(layout.alias_text) + len(layout.entry_text)
        needed = _whole_pages(size) + texts + texts // 4 + 48 * len(layout.slots) + _HEADER_ROOM
        if needed > self.memory.size_bytes:
            if not self.memory.size_bytes:
                shown = f"{size / (1 << 20):.1f} MiB" if size >= 1 << 20 else f"{size} bytes"
                _logger.info("a copy of the state takes %s of memory", shown)
            self._grow(needed + size // 64, size)  # some values grow; what is not touched is not taken

    def _grow(self, size_bytes: int, state_bytes: int) -> None:
        self._copier = None  # it holds the old memory
        try:
            self.memory.grow(size_bytes)
        except (OSError, ValueError, OverflowError, MemoryError) as error:
            remedy = "free memory, or keep less in the target"
            if isinstance(error, OSError) and error.errno == errno.EFBIG:  # of shared memory, which is a file
                remedy = "raise the limit of this process (ulimit -f), or use a ThreadWriter"
            raise StagingError(
                f"there is no memory for a copy of the state, which takes {state_bytes} bytes ({error}); {remedy}"
            ) from error


class Arenas:
    """The arenas of one series of snapshots, and the plan that they share.

    Args:
        slots: how many snapshots may be under way at once; None: as many as there are.
        budget_bytes: the most that the leaves may take in each; None: as much as there is memory.
        shared: a writer process is to read them.
    """

    def __init__(self, slots: int | None = None, *, budget_bytes: int | None = None, shared: bool = False) -> None:
        self.planner = Planner()
        self._new = partial(Arena, budget_bytes=budget_bytes, shared=shared)
        self._slots = slots
        # Not a number: an interrupt may end whoever has one between any two steps, and what is lost so is made anew.
        self._made: weakref.WeakSet[Arena] = weakref.WeakSet()
        self._free: list[Arena] = []
        self._change = Condition()

    def take(self, *, wait: bool = True) -> Arena | None:
        """An arena that nobody uses, until it is given back.

        Args:
            wait: until one is free; otherwise None is returned where none is.
        """
        lease = object()
        try:
            arena = self._free.pop()
        except IndexError:
            found = self._make_or_wait(wait)
            if found is None:
                return None
            arena = found
        arena.lease = lease
        return arena

    def _make_or_wait(self, wait: bool) -> Arena | None:
        with self._change:
            while True:
                if self._free:
                    return self._free.pop()
                if self._slots is None or len(self._made) < self._slots:
                    arena = self._new()
                    self._made.add(arena)
                    return arena
                if not wait:
                    return None
                self._change.wait(_LOOK_AGAIN_S)

    def give_back(self, arena: Arena, lease: object) -> None:
        """Let somebody else take it. Where this was interrupted, or ended by a lack of memory, it may be called again.

        Args:
            lease: what the arena had when it was taken; that of an earlier taking does nothing.
        """
        if arena.lease is lease:
            arena.lease = None
            try:
                self._free.append(arena)
            except BaseException:
                if arena.lease is None and arena not in self._free:
                    arena.lease = lease
                raise
        with self._change:
            self._change.notify()


def _whole_pages(size_bytes: int) -> int:
    return -(-size_bytes // PAGE) * PAGE
