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
from itertools import product
from pathlib import Path

import pytest

from faults.injection import ERRORS, Crash
from faults.sweeps import (
    POLICY,
    SCENARIOS,
    check,
    descriptors,
    forget_everything,
    place_of,
    prepare,
    pruning_of_what_another_process_wrote,
    save_with,
    save_with_retention,
    state,
)
from faults.writing import Writing, name_of
from holdfast.store import SnapshotStore
from holdfast.writers import ProcessQueueWriter, ProcessWriter, SimpleWriter, ThreadQueueWriter, ThreadWriter


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
