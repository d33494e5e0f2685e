"""What a store removes, when, and what it never does."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import threading
from contextlib import suppress
from datetime import timedelta

import numpy as np
import pytest

from holdfast import files, keep
from holdfast.errors import CommitError, NotFoundError
from holdfast.store import SnapshotStore
from snapshots import NOON, finished, names, saved, state, steps, written


def test_the_policy_is_applied_after_each_save(tmp_path, writing):
    with writing.store(tmp_path, keep=keep.last(2) | keep.best(1, "loss", mode="min")) as store:
        for step, loss in enumerate([0.5, 0.1, 0.4, 0.3, 0.2]):
            saved(store, step, state(), metrics={"loss": loss})
        assert steps(store) == [1, 3, 4]


def test_nothing_is_removed_before_the_newer_snapshot_and_its_name_are_durable(tmp_path, writing):
    written_calls = []

    def unlink(real, path):
        written_calls.extend(call.name for call in calls)
        real(path)

    with writing.store(tmp_path, keep=keep.last(1)) as store:
        saved(store, 1, state())
        with writing.here.instead_of("unlink", unlink), writing.faults.record() as calls:
            saved(store, 2, state())
    order = [name for name in written_calls if name in ("fsync", "rename")]
    assert order[order.index("rename") - 1 :] == ["fsync", "rename", "fsync"]


def test_the_names_of_what_was_removed_are_gone_for_good(tmp_path, faults):
    with SnapshotStore(tmp_path, keep=keep.last(1)) as store:
        saved(store, 1, state())
        with faults.record() as calls:
            saved(store, 2, state())
    order = [call.name for call in calls if call.name in ("fsync", "rename", "unlink")]
    assert order[order.index("rename") :] == ["rename", "fsync", "unlink", "fsync"]


@pytest.mark.parametrize("fault", ["open", "pwrite", "fsync", "rename"])
def test_a_snapshot_that_fails_costs_no_older_one(tmp_path, writing, fault):
    with writing.store(tmp_path, keep=keep.last(1)) as store:
        saved(store, 1, state())
        with writing.faults.error_at(fault, errno.EIO):
            pending = finished(store.save(2, state()))
        with pytest.raises(CommitError, match="snapshot_00000002"):
            pending.result()
        assert steps(store) == [1]
        saved(store, 3, state())
        assert steps(store) == [3]


def test_a_removal_that_fails_is_logged_and_made_up_for_at_the_next_save(tmp_path, faults, caplog, writing):
    with writing.store(tmp_path, keep=keep.last(1)) as store:
        saved(store, 1, state())
        with faults.error_at("unlink", errno.EIO):
            assert saved(store, 2, state()).step == 2
        [record] = caplog.records
        assert record.levelname == "WARNING"
        assert "saved, but older ones could not be removed" in record.message
        assert "snapshot_00000001" in record.message
        assert steps(store) == [1, 2]
        saved(store, 3, state())
        assert steps(store) == [3]


def test_a_store_that_cannot_be_listed_after_a_commit_is_logged_and_the_snapshot_stands(
    tmp_path, faults, caplog, writing
):
    with writing.store(tmp_path, keep=keep.last(1)) as store:
        saved(store, 1, state())
        with faults.error_at("scandir", errno.EIO):
            assert saved(store, 2, state()).step == 2
        assert len(caplog.records) == 1
        assert steps(store) == [1, 2]


def test_plan_says_what_prune_then_does(tmp_path, writing):
    with writing.store(tmp_path) as store:
        for step in range(5):
            saved(store, step, state())
        assert store.plan().drop == ()
        planned = store.plan(keep.last(2))
        assert steps(store) == [0, 1, 2, 3, 4]
        assert store.prune(keep.last(2)) == planned
        assert {snapshot.step: reasons for snapshot, reasons in planned.keep.items()} == {
            3: ("one of the last 2",),
            4: ("one of the last 2",),
        }
        assert steps(store) == [3, 4]
        assert store.prune().drop == ()


def test_prune_uses_the_policy_of_the_store_unless_it_is_given_one(tmp_path):
    for step in range(5):
        written(tmp_path, step)
    with SnapshotStore(tmp_path, keep=keep.last(3)) as store:
        store.prune()
        assert steps(store) == [2, 3, 4]
        with pytest.raises(TypeError, match="keep must be a policy"):
            store.prune(2)


def test_prune_raises_where_something_cannot_be_removed_and_removes_the_rest(tmp_path, faults):
    with SnapshotStore(tmp_path) as store:
        for step in range(4):
            saved(store, step, state())
        with (
            faults.error_at("unlink", errno.EACCES, 1),
            pytest.raises(CommitError, match=r"1 of 3 snapshots could not be removed; the first: .*00000000"),
        ):
            store.prune(keep.last(1))
        assert steps(store) == [0, 3]


def test_snapshots_of_another_run_that_are_copied_in_do_not_cost_the_one_that_was_just_saved(tmp_path, writing):
    with writing.store(tmp_path, keep=keep.last(1)) as store:
        saved(store, 1, state())
        written(tmp_path, 7, sequence=1000)
        saved(store, 2, state())
        assert steps(store) == [2, 7]
        assert store.plan().keep[store.at(2)] == ("the last that this run saved",)
        saved(store, 3, state())
        assert steps(store) == [3]


@pytest.mark.parametrize("same_store", [True, False])
def test_a_pin_that_comes_while_old_ones_are_removed_is_kept_or_refused(tmp_path, faults, same_store):
    for step in range(3):
        written(tmp_path, step)
    pinned = []

    def pin():
        try:
            pinned.append(other.pin(1))
        except NotFoundError:
            pinned.append(None)

    def unlink(real, path):
        if path.endswith("00000000.safetensors"):
            threads[0].start()
            threads[0].join(0.1)  # it waits for the removal
            assert pinned == []
        real(path)

    with SnapshotStore(tmp_path) as store, SnapshotStore(tmp_path) as second:
        other = store if same_store else second
        threads = [threading.Thread(target=pin)]
        with faults.instead_of("unlink", unlink):
            store.prune(keep.last(1))
        threads[0].join()
        assert steps(store) == [2]
    assert pinned == [None]


def test_a_snapshot_that_is_replaced_between_plan_and_removal_stays(tmp_path, monkeypatch, caplog):
    with SnapshotStore(tmp_path) as store:
        for step in range(3):
            saved(store, step, state())
        planned = store.plan(keep.last(1))
        saved(store, 0, state())
        monkeypatch.setattr(type(store._collection), "plan", lambda self, policy: planned)
        store.prune(keep.last(1))
        monkeypatch.undo()
        assert steps(store) == [2, 0]
    assert ["it is another file by now" in record.message for record in caplog.records] == [True]


def test_files_and_directories_of_others_stay(tmp_path, writing):
    others = {
        "snapshot_best.safetensors": b"not a snapshot",
        "snapshot_card.md": b"words",
        "snapshot_00000001.safetensors.bak": bytes(5000),
        "log": b"{}",
    }
    for name, content in others.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "snapshot_00000002.safetensors").mkdir()
    (tmp_path / "snapshot_00000002.safetensors" / "precious").write_text("x")
    shutil.copy(written(tmp_path, 0), tmp_path / "copy.safetensors")
    written(tmp_path, 5, role="trainer", template="snapshot_iter_{.updater.iteration}", name="snapshot_iter_5")
    written(tmp_path, 6, template="gen_{step}")
    files.save(tmp_path / "by_hand.safetensors", state())
    (tmp_path / "link").symlink_to(tmp_path / "copy.safetensors")
    before = names(tmp_path)
    with writing.store(tmp_path, keep=keep.last(1)) as store:
        for step in range(10, 14):
            saved(store, step, state())
        assert steps(store) == [13]
    gone = {"snapshot_00000000.safetensors"}
    assert set(names(tmp_path)) == (set(before) - gone) | {"snapshot_00000013.safetensors"}
    assert {name: (tmp_path / name).read_bytes() for name in others} == others


def test_a_changed_template_leaves_the_snapshots_of_the_old_one_alone(tmp_path, writing):
    with writing.store(tmp_path, filename="old_{step}", keep=keep.last(2)) as store:
        for step in range(3):
            saved(store, step, state())
    with writing.store(tmp_path, filename="new_{step}", keep=keep.last(2)) as store:
        for step in range(3, 6):
            saved(store, step, state())
        assert [snapshot.sequence for snapshot in store.snapshots()] == [5, 6]
    assert names(tmp_path) == ["new_4", "new_5", "old_1", "old_2"]


@pytest.mark.parametrize("jump", [timedelta(days=900), timedelta(days=-9000)])
def test_clocks_play_no_part(tmp_path, jump):
    for step in range(3):
        path = written(tmp_path, step, created_at=NOON + jump if step == 1 else NOON)
        os.utime(path, ns=(step * 10**9, (3 - step) * 10**18))
    with SnapshotStore(tmp_path, keep=keep.last(2)) as store:
        saved(store, 3, state())
        assert steps(store) == [2, 3]


def test_the_snapshot_resumed_from_stays_until_as_many_newer_ones_as_the_policy_keeps_are_durable(tmp_path, writing):
    for step in range(6):
        written(tmp_path, step)
    with writing.store(tmp_path, keep=keep.last(3)) as store:
        assert store.resume({"w": np.zeros(4, np.float32)}, step=1)[1].step == 1
        seen = []
        for step in (10, 11, 12):
            saved(store, step, state())
            seen.append(steps(store))
    assert seen == [[1, 4, 5, 10], [1, 5, 10, 11], [10, 11, 12]]


def test_pinned_snapshots_stay_until_they_are_unpinned_also_after_the_store_was_opened_again(tmp_path, writing):
    with writing.store(tmp_path, keep=keep.last(1)) as store:
        saved(store, 1, state())
        assert store.pin(1).step == 1
    with writing.store(tmp_path, keep=keep.last(1)) as store:
        saved(store, 2, state())
        assert steps(store) == [1, 2]
        assert store.plan().keep[store.at(1)] == ("pinned",)
        saved(store, 1, state())  # replaces it: what has the name is pinned
        saved(store, 3, state())
        assert steps(store) == [1, 3]
        store.unpin(1)
        saved(store, 4, state())
    assert names(tmp_path) == ["snapshot_00000004.safetensors"]


def test_only_a_snapshot_that_is_there_can_be_pinned(tmp_path):
    with SnapshotStore(tmp_path) as store:
        for change in (store.pin, store.unpin):
            with pytest.raises(NotFoundError, match="no snapshot of step 3"):
                change(3)
    assert names(tmp_path) == []


def test_removing_is_worth_no_line_in_the_log(tmp_path, caplog, writing):
    with caplog.at_level(logging.INFO, "holdfast"), writing.store(tmp_path, keep=keep.last(1)) as store:
        store.save(1, state())
        store.save(2, state())
        store.wait()
        assert steps(store) == [2]
    assert [record.message for record in caplog.records] == ["a copy of the state takes 32 bytes of memory"]


@pytest.mark.timeout(30)
def test_an_interrupt_while_an_old_one_is_removed_leaves_nobody_waiting_and_the_snapshot_stands(tmp_path, writing):
    def unlink(real, path):
        raise KeyboardInterrupt

    with writing.store(tmp_path, keep=keep.last(1)) as store:
        saved(store, 1, state())
        with writing.here.instead_of("unlink", unlink), suppress(KeyboardInterrupt):
            finished(store.save(2, state()))
        store.wait()
        assert steps(store) == [1, 2]
        saved(store, 3, state())
        assert steps(store) == [3]
