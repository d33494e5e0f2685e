"""store.save: what is written, when, and the ways in which a failure comes out."""

from __future__ import annotations

import errno
import math
import os
import threading

import numpy as np
import pytest

from faults.injection import Faults
from holdfast import files, keep, lock, staging
from holdfast.errors import CaptureError, CommitError, StagingError
from holdfast.store import SnapshotStore
from holdfast.writers import Job, SimpleWriter, ThreadWriter
from holdfast.writers.outcome import carry_out
from snapshots import finished, saved, written


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


# saving


def test_a_saved_snapshot_is_a_whole_file_with_everything_that_was_said_of_it(store, location):
    pending = store.save(7, state(7), metrics={"loss": 0.25}, metadata={"note": ["x", 1]})
    snapshot = pending.result()
    assert files.verify(snapshot).step == 7
    assert os.fspath(snapshot) == str(location / "snapshot_00000007.safetensors")
    assert (snapshot.step, snapshot.metrics, snapshot.reason, snapshot.sequence) == (7, {"loss": 0.25}, "save", 1)
    assert (snapshot.role, snapshot.template) == ("store", "snapshot_{step:08d}.safetensors")
    assert (snapshot.run_id, snapshot.metadata) == (store.run_id, {"note": ["x", 1]})
    assert store.snapshots() == [snapshot]
    assert 0 < pending.stall_s < 60


def test_the_time_that_save_took_includes_the_copy(location, monkeypatch):
    with SnapshotStore(location, writer=SimpleWriter()) as store:
        clock = iter([10.0, 11.0, 12.0, 15.0])  # save, writing, written, saved
        monkeypatch.setattr("time.perf_counter", lambda: next(clock))
        pending = store.save(1, state())
        assert (pending.stall_s, pending.write_s) == (5.0, 1.0)


def test_every_writer_says_how_long_everything_took(location, writing):
    with writing.store(location) as store:
        pending = store.save(1, state())
        size_bytes = pending.result().size_bytes
    assert 0 < pending.stall_s < 60
    assert 0 < pending.write_s < 60
    assert pending.gb_per_s == pytest.approx(pending.size_bytes / pending.write_s / 1e9)
    assert 0 < pending.size_bytes <= size_bytes


@pytest.mark.parametrize("step", [np.int64(3), np.array(3), 3])
def test_every_kind_of_int_is_a_step(store, step):
    assert store.save(step, state()).result().step == 3
    assert type(store.at(step).step) is int


@pytest.mark.parametrize(
    ("step", "error"), [(-1, ValueError), (1.0, TypeError), (True, TypeError), ("1", TypeError), (None, TypeError)]
)
def test_what_is_no_number_of_finished_steps_is_refused(store, step, error):
    with pytest.raises(error, match="number of finished steps"):
        store.save(step, state())


def test_the_same_step_again_replaces_its_file_and_is_the_newest(store):
    for step in (1, 2, 1):
        store.save(step, state(step + 0.5)).result()
    assert [(one.step, one.sequence) for one in store.snapshots()] == [(2, 2), (1, 3)]
    assert store.latest().step == 1


def test_metrics_are_numbers_or_arrays_of_no_dimension(store):
    torch = pytest.importorskip("torch")
    jnp = pytest.importorskip("jax.numpy")
    metrics = {
        "python": 1,
        "nan": math.nan,
        "numpy": np.float32(0.5),
        "array": np.array(0.25),
        "torch": torch.tensor(2.0, requires_grad=True),
        "jax": jnp.asarray(3.0),
    }
    store.save(1, state(), metrics=metrics).result()
    found = dict(store.at(1).metrics)
    assert math.isnan(found.pop("nan"))
    assert found == {"python": 1.0, "numpy": 0.5, "array": 0.25, "torch": 2.0, "jax": 3.0}
    assert {type(value) for value in found.values()} == {float}


@pytest.mark.parametrize("metrics", [{1: 0.5}, {"a": "0.5"}, {"a": None}, {"a": np.zeros(1)}, {"a": [1]}, {"a": 1j}])
def test_what_is_no_metric_is_refused_at_once_and_nothing_is_written(store, location, metrics):
    with pytest.raises(TypeError, match="metric"):
        store.save(1, state(), metrics=metrics)
    assert names(location) == []


def test_metadata_that_is_no_json_is_refused_at_once(store, location):
    with pytest.raises(ValueError, match="metadata"):
        store.save(1, state(), metadata={"array": np.zeros(2)})
    assert names(location) == []


def test_a_target_that_cannot_be_captured_is_refused_at_once_and_the_next_save_works(store, location):
    with pytest.raises(CaptureError, match="'w/bad'"):
        store.save(1, {"w": {"bad": object()}})
    assert names(location) == []
    assert store.save(2, state()).result().step == 2


def test_facts_that_do_not_fit_a_header_come_out_of_the_future(store):
    pending = store.save(1, state(), metrics={f"metric_{number:05d}": 0.1 for number in range(500)})
    with pytest.raises(CaptureError, match="'metrics'"):
        pending.result()
    store.save(2, state()).result()


class LaterWriter:
    """Does its jobs when it is told to, as a writer in the background does; it has no attributes."""

    def __init__(self):
        self.jobs: list[Job] = []
        self.closed = 0

    def submit(self, job):
        self.jobs.append(job)
        return job.pending

    def do(self):
        while self.jobs:
            carry_out(self.jobs.pop(0), "later")

    def close(self):
        self.closed += 1
        self.do()


def test_what_is_written_is_the_state_at_the_moment_of_the_call(location):
    target, metrics, metadata = state(1), {"loss": 1.0}, {"list": [1]}
    writer = LaterWriter()
    with SnapshotStore(location, writer=writer) as store:
        for step in (1, 2, 3):
            target["w"][:] = step
            store.save(step, target, metrics=metrics, metadata=metadata)
        target["w"][:] = 9
        metrics["loss"] = 9.0
        metadata["list"].append(9)
        writer.do()
        for step in (1, 2, 3):
            assert files.load(store.at(step))["w"].tolist() == [step] * 8
            assert (store.at(step).metrics, store.at(step).metadata) == ({"loss": 1.0}, {"list": [1]})
    assert writer.closed == 1


def test_one_arena_serves_every_snapshot_of_an_idle_store(location, monkeypatch):
    class Counted(staging.Arena):
        made = 0

        def __init__(self, **arguments):
            Counted.made += 1
            super().__init__(**arguments)

    monkeypatch.setattr(staging, "Arena", Counted)
    writer = LaterWriter()  # which takes as many jobs as there are
    with SnapshotStore(location, writer=writer) as store:
        for step in range(3):
            store.save(step, state())
            writer.do()
        with pytest.raises(CaptureError):
            store.save(4, object())
        store.save(5, state())
        assert Counted.made == 1
        store.save(6, state())
        assert Counted.made == 2


def test_a_store_with_one_slot_is_free_again_after_a_snapshot_that_could_not_be_taken(location, writing):
    with SnapshotStore(location, writer=writing.kind(budget_bytes=1000)) as store:
        for _ in range(3):
            with pytest.raises(CaptureError):
                store.save(1, object())
            with pytest.raises(StagingError, match="budget_bytes allows 1000"):
                store.save(1, {"w": np.zeros(1000)})
        assert store.save(2, state()).result(60).step == 2


def test_wait_returns_when_a_writer_in_the_background_is_done(location):
    writer = LaterWriter()
    with SnapshotStore(location, writer=writer) as store:
        store.save(1, state())
        background = threading.Timer(0.05, writer.do)
        background.start()
        store.wait()
        assert store.at(1).step == 1
        background.join()


@pytest.mark.parametrize("end", [SnapshotStore.close, SnapshotStore.wait])
def test_wait_and_close_return_when_old_snapshots_are_removed_too(location, writing, end):
    store = writing.store(location, keep=keep.last(1))
    for step in range(1, 4):
        store.save(step, state(step))
    end(store)
    assert names(location) == ["snapshot_00000003.safetensors"]
    store.close()


def test_a_busy_writer_that_skips_gives_a_cancelled_future_and_the_next_one_is_taken(location, caplog):
    blocked, go_on = threading.Event(), threading.Event()

    def rename(real, *arguments):
        blocked.set()
        assert go_on.wait(60)
        real(*arguments)

    faults = Faults()
    with pytest.MonkeyPatch.context() as patch, SnapshotStore(location, writer=ThreadWriter(when_busy="skip")) as store:
        faults.install(patch)
        with faults.instead_of("rename", rename), caplog.at_level("INFO", "holdfast"):
            first = store.save(1, state())
            assert blocked.wait(60)
            second = store.save(2, state())
            assert second.cancelled()
            assert second.done()
            go_on.set()
            finished(first)
        assert [record.message for record in caplog.records if "skipped" in record.message] == [
            f"{location / 'snapshot_00000002.safetensors'}: skipped, an earlier snapshot is still being written"
        ]
        assert saved(store, 3, state()).step == 3
        assert steps(store.snapshots()) == [1, 3]


def test_the_run_id_is_that_of_the_newest_snapshot_and_new_in_an_empty_store(location):
    with SnapshotStore(location) as store:
        first = store.run_id
        store.save(1, state())
    with SnapshotStore(location) as store:
        assert store.run_id == first
        assert len(first) == 32
    with SnapshotStore(location / "other") as store:
        assert store.run_id != first
    written(location, 2, sequence=50)
    with SnapshotStore(location) as store:
        assert store.run_id == "a" * 32
        assert store.save(3, state()).result().sequence == 51


def test_a_name_may_lead_into_a_sub_directory(location):
    with SnapshotStore(location, filename="model/it_{step}.safetensors", keep=keep.last(2)) as store:
        for step in range(4):
            store.save(step, state(step)).result()
        store.pin(3)
        assert names(location / "model") == [".it_3.safetensors.holdfast-pin", "it_2.safetensors", "it_3.safetensors"]
        assert store.resume(state())[1].step == 3


# failures, with every writer


def test_a_failed_commit_comes_out_of_the_future_and_is_then_over(location, writing):
    with writing.store(location) as store:
        with writing.faults.error_at("fsync", errno.EIO):
            pending = finished(store.save(1, state()))
        with pytest.raises(CommitError, match="snapshot_00000001") as error:
            pending.result()
        assert error.value.errno == errno.EIO
        store.save(2, state()).result()
    assert names(location) == ["snapshot_00000002.safetensors"]


def test_a_failure_that_nobody_asked_for_is_raised_by_the_next_save_which_saves_nevertheless(location, writing):
    with writing.store(location) as store:
        with writing.faults.error_at("pwrite", errno.ENOSPC):
            finished(store.save(1, state()))
        with pytest.raises(CommitError, match="snapshot_00000001"):
            store.save(2, state())
        store.wait()
        assert steps(store.snapshots()) == [2]
        store.save(3, state()).result()


@pytest.mark.parametrize("end", [SnapshotStore.close, SnapshotStore.wait])
def test_a_failure_that_nobody_asked_for_is_raised_at_the_end_and_the_lock_is_released(location, writing, end):
    store = writing.store(location)
    with writing.faults.error_at("pwrite", errno.ENOSPC):
        finished(store.save(1, state()))
    with pytest.raises(CommitError, match="snapshot_00000001"):
        end(store)
    store.close()
    assert lock._held == {}


def test_an_error_of_the_block_is_not_hidden_by_a_failed_snapshot(location, writing, caplog):
    def fail_twice(store):
        with store:
            with writing.faults.error_at("pwrite", errno.ENOSPC):
                finished(store.save(1, state()))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_twice(writing.store(location))
    [record] = caplog.records
    assert "snapshot_00000001" in record.message
    assert lock._held == {}


def test_with_warn_a_failure_is_logged_once_and_never_raised_unless_somebody_asks(location, writing, caplog):
    with writing.store(location, on_failure="warn") as store:
        with writing.faults.error_at("pwrite", errno.ENOSPC):
            pending = finished(store.save(1, state()))
        store.wait()
        store.save(2, state()).result()
        with pytest.raises(CommitError):
            pending.result()
    [record] = caplog.records
    assert (record.levelname, record.name) == ("WARNING", "holdfast")
    assert "snapshot_00000001" in record.message


def test_with_warn_a_target_that_cannot_be_captured_is_still_an_error(location):
    with SnapshotStore(location, on_failure="warn") as store, pytest.raises(CaptureError):
        store.save(1, object())
