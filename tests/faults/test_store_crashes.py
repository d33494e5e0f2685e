"""A store whose process dies, or whose disk fails, at every single system call: no acknowledged snapshot is lost.

Each scenario is run once to learn its calls, and then again for each of them, in a directory of its own; with every
writer. Where another process writes, this one's calls and that one's are gone through. What becomes of a snapshot
whose trainer is killed then stands in tests/engine/test_killed_trainers.py.
"""

from __future__ import annotations

import errno
import gc
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from faults.injection import ERRORS, Crash
from faults.writing import IN_ANOTHER, Writing, name_of
from holdfast import files, keep
from holdfast.catalog import catalog
from holdfast.errors import CommitError
from holdfast.store import SnapshotStore
from holdfast.writers import ProcessQueueWriter, ProcessWriter, SimpleWriter, ThreadQueueWriter, ThreadWriter
from snapshots import finished

T = TypeVar("T")

POLICY = keep.last(2)


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls fail here and processes die, but the power stays on: it does not matter what has reached the disk."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)


@pytest.fixture(autouse=True)
def _collecting_is_quick() -> Iterator[None]:
    """What was there before the test is left out, as descriptors() collects garbage often."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def state(value: float) -> dict[str, object]:
    return {"w": np.full(64, value, np.float32), "value": float(value)}


@dataclass
class Seen:
    """What a process was told, and what may therefore be found."""

    kind: Callable[..., Any] = SimpleWriter  # its writers
    acknowledged: dict[int, float] = field(default_factory=dict)  # step: value, in the order of the commits
    possible: dict[int, set[float]] = field(default_factory=dict)  # step: that value, and those begun since
    pinned: list[int] = field(default_factory=list)

    def store(self, location: Path, **arguments: Any) -> SnapshotStore:
        return SnapshotStore(location, writer=self.kind(), **arguments)

    def begin(self, step: int, value: float) -> None:
        self.possible.setdefault(step, set()).add(value)

    def acknowledge(self, step: int, value: float) -> None:
        self.possible[step] = {value}
        self.acknowledged.pop(step, None)
        self.acknowledged[step] = value

    def save(self, store: SnapshotStore, step: int, value: float) -> None:
        self.begin(step, value)
        pending = store.save(step, state(value))
        pending.result()
        self.acknowledge(step, value)
        finished(pending)  # or what this process calls and what its writer does were in no order


def first_save(location: Path, seen: Seen) -> None:
    with seen.store(location / "made" / "for it", keep=POLICY) as store:
        seen.save(store, 1, 1.0)


def save_with_retention(location: Path, seen: Seen) -> None:
    with seen.store(location, keep=POLICY) as store:
        store.resume(state(0))
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


def prepare(location: Path, scenario: Scenario, kind: Callable[..., Any] = SimpleWriter) -> Seen:
    """What an earlier run left behind: two snapshots, and the temporary file of a writer that died."""
    seen = Seen()
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


def place_of(location: Path, scenario: Scenario) -> Path:
    return location / "made" / "for it" if scenario is first_save else location


def check(location: Path, seen: Seen, must_be_left: int = 2) -> None:
    """The next process: it sees the last that were acknowledged, and nothing torn, and goes on."""
    with SnapshotStore(location, keep=POLICY) as store:
        listing = store._collection.read()
        assert listing.damaged == ()
        assert listing.others == ()
        found = {snapshot.step: files.load(snapshot)["value"] for snapshot in listing.snapshots}
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
        assert not [name for name in os.listdir(location) if name.endswith("holdfast-tmp")]

        target = state(0)
        _, newest = store.resume(target)
        assert newest == (listing.snapshots[-1] if found else None)
        assert target["value"] == (found[newest.step] if newest else 0.0)

        seen.save(store, 7, 7.0)
        seen.save(store, 8, 8.0)
        left = [snapshot.step for snapshot in store.snapshots()]
        assert left[-2:] == [7, 8]
        assert set(left) <= {3, 7, 8}
        assert store.resume(target)[1].step == 8


@pytest.mark.parametrize(
    ("scenario", "kind"),
    [*product(SCENARIOS, [SimpleWriter, ThreadWriter]), (save_with_retention, ThreadQueueWriter)],
    ids=name_of,
)
def test_a_crash_before_any_call_loses_no_acknowledged_snapshot(tmp_path, faults, scenario, kind):
    must_be_left = 1 if scenario is pruning_of_what_another_process_wrote else 2
    seen = prepare(tmp_path / "calm", scenario, kind)
    with faults.record() as calls:
        scenario(tmp_path / "calm", seen)
    check(place_of(tmp_path / "calm", scenario), seen, must_be_left)
    assert {call.name for call in calls} >= {"open", "scandir", "lock_record", "close"}
    for number, (name, ordinal) in enumerate(calls):
        location = tmp_path / str(number)
        seen = prepare(location, scenario, kind)
        with pytest.raises(Crash), faults.crash_before(name, ordinal):
            scenario(location, seen)
        forget_everything()
        check(place_of(location, scenario), seen, must_be_left)
        shutil.rmtree(location, ignore_errors=True)


def descriptors() -> int:
    gc.collect()  # a mapped file has one until the map is collected
    return len(os.listdir("/proc/self/fd"))


def save_with(location: Path, kind: Callable[..., Any], step: int, number: int, fault: AbstractContextManager[T]) -> T:
    """Save a step under a fault, then another, and look what is there."""
    seen = prepare(location, save_with_retention, kind)
    with seen.store(location, keep=POLICY) as store:
        store.resume(state(0))
        if kind in IN_ANOTHER:
            seen.save(store, 4, 4.0)  # starts the process, to which this one has descriptors
        open_before = descriptors()
        seen.begin(step, 5.5)
        with fault as armed:
            pending = finished(store.save(step, state(5.5)))
        error = pending.exception()
        unknown = "the outcome is unknown" in str(error)
        if error is None:
            seen.acknowledge(step, 5.5)
        else:
            assert isinstance(error, CommitError)
            assert "snapshot_0000000" in str(error)
            if number:
                assert error.errno == number
            if not unknown:
                assert [one.step for one in store.snapshots()] == [3, 4]
                assert files.load(store.at(4))["value"] == 4.0
        if number:
            assert not [name for name in os.listdir(location) if name.endswith("holdfast-tmp")]
            assert descriptors() == open_before
        seen.save(store, 6, 6.0)
    forget_everything()
    check(location, seen)
    shutil.rmtree(location)
    return armed


@pytest.mark.parametrize(
    ("number", "kind"),
    [*product(ERRORS, [SimpleWriter, ThreadWriter]), (errno.EIO, ThreadQueueWriter)],
    ids=lambda value: errno.errorcode[value] if isinstance(value, int) else name_of(value),
)
@pytest.mark.parametrize("step", [5, 4], ids=["another step", "the same step"])
def test_an_error_at_any_call_of_a_save_costs_at_most_that_snapshot(tmp_path, faults, number, step, kind):
    calls = save_with(tmp_path / "calm", kind, step, number, faults.record())
    assert len(calls) > 20
    for name, ordinal in calls:
        save_with(tmp_path / "faulty", kind, step, number, faults.error_at(name, number, ordinal))


@pytest.mark.parametrize(
    ("where", "writing"),
    [("here", ProcessWriter), ("there", ProcessWriter), ("there", ProcessQueueWriter)],
    ids=name_of,
    indirect=["writing"],
)
def test_an_error_at_any_call_of_either_process_costs_at_most_that_snapshot(tmp_path, writing: Writing, where):
    faults, step, number = (writing.here, 5, errno.EIO) if where == "here" else (writing.faults, 4, errno.ENOSPC)
    calls = save_with(tmp_path / "calm", writing.kind, step, number, faults.record())
    assert {call.name for call in calls} >= ({"pwrite", "fsync", "rename"} if where == "there" else {"unlink"})
    for name, ordinal in calls:
        save_with(tmp_path / "faulty", writing.kind, step, number, faults.error_at(name, number, ordinal))


@pytest.mark.parametrize(
    ("step", "writing"), [(5, ProcessWriter), (4, ProcessQueueWriter)], ids=name_of, indirect=["writing"]
)
def test_the_death_of_the_writer_process_before_any_call_costs_at_most_that_snapshot(tmp_path, writing: Writing, step):
    calls = save_with(tmp_path / "calm", writing.kind, step, 0, writing.faults.record())
    assert {call.name for call in calls} >= {"open", "pwrite", "fsync", "rename", "close"}
    for name, ordinal in calls:
        save_with(tmp_path / "faulty", writing.kind, step, 0, writing.faults.crash_before(name, ordinal))


def outcome_of(function: Callable[[], None]) -> int | None:
    """The number of the error that it raised, or None."""
    try:
        function()
    except OSError as error:
        return error.errno
    return None


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE], ids=errno.errorcode.get)
def test_an_error_at_any_call_of_opening_and_resuming_is_raised_or_overcome_but_loses_nothing(tmp_path, faults, number):
    def opened(location: Path) -> None:
        with SnapshotStore(location, keep=POLICY) as store:
            target = state(0)
            _, snapshot = store.resume(target)
            assert snapshot is not None
            assert target["value"] == snapshot.step

    seen = prepare(tmp_path, save_with_retention)
    with faults.record() as calls:
        opened(tmp_path)
    open_before = descriptors()
    outcomes = set()
    for name, ordinal in calls:
        (tmp_path / ".0000000000000000.holdfast-tmp").write_bytes(b"half")
        with faults.error_at(name, number, ordinal):
            outcomes.add(outcome_of(lambda: opened(tmp_path)))
        assert descriptors() == open_before
    assert outcomes == {None, number}
    check(tmp_path, seen)
