"""What goes wrong in the background reaches the training: at the next call, and at the end, with the snapshot's name.
The one after it succeeds, and nothing hangs; with every writer, through the store and through a trainer."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from itertools import product
from typing import Any

import numpy as np
import pytest

import holdfast
from engine import savefuns
from faults.writing import IN_ANOTHER, WRITERS, Writing, name_of
from holdfast import lock
from holdfast.errors import CommitError
from holdfast.series import Series
from holdfast.store import SnapshotStore
from holdfast.training import Trainer
from holdfast.training.extensions import snapshot_object
from holdfast.writers import SimpleWriter
from snapshots import finished, saved
from training.fakes import CountingUpdater

pytestmark = pytest.mark.timeout(60)

Fault = Callable[[Writing], AbstractContextManager[Any]]


def full_disk(writing: Writing) -> AbstractContextManager[Any]:
    """ENOSPC, before anything was written"""
    return writing.faults.error_at("allocate", errno.ENOSPC)


def disk_that_fills_up(writing: Writing) -> AbstractContextManager[Any]:
    """ENOSPC, in the middle"""
    return writing.faults.error_at("pwrite", errno.ENOSPC)


def fsync_that_fails(writing: Writing) -> AbstractContextManager[Any]:
    """EIO"""
    return writing.faults.error_at("fsync", errno.EIO)


def killed_writer(writing: Writing) -> AbstractContextManager[Any]:
    """SIGKILL of the process that writes"""
    return writing.faults.crash_before("rename")


FAULTS: list[Fault] = [full_disk, disk_that_fills_up, fsync_that_fails]

with_every_fault = pytest.mark.parametrize(
    ("writing", "fault"),
    [*product(WRITERS, FAULTS), *product(IN_ANOTHER, [killed_writer])],
    ids=name_of,
    indirect=["writing"],
)


def state(value: float) -> dict[str, Any]:
    return {"w": np.full(1 << 18, value)}  # large enough for its room to be reserved


# the store


@with_every_fault
@pytest.mark.parametrize("end", [None, SnapshotStore.wait, SnapshotStore.close], ids=["save", "wait", "close"])
def test_the_next_call_raises_it_or_the_end_and_the_next_one_succeeds(tmp_path, writing, fault, end):
    store = writing.store(tmp_path)
    saved(store, 1, state(1))
    with fault(writing):
        finished(store.save(2, state(2)))
    with pytest.raises(CommitError, match="snapshot_00000002"):
        store.save(3, state(3)) if end is None else end(store)
    if end is SnapshotStore.close:
        store = writing.store(tmp_path)
    if end is not None:
        saved(store, 3, state(3))
    store.close()  # raises it no more
    assert lock.share_of(str(tmp_path)) == -1, "it is still locked"
    with SnapshotStore(tmp_path, readonly=True) as reader:
        assert [one.step for one in reader.snapshots()] == [1, 3]
        assert [holdfast.verify(one).step for one in reader.snapshots()] == [1, 3]


@pytest.mark.parametrize("writing", IN_ANOTHER, ids=name_of, indirect=True)
def test_a_writer_process_that_is_killed_while_it_has_nothing_to_do_costs_nothing(tmp_path, writing):
    with writing.store(tmp_path) as store:
        for step in range(1, 4):
            saved(store, step, state(step))
            helper = store._writer._carrier._helper
            os.kill(helper.pid, signal.SIGKILL)
            helper._thread.join()
        assert [one.step for one in store.snapshots()] == [1, 2, 3]


# a trainer


class Interfering(CountingUpdater):
    """Lets the snapshot of one iteration fail, and nothing else."""

    def __init__(self, failing: int, fault: Callable[[], AbstractContextManager[Any]], pending: list[Any]) -> None:
        super().__init__()
        self._failing = failing
        self._fault = fault
        self._pending = pending
        self.armed = ExitStack()

    def update(self) -> None:
        for one in self._pending:
            finished(one)
        self.armed.close()
        super().update()
        if self.iteration == self._failing:
            self.armed.enter_context(self._fault())


@pytest.fixture
def pending(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The Futures of all snapshots that were taken."""
    taken = []

    def job(self: Series, *arguments: Any) -> Any:
        made = real(self, *arguments)
        taken.append(made.pending)
        return made

    real = Series._job
    monkeypatch.setattr(Series, "_job", job)
    return taken


def run(folder: Any, updater: Any, stop: int, **arguments: Any) -> Trainer:
    trainer = Trainer(updater, (stop, "iteration"), out=folder)
    each = (1, "iteration")
    trainer.extend(snapshot_object(state(0), "w_{.updater.iteration}", **arguments), trigger=each)
    trainer.run()
    return trainer


def iterations(folder: Any) -> list[int]:
    """Of the snapshots that are there, and whole."""
    return sorted(holdfast.verify(path).step for path in folder.glob("w_*"))


@with_every_fault
def test_a_trainer_ends_with_it_at_the_next_snapshot_which_is_taken_nevertheless(tmp_path, writing, fault, pending):
    updater = Interfering(2, lambda: fault(writing), pending)
    with updater.armed, pytest.raises(CommitError, match="w_2"):
        run(tmp_path, updater, 5, writer=writing.kind())
    is_late = updater.iteration == 3
    assert is_late or writing.kind is SimpleWriter or pending[1].done()
    assert iterations(tmp_path) == ([1, 3] if is_late else [1])
    assert lock.share_of(str(tmp_path)) == -1, "it is still locked"
    run(tmp_path, Interfering(-1, ExitStack, pending), 2, writer=writing.kind(), autoload=True)
    assert iterations(tmp_path) == [1, 2, 3] if is_late else [1, 2]


@with_every_fault
def test_a_trainer_ends_with_it_at_the_latest_when_it_is_done(tmp_path, writing, fault, pending):
    updater = Interfering(3, lambda: fault(writing), pending)
    with updater.armed, pytest.raises(CommitError, match="w_3"):
        run(tmp_path, updater, 3, writer=writing.kind())
    assert iterations(tmp_path) == [1, 2]
    assert lock.share_of(str(tmp_path)) == -1, "it is still locked"


@with_every_fault
def test_a_trainer_that_is_told_so_goes_on_and_says_it_once(tmp_path, writing, fault, pending, caplog):
    updater = Interfering(2, lambda: fault(writing), pending)
    with updater.armed:
        run(tmp_path, updater, 4, writer=writing.kind(), on_failure="warn")
    assert iterations(tmp_path) == [1, 3, 4]
    told = [record.message for record in caplog.records if "was not taken" in record.message]
    assert len(told) == 1
    assert "'w_2'" in told[0]


# a savefun


def files(folder: Any) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


@pytest.mark.parametrize("kind", WRITERS, ids=name_of)
@pytest.mark.parametrize("stop", [2, 8])
def test_a_savefun_that_raises_ends_the_run_and_costs_no_other_snapshot(tmp_path, kind, stop):
    updater = CountingUpdater()
    with pytest.raises((ValueError, CommitError), match="the savefun is not well") as error:
        run(tmp_path, updater, stop, writer=kind(savefuns.failing_once))
    assert "w_2" in str(error.value) or kind is SimpleWriter
    assert files(tmp_path) == [f"w_{number}" for number in range(1, updater.iteration + 1) if number != 2]
    assert lock.share_of(str(tmp_path)) == -1, "it is still locked"


@pytest.mark.parametrize("kind", IN_ANOTHER, ids=name_of)
@pytest.mark.parametrize("stop", [2, 8])
def test_a_savefun_that_takes_its_process_with_it_ends_the_run_and_the_next_one_has_another(tmp_path, kind, stop):
    updater = CountingUpdater()
    with pytest.raises(CommitError, match=r"w_[23].*ended with status 7"):
        run(tmp_path, updater, stop, writer=kind(savefuns.dying_once))
    assert {"w_1"} <= set(files(tmp_path)) <= {f"w_{number}" for number in range(1, stop + 1)} - {"w_2"}
