"""What the sweeps over system calls have in common: what a store is used for, and what the next process may find.

A scenario is carried out once to learn its calls, and then again for each of them, in a directory of its own.
"""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from faults.writing import IN_ANOTHER
from holdfast import files, keep
from holdfast.catalog import catalog
from holdfast.errors import CommitError
from holdfast.storage import direct_io
from holdfast.storage.base import is_temporary
from holdfast.store import SnapshotStore
from holdfast.writers import SimpleWriter
from holdfast.writers.base import nothing
from snapshots import finished

T = TypeVar("T")

POLICY = keep.last(2)


SMALL, LARGE = 64, 300_000  # floats of a state: for the page cache, and past it


def state(value: float, size: int = SMALL) -> dict[str, object]:
    return {"w": np.full(size, value, np.float32), "value": float(value)}


@dataclass
class Seen:
    """What a process was told, and what may therefore be found."""

    kind: Callable[..., Any] = SimpleWriter  # its writers
    size: int = SMALL  # of its states
    tell: Callable[..., object] = nothing  # told all of it as it happens, in words
    acknowledged: dict[int, float] = field(default_factory=dict)  # step: value, in the order of the commits
    possible: dict[int, set[float]] = field(default_factory=dict)  # step: that value, and those begun since
    pinned: list[int] = field(default_factory=list)

    def store(self, location: Path, **arguments: Any) -> SnapshotStore:
        return SnapshotStore(location, writer=self.kind(), **arguments)

    def begin(self, step: int, value: float) -> None:
        self.possible.setdefault(step, set()).add(value)
        self.tell("begin", step, value)

    def acknowledge(self, step: int, value: float) -> None:
        self.possible[step] = {value}
        self.acknowledged.pop(step, None)
        self.acknowledged[step] = value
        self.tell("acknowledge", step, value)

    def hear(self, words: Iterable[tuple[str, ...]]) -> None:
        """What another process has told."""
        for what, *numbers in words:
            if what in ("begin", "acknowledge"):
                getattr(self, what)(int(numbers[0]), float(numbers[1]))
            elif what == "pin":
                self.pinned.append(int(numbers[0]))

    def save(self, store: SnapshotStore, step: int, value: float) -> None:
        self.begin(step, value)
        pending = store.save(step, state(value, self.size))
        pending.result()
        self.acknowledge(step, value)
        finished(pending)  # or what this process calls and what its writer does were in no order


def first_save(location: Path, seen: Seen) -> None:
    with seen.store(location / "made" / "for it", keep=POLICY) as store:
        seen.save(store, 1, 1.0)


def save_with_retention(location: Path, seen: Seen) -> None:
    with seen.store(location, keep=POLICY) as store:
        store.resume(state(0, seen.size))
        seen.save(store, 5, 5.0)
        seen.save(store, 6, 6.0)


def replacement_of_the_same_step(location: Path, seen: Seen) -> None:
    with seen.store(location, keep=POLICY) as store:
        seen.save(store, 4, 4.5)


def pruning_of_what_another_process_wrote(location: Path, seen: Seen) -> None:
    with seen.store(location) as store:
        store.prune(keep.last(1))


def pinning(location: Path, seen: Seen) -> None:
    with seen.store(location, keep=POLICY) as store:
        store.pin(3)
        seen.pinned.append(3)
        seen.tell("pin", 3)
        seen.save(store, 5, 5.0)
        seen.save(store, 6, 6.0)


Scenario = Callable[[Path, Seen], None]
SCENARIOS: list[Scenario] = [
    first_save,
    save_with_retention,
    replacement_of_the_same_step,
    pruning_of_what_another_process_wrote,
    pinning,
]


def prepare(location: Path, scenario: Scenario, kind: Callable[..., Any] = SimpleWriter, size: int = SMALL) -> Seen:
    """What an earlier run left behind: two snapshots, and the temporary file of a writer that died."""
    seen = Seen(size=size)
    if scenario is not first_save:
        with SnapshotStore(location, keep=POLICY) as store:
            seen.save(store, 3, 3.0)
            seen.save(store, 4, 4.0)
        (location / ".0000000000000000.holdfast-tmp").write_bytes(b"half")
    forget_everything()
    seen.kind = kind
    return seen


def forget_everything() -> None:
    """What the next process does not know."""
    catalog._highest.clear()
    direct_io._refused.clear()


def place_of(location: Path, scenario: Scenario) -> Path:
    return location / "made" / "for it" if scenario is first_save else location


def check(location: Path, seen: Seen, must_be_left: int = 2) -> None:
    """The next process: it sees the last that were acknowledged, and nothing torn, and goes on."""
    with SnapshotStore(location, keep=POLICY) as store:
        listing = store._collection.read()
        assert listing.damaged == ()
        assert listing.others == ()
        loaded = {snapshot.step: files.load(snapshot) for snapshot in listing.snapshots}
        assert all(np.all(one["w"] == one["value"]) for one in loaded.values()), "a torn array"
        found = {step: one["value"] for step, one in loaded.items()}
        assert all(value in seen.possible[step] for step, value in found.items()), f"{found} of {seen}"
        # One that is there was durable, and counts for retention, though its process died before it could be told.
        untold = {step for step, value in found.items() if seen.acknowledged.get(step) != value}
        told = [step for step in seen.acknowledged if step not in untold]
        must = {*told[max(0, len(told) + len(untold) - must_be_left) :], *seen.pinned}
        assert must <= found.keys(), f"{must} were acknowledged"
        assert len(found) >= min(must_be_left, len(seen.acknowledged))
        assert {snapshot.step for snapshot in listing.pinned} >= set(seen.pinned)
        for snapshot in listing.snapshots:
            assert files.verify(snapshot).step == snapshot.step
        assert temporary_files(location) == []

        target = state(0, seen.size)
        _, newest = store.resume(target)
        assert newest == (listing.snapshots[-1] if found else None)
        assert target["value"] == (found[newest.step] if newest else 0.0)
        assert np.all(target["w"] == target["value"]), "a torn array"

        seen.save(store, 7, 7.0)
        seen.save(store, 8, 8.0)
        left = [snapshot.step for snapshot in store.snapshots()]
        assert left[-2:] == [7, 8]
        assert set(left) <= {3, 7, 8}
        assert store.resume(target)[1].step == 8


def temporary_files(location: Path) -> list[str]:
    return [name for name in os.listdir(location) if is_temporary(name)]


def descriptors() -> int:
    gc.collect()  # a mapped file has one until the map is collected
    return len(os.listdir("/proc/self/fd"))


def save_with(
    location: Path,
    kind: Callable[..., Any],
    step: int,
    number: int,
    fault: AbstractContextManager[T],
    *,
    size: int = SMALL,
) -> T:
    """Save a step under a fault, then another, and look what is there.

    Args:
        number: of the error that comes; 0: another fault, or none.
    """
    seen = prepare(location, save_with_retention, kind, size)
    with seen.store(location, keep=POLICY) as store:
        store.resume(state(0, size))
        if kind in IN_ANOTHER:
            seen.save(store, 4, 4.0)  # starts the process, to which this one has descriptors
        open_before = descriptors()
        seen.begin(step, 5.5)
        with fault as armed:
            pending = finished(store.save(step, state(5.5, size)))
        error = pending.exception()
        unknown = "the outcome is unknown" in str(error)
        if error is None:
            assert files.load(store.at(step))["value"] == 5.5, "a success that was none"
            seen.acknowledge(step, 5.5)
        else:
            assert isinstance(error, CommitError), f"{type(error).__name__}: {error}"
            assert "snapshot_0000000" in str(error), f"it does not say of what: {error}"
            if number:
                assert error.errno == number, f"not the error that came: {error}"
            if not unknown:
                assert [one.step for one in store.snapshots()] == [3, 4]
                assert files.load(store.at(4))["value"] == 4.0
        if number:
            assert not temporary_files(location)
            assert descriptors() == open_before, "a descriptor is left open"
        seen.save(store, 6, 6.0)
    forget_everything()
    check(location, seen)
    shutil.rmtree(location)
    return armed
