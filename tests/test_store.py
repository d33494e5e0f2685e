"""SnapshotStore: opening, closing, asking; forked, readonly and twice."""

from __future__ import annotations

import errno
import logging
import math
import os
import subprocess
import sys

import numpy as np
import pytest

from faults.writing import WRITERS, name_of
from holdfast import keep, lock
from holdfast.errors import NotFoundError
from holdfast.snapshot import Snapshot
from holdfast.store import SnapshotStore
from holdfast.writers import ThreadWriter
from snapshots import damage, written


def state(value: float = 0.0) -> dict[str, object]:
    return {"w": np.full(8, value, np.float32), "step": int(value)}


@pytest.fixture
def location(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def store(location):
    with SnapshotStore(location) as opened:
        yield opened


def steps(snapshots):
    return [snapshot.step for snapshot in snapshots]


def names(location):
    return sorted(name for name in os.listdir(location) if name != ".holdfast-lock")


def python(program: str, *arguments: object) -> str:
    """Run a program in another process; what it printed."""
    command = [sys.executable, "-W", "error", "-c", program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


OPEN = """
import sys, holdfast
try:
    holdfast.SnapshotStore(sys.argv[1]).close()
    print("opened")
except holdfast.StoreLockedError as error:
    print("another process", error)
"""


# opening and closing


def test_opening_makes_the_directory_and_locks_it_against_other_processes(location):
    with SnapshotStore(location / "deep" / "er") as store:
        assert os.path.isdir(store.location)
        assert f"pid {os.getpid()}" in python(OPEN, store.location)
    assert python(OPEN, store.location) == "opened\n"


def test_opening_fails_where_something_else_than_a_directory_is(tmp_path):
    (tmp_path / "file").write_text("")
    for readonly in (False, True):
        with pytest.raises(NotADirectoryError):
            SnapshotStore(tmp_path / "file", readonly=readonly)


def test_an_error_while_opening_does_not_leave_the_store_locked(location, faults):
    with faults.error_at("scandir", errno.EIO), pytest.raises(OSError, match="Input/output error"):
        SnapshotStore(location)
    assert lock._held == {}
    SnapshotStore(location).close()


def test_opening_sweeps_what_dead_writers_left_and_logs_it(location, caplog):
    SnapshotStore(location, filename="model/it_{step}").close()
    for place in (location, location / "model"):
        place.mkdir(exist_ok=True)
        (place / ".0123456789abcdef.holdfast-tmp").write_bytes(b"half a snapshot")
    with caplog.at_level(logging.INFO, "holdfast"), SnapshotStore(location, filename="model/it_{step}"):
        assert names(location) == ["model"]
        assert names(location / "model") == []
    assert [record.message.count("left by a writer that died") for record in caplog.records] == [1, 1]


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"filename": "snapshot"}, ValueError, "its only field must be 'step', and it has none"),
        ({"filename": "snapshot_{epoch}"}, ValueError, "its only field must be 'step', and it has epoch"),
        ({"filename": "{step}_{step.real}"}, ValueError, "its only field must be 'step'"),
        ({"filename": "{step:{width}d}"}, ValueError, "filename is '{step:{width}d}'"),
        ({"filename": "snapshot_{step"}, ValueError, "wanted a format string"),
        ({"filename": "snapshot_{step:q}"}, ValueError, "wanted a format string"),
        ({"filename": "snapshot_{step:x}"}, ValueError, "must stand there in decimal digits"),
        ({"filename": "snapshot_{step:.3e}"}, ValueError, "must stand there in decimal digits"),
        ({"filename": "snapshot_{step:.0f}"}, ValueError, "must stand there in decimal digits"),
        ({"filename": "snapshot_{step:>8}"}, ValueError, "must stand there in decimal digits"),
        ({"filename": "/abs/snapshot_{step}"}, ValueError, "must be relative"),
        ({"filename": "../snapshot_{step}"}, ValueError, "must be relative"),
        ({"filename": "a//{step}"}, ValueError, "must be relative"),
        ({"filename": "snapshot_{step}.error"}, ValueError, "a meaning of their own"),
        ({"filename": ".{step}.holdfast-pin"}, ValueError, "a meaning of their own"),
        ({"filename": ".{step}.holdfast-tmp"}, ValueError, "for a file of its own"),
        ({"filename": None}, TypeError, "filename must be a str"),
        ({"keep": 3}, TypeError, r"keep must be a policy such as holdfast.keep.last\(3\), not 3"),
        ({"on_failure": "ignore"}, ValueError, "on_failure must be 'raise' or 'warn', not 'ignore'"),
        ({"writer": print}, TypeError, r"writer must have submit\(\)"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_made(location, arguments, error, says):
    with pytest.raises(error, match=says):
        SnapshotStore(location, **arguments)
    assert not location.exists()


def test_a_location_that_is_no_directory_name_is_refused():
    with pytest.raises(ValueError, match="keeps snapshots in directories only"):
        SnapshotStore("s3://bucket/run")
    with pytest.raises(TypeError, match="must be a str or a path"):
        SnapshotStore(b"bytes")


def test_a_relative_location_means_the_working_directory_of_the_opening(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with SnapshotStore("run") as store:
        monkeypatch.chdir("/")
        assert os.path.dirname(store.save(1, state()).result()) == str(tmp_path / "run")


def test_closing_again_does_nothing_and_anything_else_afterwards_is_an_error(location):
    store = SnapshotStore(location)
    store.save(1, state())
    store.close()
    store.close()
    for use in (
        lambda: store.save(2, state()),
        lambda: store.resume(state()),
        store.snapshots,
        store.latest,
        lambda: store.at(1),
        lambda: store.best("loss", mode="min"),
        store.plan,
        store.prune,
        lambda: store.pin(1),
        lambda: store.unpin(1),
        store.wait,
    ):
        with pytest.raises(ValueError, match="this store is closed; open it again"):
            use()


def test_two_stores_in_one_process_share_the_lock_and_the_sequence_numbers(location):
    with SnapshotStore(location) as one:
        with SnapshotStore(location, keep=keep.last(3)) as other:
            for step in range(4):
                (one if step % 2 else other).save(step, state()).result()
        assert [snapshot.sequence for snapshot in one.snapshots()] == [1, 2, 3, 4]
        one.save(9, state()).result()
        assert one.latest().step == 9
        assert "another process" in python(OPEN, location)


FORKED = """
import os, sys, logging, numpy
from holdfast import writers
from holdfast.store import SnapshotStore, StoreLockedError
store = SnapshotStore(sys.argv[1], writer=getattr(writers, sys.argv[2])())
store.save(1, {"w": numpy.zeros(3)}).result()
pid = os.fork()
if pid == 0:
    try:
        store.save(2, {"w": numpy.ones(3)})
    except StoreLockedError as error:
        print("refused:", error, flush=True)
    print([s.step for s in store.snapshots()], store.resume({"w": numpy.ones(3)})[1].step, flush=True)
    store.wait()
    store.close()
    store.close()
    sys.exit()
assert os.waitpid(pid, 0)[1] == 0
store.save(3, {"w": numpy.zeros(3)}).result()
import subprocess
program = "import sys, holdfast.store as s; s.SnapshotStore(sys.argv[1])"
other = subprocess.run([sys.executable, "-c", program, sys.argv[1]], capture_output=True, text=True)
print("StoreLockedError" in other.stderr)
"""


@pytest.mark.parametrize("writer", WRITERS, ids=name_of)
def test_a_forked_child_may_read_but_not_write_and_does_the_parent_no_harm(location, writer):
    refused, read, locked = python(FORKED, location, writer.__name__).splitlines()
    assert "this is a forked child of it" in refused
    assert (read, locked) == ("[1] 1", "True")
    with SnapshotStore(location) as store:
        assert steps(store.snapshots()) == [1, 3]


@pytest.mark.parametrize("writer", WRITERS, ids=name_of)
def test_a_store_left_open_at_the_end_of_a_program_loses_nothing(location, writer):
    program = """
import sys, numpy
from holdfast import writers
from holdfast.store import SnapshotStore
store = SnapshotStore(sys.argv[1], writer=getattr(writers, sys.argv[2])())
for step in range(1, 6):
    store.save(step, {"w": step * numpy.arange(3.0)})
"""
    assert python(program, location, writer.__name__) == ""
    with SnapshotStore(location) as store:
        assert steps(store.snapshots()) == [1, 2, 3, 4, 5]
        assert store.resume({"w": np.zeros(3)})[0]["w"].tolist() == [0, 5, 10]


# asking


def test_latest_at_and_best_go_by_the_headers(store):
    for step, loss in enumerate([0.5, 0.2, math.nan, 0.2, 0.9]):
        store.save(step, state(), metrics={"loss": loss, f"only_{step}": 1}).result()
    assert store.latest().step == 4
    assert (store.best("loss", mode="min").step, store.best("loss", mode="max").step) == (1, 4)
    assert isinstance(store.at(3), Snapshot)


def test_an_empty_store_has_no_latest_and_no_best(store):
    assert store.snapshots() == []
    assert (store.latest(), store.best("loss", mode="min")) == (None, None)
    with pytest.raises(NotFoundError, match="no snapshot of step 3, only of: none"):
        store.at(3)


def test_what_is_not_there_is_named_together_with_what_is(store):
    for step in range(0, 500, 10):
        store.save(step, state(), metrics={"loss": 1.0, "accuracy": 0.5})
    store.wait()
    with pytest.raises(NotFoundError, match=r"no metric|no snapshot has a metric 'los'; there are: accuracy, loss$"):
        store.best("los", mode="min")
    with pytest.raises(NotFoundError, match=r"step 7, only of: 0, 10, .*, 90, \.\.\. \(30 more\) \.\.\., 400, .*490$"):
        store.at(7)
    with pytest.raises(ValueError, match="mode must be 'min'"):
        store.best("loss", mode="smallest")


def test_a_metric_that_is_nan_everywhere_has_no_best(store):
    store.save(1, state(), metrics={"loss": math.nan}).result()
    assert store.best("loss", mode="min") is None


def test_one_taken_on_an_error_is_latest_and_best_only_where_there_is_no_good_one(store, location):
    written(location, 5, reason="error", metrics={"loss": 0.0})
    assert (store.latest().step, store.best("loss", mode="min").step) == (5, 5)
    written(location, 3, metrics={"loss": 1.0})
    assert (store.latest().step, store.best("loss", mode="min").step) == (3, 3)
    assert steps(store.snapshots()) == [3, 5]


def test_of_two_files_of_one_step_the_good_and_newer_one_counts(store, location):
    written(location, 1, sequence=1, template="snapshot_{step}.safetensors")
    written(location, 1, sequence=2)
    written(location, 1, sequence=3, file="snapshot_00000001.safetensors.error", reason="error")
    assert store.at(1).sequence == 2


def test_a_step_whose_file_is_damaged_is_not_there_and_the_damage_is_named(store, location):
    path = damage(written(location, 1), header=True)
    with pytest.raises(NotFoundError, match=f"no snapshot of step 1, only of: none; damaged: {path}"):
        store.at(1)


# readonly


def test_a_readonly_store_that_may_not_be_looked_into_is_an_error_and_not_empty(location, faults):
    with (
        faults.error_at("stat", errno.EACCES),
        pytest.raises(PermissionError),
    ):
        SnapshotStore(location, readonly=True)


def test_a_readonly_store_writes_nothing_at_all(location, tmp_path, faults):
    with SnapshotStore(location) as store:
        store.save(1, state(1)).result()
    os.unlink(location / ".holdfast-lock")
    before = sorted(os.listdir(location))
    with faults.record() as calls, SnapshotStore(location, readonly=True, keep=keep.last(1)) as store:
        assert store.resume(state())[0]["step"] == 1
        assert (steps(store.snapshots()), store.latest().step, store.at(1).step) == ([1], 1, 1)
        assert len(store.plan().keep) == 1
        assert store.run_id == store.latest().run_id
        store.wait()
    assert sorted(os.listdir(location)) == before
    assert {call.name for call in calls} <= {"open", "close", "pread", "fstat", "stat", "scandir"}


@pytest.mark.parametrize("write", ["save", "prune", "pin", "unpin"])
def test_a_readonly_store_refuses_to_write(location, write):
    arguments = {"save": (1, state()), "prune": (), "pin": (1,), "unpin": (1,)}[write]
    with SnapshotStore(location, readonly=True) as store, pytest.raises(PermissionError, match="readonly=True"):
        getattr(store, write)(*arguments)


def test_a_readonly_store_of_a_missing_directory_is_empty_until_somebody_makes_it(location):
    with SnapshotStore(location, readonly=True) as reader:
        target = state(3)
        assert reader.resume(target) == (target, None)
        assert (reader.snapshots(), reader.latest(), dict(reader.plan().keep)) == ([], None, {})
        with pytest.raises(NotFoundError, match=str(location)):
            reader.at(1)
        assert not location.exists()
        with SnapshotStore(location) as writer:
            writer.save(1, state(1)).result()
            assert reader.latest().step == 1


def test_a_snapshot_with_a_metric_that_is_not_a_number_is_equal_to_itself(tmp_path):
    with SnapshotStore(tmp_path) as store:
        snapshot = store.save(1, {"a": 1}, metrics={"loss": math.nan}).result()
        assert snapshot == store.at(1)
        assert store.plan().keep[snapshot] == ("the newest",)
        assert snapshot != store.save(1, {"a": 1}).result()


def test_a_writer_with_a_savefun_of_its_own_is_refused(tmp_path):
    with pytest.raises(TypeError, match=r"this ThreadWriter has a savefun, .* which would never be called"):
        SnapshotStore(tmp_path, writer=ThreadWriter(savefun=print))
    assert os.listdir(tmp_path) == []
