"""What stands under a name after every error and every crash on the way of holdfast.files.save."""

from __future__ import annotations

import errno
import gc
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from faults.injection import ERRORS, Crash
from holdfast import files
from holdfast.errors import CommitError

OLD = {"weight": np.arange(600.0), "count": 1}
NEW = {"weight": np.arange(600.0) + 0.5, "count": 2}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def holds(path, state):
    found = files.load(path)
    return found["count"] == state["count"] and np.array_equal(found["weight"], state["weight"])


def described(calls, directory):
    steps = []
    for call in calls:
        if call.name in ("pwrite", "fsync", "rename") and call.path.startswith(str(directory)):
            name = os.path.relpath(call.path, directory)
            steps.append(f"{call.name} {'TEMPORARY' if name.endswith('.holdfast-tmp') else name}")
    return steps


def test_the_bytes_are_durable_before_the_name_and_the_name_before_save_returns(path, faults):
    files.save(path, OLD)
    with faults.record() as calls:
        files.save(path, NEW)
    steps = described(calls, path.parent)
    order = ["pwrite TEMPORARY", "pwrite TEMPORARY", "fsync TEMPORARY", "rename TEMPORARY", "fsync ."]
    assert steps[-len(order) :] == order
    assert not [step for step in steps if step.endswith(path.name)]  # the old file is not touched


def test_after_a_crash_before_any_call_the_old_state_or_the_new_one_is_whole(tmp_path, faults):
    calls = calls_of_a_save(tmp_path / "practice" / "model", faults)
    outcomes = Counter()
    for name, ordinal in calls:
        path = tmp_path / f"{name} {ordinal}" / "model"
        files.save(path, OLD)
        with faults.crash_before(name, ordinal), pytest.raises(Crash):
            files.save(path, NEW)
        files.verify(path)
        outcome = "new" if holds(path, NEW) else "old" if holds(path, OLD) else "torn"
        outcomes[outcome] += 1
        assert (outcome == "new") == _is_after_the_rename(calls, name, ordinal), (name, ordinal)
        files.save(path, NEW)
        assert holds(path, NEW)
    assert outcomes["torn"] == 0
    assert outcomes["old"] > outcomes["new"] > 0


def _is_after_the_rename(calls, name, ordinal):
    names = [call.name for call in calls]
    return [tuple(call) for call in calls].index((name, ordinal)) > names.index("rename")


def test_after_an_error_at_any_call_the_old_state_is_whole_and_nothing_else_is_there(tmp_path, faults):
    calls = calls_of_a_save(tmp_path / "practice" / "model", faults)
    outcomes = Counter()
    for number in ERRORS:
        for name, ordinal in calls:
            case = f"{errno.errorcode[number]} at {name} {ordinal}"
            path = tmp_path / case / "model"
            files.save(path, OLD)
            failure = None
            try:
                with faults.error_at(name, number, ordinal):
                    files.save(path, NEW)
            except CommitError as error:
                failure = error
            outcome = "none" if failure is None else "unknown" if "the outcome is unknown" in str(failure) else "failed"
            outcomes[outcome] += 1
            assert holds(path, OLD if outcome == "failed" else NEW), case
            assert os.listdir(path.parent) == ["model"], case
            if failure is not None:
                assert failure.errno == number, case
                assert str(path) in str(failure), case
    assert outcomes["failed"] > outcomes["none"] > 0  # none: an interrupted write goes on, a lock is let go of, ...
    assert outcomes["unknown"] > 0


def calls_of_a_save(path, faults):
    files.save(path, OLD)
    with faults.record() as calls:
        files.save(path, NEW)
    return list(calls)


def test_a_save_that_fails_holds_no_memory_and_no_descriptor(path, faults):
    files.save(path, OLD)
    gc.collect()
    before = len(os.listdir("/proc/self/fd")), Path("/proc/self/maps").read_text().count("\n")
    for _ in range(20):
        with faults.error_at("fsync", errno.EIO), pytest.raises(CommitError):
            files.save(path, NEW)
    gc.collect()
    after = len(os.listdir("/proc/self/fd")), Path("/proc/self/maps").read_text().count("\n")
    assert after[0] == before[0]
    assert after[1] < before[1] + 20
