"""An error at every single system call where the sweep of R4 does not come: of this process while another one writes,
and of opening and resuming."""

from __future__ import annotations

import errno
import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from faults.sweeps import POLICY, check, descriptors, prepare, save_with, save_with_retention, state
from faults.writing import Writing, name_of
from holdfast.store import SnapshotStore
from holdfast.writers import ProcessWriter


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


@pytest.mark.parametrize("writing", [ProcessWriter], ids=name_of, indirect=True)
def test_an_error_at_any_call_of_this_process_costs_at_most_the_snapshot_that_another_one_writes(
    tmp_path, writing: Writing
):
    calls = save_with(tmp_path / "calm", writing.kind, 5, errno.EIO, writing.here.record())
    assert {call.name for call in calls} >= {"unlink"}
    for name, ordinal in calls:
        save_with(tmp_path / "faulty", writing.kind, 5, errno.EIO, writing.here.error_at(name, errno.EIO, ordinal))


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
