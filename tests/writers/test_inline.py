"""InlineWriter: done when submit returns, and no failure is lost."""

from __future__ import annotations

import logging
import subprocess
import sys
from concurrent.futures import CancelledError, wait
from contextlib import suppress

import pytest

from holdfast.writers import InlineWriter, Job, Pending
from snapshots import made_up


class Full(OSError):
    """The disk is full."""


def good(number: int = 1) -> Job:
    return Job(f"good_{number}", lambda: made_up(number))


def bad(message: str = "bad") -> Job:
    def fail():
        raise Full(message)

    return Job(message, fail)


@pytest.fixture
def writer():
    return InlineWriter()


def test_a_job_is_done_when_submit_returns(writer):
    pending = writer.submit(good(3))
    assert pending.done()
    assert pending.result() == made_up(3)
    assert (pending.exception(), pending.name) == (None, "good_3")
    writer.close()


def test_the_time_that_the_caller_stood_still_is_told(writer, monkeypatch):
    clock = iter([10.0, 12.5])
    monkeypatch.setattr("holdfast.writers.inline.time.perf_counter", lambda: next(clock))
    assert writer.submit(good()).stall_s == 2.5


def test_jobs_are_called_once_and_in_their_order(writer):
    calls = []
    for number in range(3):
        writer.submit(Job("job", lambda number=number: calls.append(number) or made_up(number)))
    writer.close()
    assert calls == [0, 1, 2]


def test_a_failure_comes_out_of_the_result(writer):
    pending = writer.submit(bad())
    with pytest.raises(Full, match="bad"):
        pending.result()
    assert isinstance(pending.exception(), Full)


def test_a_failure_that_nobody_asked_for_is_raised_at_the_next_submit_which_does_its_job_nevertheless(writer):
    calls = []
    writer.submit(bad("first"))
    with pytest.raises(Full, match="first"):
        writer.submit(Job("second", lambda: calls.append(2) or made_up(2)))
    assert calls == [2]
    assert writer.submit(good(3)).result() == made_up(3)
    writer.close()


def test_two_failures_in_a_row_are_both_raised(writer):
    writer.submit(bad("first"))
    with pytest.raises(Full, match="first"):
        writer.submit(bad("second"))
    with pytest.raises(Full, match="second"):
        writer.close()


@pytest.mark.parametrize("ask", [Pending.exception, Pending.result])
def test_a_failure_that_was_handed_out_is_not_raised_again(writer, ask):
    pending = writer.submit(bad())
    with suppress(Full):
        ask(pending)
    writer.submit(good()).result()
    writer.close()


def test_a_failure_that_a_callback_was_given_is_not_raised_again(writer):
    heard = []
    writer.submit(bad("heard")).add_done_callback(lambda pending: heard.append(str(pending.exception())))
    writer.close()
    assert heard == ["heard"]


def test_waiting_without_asking_is_not_hearing_of_it(writer):
    wait([writer.submit(bad("unheard"))])
    with pytest.raises(Full, match="unheard"):
        writer.close()


def test_a_failure_is_raised_at_close_and_closing_again_does_nothing(writer):
    writer.submit(bad())
    with pytest.raises(Full):
        writer.close()
    writer.close()


def test_submit_after_close_is_an_error_and_nothing_is_done(writer):
    writer.close()
    with pytest.raises(ValueError, match=r"late: this writer is closed"):
        writer.submit(Job("late", pytest.fail))


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_no_exception_passes_through_at_once_and_is_not_remembered(writer, kind):
    def interrupted():
        raise kind

    with pytest.raises(kind):
        writer.submit(Job("interrupted", interrupted))
    writer.submit(good()).result()
    writer.close()


def test_an_interrupt_does_not_make_an_earlier_failure_forgotten(writer):
    def interrupted():
        raise KeyboardInterrupt

    writer.submit(bad("before"))
    with pytest.raises(KeyboardInterrupt):
        writer.submit(Job("interrupted", interrupted))
    with pytest.raises(Full, match="before"):
        writer.close()


def test_a_pending_that_is_not_done_has_no_failure_yet_and_a_timeout_does_not_count_as_hearing_of_it():
    pending = Pending("slow")
    assert pending.unseen_failure() is None
    with pytest.raises(TimeoutError if sys.version_info >= (3, 11) else Exception):
        pending.result(timeout=0)
    pending.set_exception(Full("late"))
    assert str(pending.unseen_failure()) == "late"


def test_a_cancelled_pending_is_no_failure():
    pending = Pending("skipped")
    assert pending.cancel()
    assert pending.unseen_failure() is None
    with pytest.raises(CancelledError):
        pending.result()


PROGRAM = """
import logging
from holdfast.writers import InlineWriter, Job
logging.basicConfig(format="%(levelname)s %(name)s %(message)s")
def fail():
    raise OSError("the disk is full")
writer = InlineWriter()
pending = writer.submit(Job("model_7", fail))
"""


@pytest.mark.parametrize(
    ("more", "wanted"),
    [("", "ERROR holdfast model_7: not kept, and nobody was told: the disk is full\n"), ("pending.exception()", "")],
)
def test_a_failure_that_nobody_has_heard_of_at_the_end_of_the_program_is_logged(more, wanted):
    done = subprocess.run([sys.executable, "-c", PROGRAM + more], capture_output=True, text=True, check=True)
    assert done.stderr == wanted


def test_nothing_is_logged_where_a_failure_is_raised(writer, caplog):
    with caplog.at_level(logging.DEBUG):
        writer.submit(bad())
        with pytest.raises(Full):
            writer.close()
    assert caplog.records == []
