"""A job whose end is itself ended, by an interrupt or a lack of memory: nobody waits for it for ever."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest

from holdfast import writers
from holdfast.writers import Job, Pending
from writers.jobs import Full, Gate, bad, good


@pytest.mark.parametrize("make", [good, bad], ids=["written", "failed"])
def test_an_interrupt_while_memory_is_given_back_leaves_no_future_open(make):
    def interrupted():
        raise KeyboardInterrupt

    job = make(release=interrupted)
    with pytest.raises(KeyboardInterrupt):
        writers.SimpleWriter().submit(job)
    assert job.pending.done()
    assert job.pending.wait_finished(0)


STEPS = ["forget", "set_result", "set_exception", "finish"]


@pytest.mark.parametrize("make", [good, bad], ids=["written", "failed"])
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("late", [False, True], ids=["before it", "after it"])
@pytest.mark.parametrize("kind", [writers.SimpleWriter, writers.ThreadWriter])
def test_memory_that_ends_while_a_job_ends_leaves_nobody_waiting(monkeypatch, make, step, late, kind):
    owner = Job if step == "forget" else Pending
    real, calls = getattr(owner, step), []

    def ending(self, *arguments):
        calls.append(step)
        if len(calls) > 1:
            return real(self, *arguments)
        if late:
            real(self, *arguments)
        raise MemoryError

    monkeypatch.setattr(owner, step, ending)
    released = []
    job = make(release=lambda: released.append(1))
    writer = kind()
    with suppress(MemoryError, Full):
        writer.submit(job)
    assert job.pending.wait_finished(10)
    assert job.pending.done()
    assert len(released) == (2 if step == "forget" and not late else 1)  # a second call does nothing
    monkeypatch.undo()
    with suppress(Full):
        writer.submit(good()).result(10)
    with suppress(MemoryError, Full):
        writer.close()
    skipped = {good: "set_exception", bad: "set_result"}
    assert bool(calls) is (step != skipped[make])


def test_those_who_wait_are_woken_though_memory_ended_before_they_could_be(monkeypatch):
    gate = Gate()
    writer = writers.ThreadWriter(slots=2)
    pending = writer.submit(gate.job)
    outcome = []
    waiting = threading.Thread(target=lambda: outcome.append(pending.exception(60)))
    waiting.start()
    condition = pending._condition
    monkeypatch.setattr(condition, "notify_all", _once(MemoryError, condition.notify_all), raising=False)
    gate.open.set()
    waiting.join(10)
    assert outcome == [None]
    writer.close()


def _once(error, function):
    """A function that raises an error at its first call."""
    calls = []

    def called():
        calls.append(1)
        if len(calls) == 1:
            raise error
        function()

    return called
