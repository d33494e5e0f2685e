"""Pending: what it knows of a failure, how long things took, and the one line that the log has of it."""

from __future__ import annotations

import logging
import sys
import threading
from concurrent.futures import CancelledError, wait

import pytest

from holdfast.writers import Pending, skipped
from snapshots import made_up
from writers.jobs import Full


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.DEBUG, "holdfast")
    return lambda: [(record.levelname, record.getMessage()) for record in caplog.records]


def test_one_that_is_not_done_has_no_failure_yet_and_a_timeout_does_not_count_as_hearing_of_it():
    pending = Pending("slow")
    assert pending.unseen_failure() is None
    with pytest.raises(TimeoutError if sys.version_info >= (3, 11) else Exception):
        pending.result(timeout=0)
    pending.set_exception(Full("late"))
    assert str(pending.unseen_failure()) == "late"


def test_the_speed_is_known_once_it_is_written():
    pending = Pending("model", 3_000_000_000)
    assert (pending.stall_s, pending.write_s, pending.gb_per_s) == (0.0, None, None)
    pending.write_s = 2.0
    assert pending.gb_per_s == 1.5


@pytest.mark.parametrize("stall_first", [True, False])
def test_the_log_has_one_line_of_a_snapshot_with_all_that_was_measured(log, stall_first):
    pending = Pending("model_7", 3_000_000_000)
    pending.write_s = 2.0
    steps = [lambda: setattr(pending, "stall_s", 0.125), lambda: pending.finish("thread")]
    for step in steps if stall_first else reversed(steps):
        assert log() == []
        step()
    pending.stall_s = 0.5
    [(level, line)] = log()
    assert level == "DEBUG"
    for part in ("model_7", "3000000000 bytes", "0.1250 s", "2.0000 s", "1.50 GB/s", "'thread'"):
        assert part in line


def test_one_that_failed_has_no_line_of_its_own(log):
    pending = Pending("model_7")
    pending.set_exception(Full("full"))
    pending.finish("thread")
    pending.stall_s = 0.1
    assert log() == []


def test_waiting_ends_when_it_is_finished_and_not_when_it_is_done():
    pending = Pending("model")
    pending.set_result(made_up(1))
    assert not pending.wait_finished(0.01)
    assert not pending.is_finished()
    told = []
    waiting = [threading.Thread(target=lambda: told.append(pending.wait_finished(30))) for _ in range(3)]
    for thread in waiting:
        thread.start()
    pending.finish("inline")
    for thread in waiting:
        thread.join()
    assert told == [True] * 3
    assert pending.wait_finished(0)


def test_a_skipped_one_is_cancelled_finished_and_logged(log):
    pending = skipped("out/model_7")
    with pytest.raises(CancelledError):
        pending.result()
    assert wait([pending], 0).done == {pending}
    assert pending.is_finished()
    assert pending.unseen_failure() is None
    assert log() == [("INFO", "out/model_7: skipped, an earlier snapshot is still being written")]
