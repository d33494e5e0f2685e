"""Older snapshots go only for newer ones that are known to be whole; a damaged one is never counted."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest

from holdfast import files, keep
from holdfast.store import SnapshotStore
from snapshots import damage, names, saved, state, steps, written


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


def test_what_this_process_committed_needs_no_reading(tmp_path, verified, writing):
    with writing.store(tmp_path, keep=keep.last(2)) as store:
        for step in range(5):
            saved(store, step, state())
        assert steps(store) == [3, 4]
    assert verified == []


def test_what_stays_is_read_in_full_before_anything_goes_unless_it_is_known_to_be_whole(tmp_path, verified):
    for step in range(4):
        written(tmp_path, step)
    with SnapshotStore(tmp_path, keep=keep.last(2)) as store:
        assert [snapshot.step for snapshot in store.prune().drop] == [0, 1]
        assert verified == [3, 2]
        store.prune(keep.last(1))
        assert verified == [3, 2]


def test_what_stays_for_its_pin_alone_is_not_read_unless_it_is_the_newest(tmp_path, verified):
    for step in range(5):
        written(tmp_path, step)
    with SnapshotStore(tmp_path) as store:
        for step in (1, 4):
            store.pin(step)
        store.prune(keep.best(1, "loss", mode="min"))
        assert steps(store) == [1, 4]
    assert verified == [4]


def test_as_many_good_ones_stay_as_the_policy_keeps_though_some_of_the_newest_are_damaged(tmp_path, caplog):
    paths = [written(tmp_path, step) for step in range(6)]
    for step in (3, 4):
        damage(paths[step])
    with SnapshotStore(tmp_path) as store:
        result = store.prune(keep.last(3))
        assert [snapshot.step for snapshot in result.keep] == [1, 2, 5]
        assert [snapshot.step for snapshot in result.drop] == [0]
        assert steps(store) == [1, 2, 3, 4, 5]
    assert len(caplog.records) == 2


def test_one_that_was_damaged_since_this_process_wrote_it_does_not_count(tmp_path, writing):
    with writing.store(tmp_path, keep=keep.last(2)) as store:
        for step in range(3):
            saved(store, step, state())
        damage(store.at(2))
        saved(store, 3, state())
        assert steps(store) == [1, 2, 3]


def test_one_that_was_damaged_and_is_whole_again_counts_again(tmp_path):
    with SnapshotStore(tmp_path, keep=keep.last(1)) as store:
        saved(store, 1, state())
        whole = (tmp_path / store.at(1).name).read_bytes()
        damage(store.at(1))
        written(tmp_path, 0)
        assert store.prune().drop == ()
        (tmp_path / store.at(1).name).write_bytes(whole)
        assert [snapshot.step for snapshot in store.prune().drop] == [0]


def test_one_that_changes_while_it_is_read_is_an_error_and_nothing_goes(tmp_path, monkeypatch):
    def verify(snapshot):
        os.utime(snapshot, ns=(0, os.stat(snapshot).st_mtime_ns + 1))

    for step in range(3):
        written(tmp_path, step)
    monkeypatch.setattr(files, "verify", verify)
    with SnapshotStore(tmp_path) as store, pytest.raises(OSError, match="changes while it is read"):
        store.prune(keep.last(1))
    assert len(names(tmp_path)) == 3


def test_a_dry_run_and_a_plan_that_drops_nothing_read_no_data(tmp_path, verified):
    for step in range(4):
        written(tmp_path, step)
    with SnapshotStore(tmp_path) as store:
        store.plan(keep.last(1))
        store.prune(keep.last(4))
    assert verified == []


def test_a_snapshot_that_was_resumed_from_is_known_to_be_whole(tmp_path, verified):
    for step in range(4):
        written(tmp_path, step)
    with SnapshotStore(tmp_path) as store:
        store.resume({"w": np.zeros(4, np.float32)})
        store.prune(keep.last(1))
    assert verified == []


def test_a_damaged_newest_one_does_not_count_and_an_older_good_one_stays_for_it(tmp_path, caplog):
    for step in range(4):
        path = written(tmp_path, step)
    damage(path)
    with SnapshotStore(tmp_path) as store:
        result = store.prune(keep.last(1))
        assert [snapshot.step for snapshot in result.keep] == [2]
        assert [snapshot.step for snapshot in result.drop] == [0, 1]
        assert steps(store) == [2, 3]  # the damaged one is left where it is
    [record] = caplog.records
    assert "snapshot_00000003" in record.message


def test_where_everything_is_damaged_nothing_goes(tmp_path):
    for step in range(3):
        damage(written(tmp_path, step))
    with SnapshotStore(tmp_path) as store:
        assert store.prune(keep.last(1)).drop == ()
        assert steps(store) == [0, 1, 2]


def test_a_damaged_header_is_neither_kept_nor_dropped(tmp_path):
    damage(written(tmp_path, 0), header=True)
    written(tmp_path, 1)
    written(tmp_path, 2)
    with SnapshotStore(tmp_path) as store:
        result = store.prune(keep.last(1))
    assert [snapshot.step for snapshot in (*result.keep, *result.drop)] == [2, 1]
    assert names(tmp_path) == ["snapshot_00000000.safetensors", "snapshot_00000002.safetensors"]


def test_one_taken_on_an_error_is_no_proof_that_something_whole_stays(tmp_path, verified):
    for step in range(3):
        path = written(tmp_path, step)
    written(tmp_path, 3, reason="error")
    damage(path)
    with SnapshotStore(tmp_path) as store:
        collection, newest = store._collection, store.snapshots()[-1]
        collection._judge(newest, collection.catalog.stamp(newest.name), whole=True)
        result = store.prune(keep.last(1))
    assert verified == [2, 1]
    assert [snapshot.step for snapshot in result.keep] == [1, 3]


def test_a_store_whose_newest_one_cannot_be_read_removes_nothing(tmp_path, monkeypatch):
    def unreadable(snapshot):
        raise OSError(errno.EIO, "Input/output error", os.fspath(snapshot))

    for step in range(3):
        written(tmp_path, step)
    monkeypatch.setattr(files, "verify", unreadable)
    with SnapshotStore(tmp_path) as store, pytest.raises(OSError, match="Input/output error"):
        store.prune(keep.last(1))
    assert len(names(tmp_path)) == 3


def test_the_one_before_a_damaged_one_stays_while_it_is_the_only_other_good_one(tmp_path, writing):
    for step in range(4):
        path = written(tmp_path, step)
    damage(path)
    with writing.store(tmp_path, keep=keep.last(2)) as store:
        assert store.resume({"w": np.zeros(4, np.float32)})[1].step == 2
        saved(store, 3, state())  # replaces the damaged one
        saved(store, 4, state())
        assert steps(store) == [3, 4]
