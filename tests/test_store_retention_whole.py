"""Older snapshots go only for newer ones that are known to be whole; a damaged one is never counted."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest

from holdfast import files, keep
from holdfast.store import SnapshotStore
from snapshots import damage, saved, written


def state(value: float = 0.0) -> dict[str, object]:
    return {"w": np.full(8, value, np.float32)}


@pytest.fixture
def location(tmp_path):
    return tmp_path


def steps(store):
    return [snapshot.step for snapshot in store.snapshots()]


def names(location):
    return sorted(name for name in os.listdir(location) if name != ".holdfast-lock")


@pytest.fixture
def verified(monkeypatch):
    """The steps of the snapshots that are read in full, as that happens."""
    seen = []

    def verify(snapshot):
        seen.append(snapshot.step)
        return real(snapshot)

    real = files.verify
    monkeypatch.setattr(files, "verify", verify)
    return seen


def test_what_this_process_committed_needs_no_reading(location, verified, writing):
    with writing.store(location, keep=keep.last(2)) as store:
        for step in range(5):
            saved(store, step, state())
        assert steps(store) == [3, 4]
    assert verified == []


def test_what_stays_is_read_in_full_before_anything_goes_unless_it_is_known_to_be_whole(location, verified):
    for step in range(4):
        written(location, step)
    with SnapshotStore(location, keep=keep.last(2)) as store:
        assert [snapshot.step for snapshot in store.prune().drop] == [0, 1]
        assert verified == [3, 2]
        store.prune(keep.last(1))
        assert verified == [3, 2]


def test_what_stays_for_its_pin_alone_is_not_read_unless_it_is_the_newest(location, verified):
    for step in range(5):
        written(location, step)
    with SnapshotStore(location) as store:
        for step in (1, 4):
            store.pin(step)
        store.prune(keep.best(1, "loss", mode="min"))
        assert steps(store) == [1, 4]
    assert verified == [4]


def test_as_many_good_ones_stay_as_the_policy_keeps_though_some_of_the_newest_are_damaged(location, caplog):
    paths = [written(location, step) for step in range(6)]
    for step in (3, 4):
        damage(paths[step])
    with SnapshotStore(location) as store:
        result = store.prune(keep.last(3))
        assert [snapshot.step for snapshot in result.keep] == [1, 2, 5]
        assert [snapshot.step for snapshot in result.drop] == [0]
        assert steps(store) == [1, 2, 3, 4, 5]
    assert len(caplog.records) == 2


def test_one_that_was_damaged_since_this_process_wrote_it_does_not_count(location, writing):
    with writing.store(location, keep=keep.last(2)) as store:
        for step in range(3):
            saved(store, step, state())
        damage(store.at(2))
        saved(store, 3, state())
        assert steps(store) == [1, 2, 3]


def test_one_that_was_damaged_and_is_whole_again_counts_again(location):
    with SnapshotStore(location, keep=keep.last(1)) as store:
        saved(store, 1, state())
        whole = (location / store.at(1).name).read_bytes()
        damage(store.at(1))
        written(location, 0)
        assert store.prune().drop == ()
        (location / store.at(1).name).write_bytes(whole)
        assert [snapshot.step for snapshot in store.prune().drop] == [0]


def test_one_that_changes_while_it_is_read_is_an_error_and_nothing_goes(location, monkeypatch):
    def verify(snapshot):
        os.utime(snapshot, ns=(0, os.stat(snapshot).st_mtime_ns + 1))

    for step in range(3):
        written(location, step)
    monkeypatch.setattr(files, "verify", verify)
    with SnapshotStore(location) as store, pytest.raises(OSError, match="changes while it is read"):
        store.prune(keep.last(1))
    assert len(names(location)) == 3


def test_a_dry_run_and_a_plan_that_drops_nothing_read_no_data(location, verified):
    for step in range(4):
        written(location, step)
    with SnapshotStore(location) as store:
        store.plan(keep.last(1))
        store.prune(keep.last(4))
    assert verified == []


def test_a_snapshot_that_was_resumed_from_is_known_to_be_whole(location, verified):
    for step in range(4):
        written(location, step)
    with SnapshotStore(location) as store:
        store.resume({"w": np.zeros(4, np.float32)})
        store.prune(keep.last(1))
    assert verified == []


def test_a_damaged_newest_one_does_not_count_and_an_older_good_one_stays_for_it(location, caplog):
    for step in range(4):
        path = written(location, step)
    damage(path)
    with SnapshotStore(location) as store:
        result = store.prune(keep.last(1))
        assert [snapshot.step for snapshot in result.keep] == [2]
        assert [snapshot.step for snapshot in result.drop] == [0, 1]
        assert steps(store) == [2, 3]  # the damaged one is left where it is
    [record] = caplog.records
    assert "snapshot_00000003" in record.message


def test_where_everything_is_damaged_nothing_goes(location):
    for step in range(3):
        damage(written(location, step))
    with SnapshotStore(location) as store:
        assert store.prune(keep.last(1)).drop == ()
        assert steps(store) == [0, 1, 2]


def test_a_damaged_header_is_neither_kept_nor_dropped(location):
    damage(written(location, 0), header=True)
    written(location, 1)
    written(location, 2)
    with SnapshotStore(location) as store:
        result = store.prune(keep.last(1))
    assert [snapshot.step for snapshot in (*result.keep, *result.drop)] == [2, 1]
    assert names(location) == ["snapshot_00000000.safetensors", "snapshot_00000002.safetensors"]


def test_one_taken_on_an_error_is_no_proof_that_something_whole_stays(location, verified):
    for step in range(3):
        path = written(location, step)
    written(location, 3, reason="error")
    damage(path)
    with SnapshotStore(location) as store:
        collection, newest = store._collection, store.snapshots()[-1]
        collection._judge(newest, collection.catalog.stamp(newest.name), whole=True)
        result = store.prune(keep.last(1))
    assert verified == [2, 1]
    assert [snapshot.step for snapshot in result.keep] == [1, 3]


def test_a_store_whose_newest_one_cannot_be_read_removes_nothing(location, monkeypatch):
    def unreadable(snapshot):
        raise OSError(errno.EIO, "Input/output error", os.fspath(snapshot))

    for step in range(3):
        written(location, step)
    monkeypatch.setattr(files, "verify", unreadable)
    with SnapshotStore(location) as store, pytest.raises(OSError, match="Input/output error"):
        store.prune(keep.last(1))
    assert len(names(location)) == 3


def test_the_one_before_a_damaged_one_stays_while_it_is_the_only_other_good_one(location, writing):
    for step in range(4):
        path = written(location, step)
    damage(path)
    with writing.store(location, keep=keep.last(2)) as store:
        assert store.resume({"w": np.zeros(4, np.float32)})[1].step == 2
        saved(store, 3, state())  # replaces the damaged one
        saved(store, 4, state())
        assert steps(store) == [3, 4]
