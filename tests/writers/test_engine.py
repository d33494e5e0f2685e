"""What every writer promises: each job is done once, in order; no failure is lost; nothing hangs."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from concurrent.futures import wait
from contextlib import suppress

import pytest

from holdfast import writers
from holdfast.errors import CommitError
from holdfast.writers import Job, Pending
from snapshots import made_up
from writers.jobs import BACKGROUND, WRITERS, Full, Gate, bad, file_job, good


@pytest.fixture(params=WRITERS)
def writer(request):
    writer = getattr(writers, request.param)()
    yield writer
    with suppress(Exception):
        writer.close()


@pytest.fixture(params=BACKGROUND)
def background(request):
    writer = getattr(writers, request.param)()
    yield writer
    with suppress(Exception):
        writer.close()


def done(pending):
    assert pending.wait_finished(30)
    return pending


def test_a_job_is_done_once_and_gives_its_snapshot(writer):
    calls = []
    pending = writer.submit(Job("job_3", lambda: calls.append(3) or made_up(3)))
    assert pending.result(30) == made_up(3)
    assert (pending.exception(), pending.name) == (None, "job_3")
    writer.close()
    assert calls == [3]


def test_jobs_are_carried_out_in_their_order(writer):
    calls = []
    for number in range(20):
        writer.submit(Job("job", lambda number=number: calls.append(number) or made_up(number)))
    writer.close()
    assert calls == list(range(20))


def test_memory_is_released_before_the_future_is_done_and_old_ones_are_removed_after(writer):
    order = []
    job = good(release=lambda: order.append("release"), after=lambda snapshot: order.append(("after", snapshot)))
    job.pending.add_done_callback(lambda pending: order.append("done"))
    done(writer.submit(job))
    assert order == ["release", "done", ("after", made_up(1))]


def test_memory_is_released_once_when_a_job_fails_and_nothing_is_removed(writer):
    order = []
    job = bad(release=lambda: order.append("release"), after=lambda snapshot: order.append("after"))
    with pytest.raises(Full):
        done(writer.submit(job)).result()
    assert order == ["release"]


def test_a_job_that_is_done_holds_nothing_any_more(writer):
    class Held:
        def __call__(self, *arguments):
            return made_up(1)

    job = Job("job", Held(), release=Held(), after=Held())
    done(writer.submit(job))
    assert not any(isinstance(one, Held) for one in (job.commit, job.release, job.after))


def test_what_release_or_after_raise_costs_no_snapshot_and_is_logged(writer, caplog):
    def fail(*arguments):
        raise RuntimeError("broken")

    assert done(writer.submit(good(release=fail, after=fail))).result() == made_up(1)
    writer.close()
    assert [record.levelname for record in caplog.records if "good_1" in record.getMessage()] == ["ERROR"] * 2


def test_a_failure_that_nobody_asked_for_is_raised_at_the_next_submit_which_does_its_job_nevertheless(writer):
    calls = []
    done(writer.submit(bad("first")))
    with pytest.raises(Full, match="first"):
        writer.submit(Job("second", lambda: calls.append(2) or made_up(2)))
    assert writer.submit(good(3)).result(30) == made_up(3)
    assert calls == [2]
    writer.close()


def test_a_failure_is_raised_at_close_and_closing_again_does_nothing(writer):
    writer.submit(bad())
    with pytest.raises(Full):
        writer.close()
    writer.close()


def test_two_failures_in_a_row_are_both_raised(writer):
    done(writer.submit(bad("first")))
    with pytest.raises(Full, match="first"):
        writer.submit(bad("second"))
    with pytest.raises(Full, match="second"):
        writer.close()


def test_a_failure_that_does_not_say_which_snapshot_it_is_about_is_wrapped_in_one_that_does(writer):
    def fail():
        raise OSError(28, "No space left on device")

    writer.submit(Job("model_7", fail))
    with pytest.raises(CommitError, match=r"model_7.*No space left") as raised:
        writer.close()
    assert raised.value.errno == 28


@pytest.mark.parametrize("ask", [Pending.exception, Pending.result])
def test_a_failure_that_was_handed_out_is_not_raised_again(writer, ask):
    pending = writer.submit(bad())
    with suppress(Full):
        ask(pending)
    writer.submit(good()).result(30)
    writer.close()


def test_a_failure_that_a_callback_was_given_is_not_raised_again(writer):
    heard = []
    job = bad("heard")
    job.pending.add_done_callback(lambda pending: heard.append(str(pending.exception())))
    writer.submit(job)
    writer.close()
    assert heard == ["heard"]


def test_waiting_without_asking_is_not_hearing_of_it(writer):
    wait([writer.submit(bad("unheard"))], 30)
    with pytest.raises(Full, match="unheard"):
        writer.close()


def test_submit_after_close_is_an_error_and_nothing_is_done_but_memory_is_released(writer):
    released = []
    writer.close()
    job = Job("late", pytest.fail, release=lambda: released.append(1))
    with pytest.raises(ValueError, match=r"late: this writer is closed"):
        writer.submit(job)
    assert released == [1]
    assert job.pending.cancelled()


def test_hooks_run_after_each_snapshot_that_was_saved_and_after_no_other(writer):
    hooked = []
    writer._add_cleanup_hook(lambda: hooked.append(1))
    done(writer.submit(good()))
    with suppress(Full):
        done(writer.submit(bad())).result()
    done(writer.submit(good()))
    writer.close()
    assert hooked == [1, 1]


def test_a_failing_disk_costs_one_snapshot_and_is_reported_with_every_writer(writer, tmp_path, faults):
    job = file_job(tmp_path, "model_1")
    job.handoff = None  # this process writes it, and its calls can be made to fail
    with faults.error_at("fsync", 5, lasting=True):
        done(writer.submit(job))
    with pytest.raises(CommitError, match="model_1") as raised:
        writer.submit(file_job(tmp_path, "model_2"))
    assert raised.value.errno == 5
    writer.close()
    assert sorted(os.listdir(tmp_path)) == ["model_2"]


def test_submit_returns_while_the_job_is_under_way_and_the_next_waits_for_it(background):
    first, second = Gate("first"), Gate("second")
    background.submit(first.job)
    returned = threading.Event()
    thread = threading.Thread(target=lambda: (background.submit(second.job), returned.set()))
    assert first.begun.wait(30)
    thread.start()
    assert not returned.wait(0.05)
    assert not second.begun.is_set()
    first.open.set()
    assert returned.wait(30)
    second.open.set()
    thread.join()
    background.close()


@pytest.mark.parametrize("name", BACKGROUND)
def test_with_two_slots_two_jobs_may_be_under_way(name):
    writer = getattr(writers, name)(slots=2)
    first, second = Gate("first"), Gate("second")
    writer.submit(first.job)
    writer.submit(second.job)  # would wait for ever with one
    first.open.set()
    second.open.set()
    writer.close()
    assert second.job.pending.done()


def test_close_waits_for_what_is_under_way(background):
    gate = Gate()
    background.submit(gate.job)
    closed = threading.Event()
    thread = threading.Thread(target=lambda: (background.close(), closed.set()))
    thread.start()
    assert not closed.wait(0.05)
    gate.open.set()
    assert closed.wait(30)
    thread.join()
    assert gate.job.pending.is_finished()


@pytest.fixture
def interrupted_in():
    """Interrupts the main thread once it waits inside Pending.wait_finished, and lets the gate open then."""
    threads = []

    def start(gate):
        main = threading.main_thread().ident

        def waits():
            return any(frame.f_code.co_name == "wait_finished" for frame in frames_of(main))

        def interrupt():
            while not waits():
                gate.open.wait(0.001)
            while waits() and not gate.open.is_set():
                signal.pthread_kill(main, signal.SIGINT)
                gate.open.wait(1)  # one that came just before it blocked is not seen before the next

        threads.append(threading.Thread(target=interrupt))
        threads[-1].start()

    yield start
    for thread in threads:
        thread.join()


def frames_of(thread):
    frame = sys._current_frames()[thread]
    while frame is not None:
        yield frame
        frame = frame.f_back


def test_an_interrupt_while_submit_waits_loses_no_job(background, interrupted_in):
    gate = Gate()
    background.submit(gate.job)
    interrupted_in(gate)
    job = good(2)
    with pytest.raises(KeyboardInterrupt):
        background.submit(job)
    gate.open.set()
    background.close()
    assert job.pending.result(0) == made_up(2)


def test_an_interrupt_while_close_waits_loses_no_job_and_a_second_close_waits_again(background, interrupted_in):
    gate = Gate()
    background.submit(gate.job)
    interrupted_in(gate)
    with pytest.raises(KeyboardInterrupt):
        background.close()
    assert not gate.job.pending.done()
    gate.open.set()
    background.close()
    assert gate.job.pending.result(0) == made_up(1)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_no_exception_passes_through_a_writer_that_writes_at_once(kind):
    writer = writers.SimpleWriter()
    released = []

    def interrupted():
        raise kind

    with pytest.raises(kind):
        writer.submit(Job("interrupted", interrupted, release=lambda: released.append(1)))
    assert released == [1]
    writer.submit(good()).result()
    writer.close()


def test_an_exit_in_the_background_is_a_failure_of_that_snapshot(background):
    def leave():
        raise SystemExit("bye")

    background.submit(Job("leaving", leave))
    with pytest.raises(CommitError, match=r"leaving.*SystemExit: bye"):
        background.close()


def test_several_failures_at_close_are_raised_and_logged(caplog):
    writer = writers.ThreadWriter(slots=3)
    gate = Gate()
    writer.submit(gate.job)
    writer.submit(bad("first"))
    writer.submit(bad("second"))
    gate.open.set()
    with pytest.raises(Full, match="first"):
        writer.close()
    assert ["second" in record.getMessage() for record in caplog.records] == [True]


def test_nothing_is_logged_where_a_failure_is_raised(writer, caplog):
    with caplog.at_level(logging.INFO):
        writer.submit(good())
        caplog.clear()  # that a thread writes, where it is so
        writer.submit(bad())
        with pytest.raises(Full):
            writer.close()
    assert caplog.records == []


def test_a_writer_that_is_thrown_away_writes_what_it_was_given_and_its_thread_ends():
    writer = writers.ThreadWriter()
    gate = Gate()
    writer.submit(gate.job)
    thread = writer._carrier._thread
    del writer
    gate.open.set()
    assert gate.job.pending.result(30) == made_up(1)
    thread.join(30)
    assert not thread.is_alive()


@pytest.mark.parametrize("wrong", [{"slots": 0}, {"budget_bytes": -1}, {"when_busy": "never"}])
def test_a_wrong_number_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        writers.ThreadWriter(**wrong)


@pytest.mark.parametrize("wrong", [{"slots": 1.5}, {"slots": True}, {"budget_bytes": "1 GB"}, {"slot": 2}])
def test_a_wrong_argument_is_a_type_error_that_names_it(wrong):
    with pytest.raises(TypeError, match=next(iter(wrong))):
        writers.ThreadQueueWriter(**wrong)
