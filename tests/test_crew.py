"""Work shared out among threads: every task once, the first failure raised, and nobody at work when run() returns."""

from __future__ import annotations

import gc
import os
import queue
import signal
import threading
import time
import weakref

import pytest

from holdfast import crew


@pytest.fixture(autouse=True)
def _a_crew_of_its_own(monkeypatch):
    monkeypatch.setattr(crew, "_crew", crew._Crew())


def threads_of_crews():
    return {thread for thread in threading.enumerate() if thread.name == "holdfast-crew"}


@pytest.mark.parametrize("threads", [None, 0, 1, 2, 8])
@pytest.mark.parametrize("count", [0, 1, 3, 500])
def test_every_task_is_carried_out_once(threads, count):
    done = []
    crew.run([lambda number=number: done.append(number) for number in range(count)], threads)
    assert sorted(done) == list(range(count))


def test_tasks_are_taken_in_order():
    asked, done = [], []

    def tasks():
        for number in range(200):
            asked.append(number)
            yield lambda number=number: done.append(number)

    crew.run(tasks(), 4)
    assert asked == sorted(done) == list(range(200))


def test_what_makes_the_tasks_is_asked_by_one_thread_at_a_time():
    asking = threading.Event()

    def tasks():
        asking.wait()
        until = time.perf_counter() + 0.05  # time enough for the other thread to ask, too, if nothing keeps it
        while time.perf_counter() < until:
            pass
        yield lambda: None

    share = crew._Share(tasks())
    other = threading.Thread(target=lambda: (asking.set(), share.work()))
    other.start()
    share.work()
    other.join()
    assert share.close() is None


def test_so_many_threads_are_at_work_at_once_the_caller_among_them():
    at_work = threading.Barrier(3)
    who = set()

    def task():
        at_work.wait()  # only three threads at once come through
        who.add(threading.current_thread())

    crew.run([task] * 9, 3)
    assert len(who) == 3
    assert threading.current_thread() in who
    assert all(thread.daemon for thread in who - {threading.current_thread()})


def test_with_one_thread_the_caller_does_it_all():
    before, who = threads_of_crews(), set()
    crew.run([lambda: who.add(threading.current_thread())] * 5, 1)
    assert who == {threading.current_thread()}
    assert threads_of_crews() == before


def test_threads_are_kept_and_used_again():
    before = threads_of_crews()
    for _ in range(100):
        at_work = threading.Barrier(2)
        crew.run([at_work.wait] * 2, 2)
    assert len(threads_of_crews() - before) == 1


def test_calls_from_several_threads_at_once_do_not_wait_for_each_other():
    all_at_work = threading.Barrier(4)
    callers = [threading.Thread(target=crew.run, args=([all_at_work.wait] * 2, 2)) for _ in range(2)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()


def test_a_task_may_share_out_work_of_its_own():
    done = []
    crew.run([lambda: crew.run([lambda: done.append(1)] * 10, 3)] * 10, 3)
    assert len(done) == 100


class Broken(BaseException):
    """No Exception, so that nothing lets it pass."""


@pytest.mark.parametrize("kind", [ValueError, Broken, KeyboardInterrupt])
@pytest.mark.parametrize("threads", [1, 3])
def test_a_failure_is_raised_and_no_further_task_is_begun(kind, threads):
    done, failure = [], kind("this one")

    def fail():
        raise failure

    tasks = iter([*[lambda: done.append(1)] * 5, fail, *[lambda: done.append(2)] * 1000])
    with pytest.raises(kind) as raised:
        crew.run(tasks, threads)
    assert raised.value is failure
    assert done[:5] == [1] * 5
    assert len(done) < 1000
    assert next(tasks, None) is not None


def test_a_failure_of_what_makes_the_tasks_is_raised():
    def tasks():
        yield lambda: None
        raise LookupError("no more tasks")

    with pytest.raises(LookupError):
        crew.run(tasks(), 3)


def test_a_failure_in_a_lent_thread_is_raised_to_the_caller_when_the_others_have_ended():
    failed, left = threading.Event(), []

    def task():
        if threading.current_thread() is not threading.main_thread():
            failed.set()
            raise ValueError("in a lent thread")
        failed.wait()
        left.append("the caller")

    with pytest.raises(ValueError, match="in a lent thread"):
        crew.run([task] * 2, 2)
    assert left == ["the caller"]


def test_a_failure_leaves_no_cycle_that_holds_what_the_tasks_held():
    class Held:
        pass

    held = Held()
    gone = weakref.ref(held)

    def fail(what):
        raise ValueError

    gc.disable()
    try:
        with pytest.raises(ValueError):  # noqa: PT011  its text does not matter
            crew.run([lambda held=held: fail(held)], 1)
        del held
        assert gone() is None
    finally:
        gc.enable()


def test_idle_threads_hold_nothing_of_the_last_call():
    class Held:
        def __call__(self):
            at_work.wait()
            raise ValueError

    at_work, held, gone = threading.Barrier(2), Held(), threading.Event()
    weakref.finalize(held, gone.set)
    with pytest.raises(ValueError):  # noqa: PT011  its text does not matter
        crew.run([held] * 3, 2)  # the third is never begun
    del held
    assert gone.wait(60)


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signals to a thread")
def test_an_interrupt_of_the_caller_is_raised_only_when_the_lent_threads_have_left():
    begun, interrupted, order = threading.Event(), threading.Event(), []

    class Impatient(threading.Condition):
        """Where the caller waits for the others, and is interrupted."""

        def wait(self, timeout=None):
            if threading.current_thread() is threading.main_thread() and not interrupted.is_set():
                interrupted.set()
                raise KeyboardInterrupt
            return super().wait(timeout)

    def task():
        if threading.current_thread() is threading.main_thread():
            begun.wait()
            return
        begun.set()
        interrupted.wait()
        order.append("the lent thread has left")

    class Share(crew._Share):
        def __init__(self, tasks):
            super().__init__(tasks)
            self._state = Impatient()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crew, "_Share", Share)
        with pytest.raises(KeyboardInterrupt):
            crew.run([task] * 2, 2)
        order.append("raised")
    assert order == ["the lent thread has left", "raised"]


def test_a_lent_thread_that_finds_no_memory_for_its_failure_or_its_end_keeps_nobody_waiting(monkeypatch):
    here, there = threading.Event(), threading.Event()
    taken = []

    class Scarce(threading.Condition):
        def __enter__(self):
            if threading.current_thread() is not threading.main_thread():
                taken.append(self)
                if len(taken) == 2:  # after that to join
                    raise MemoryError
            return super().__enter__()

    class Share(crew._Share):
        def __init__(self, tasks):
            super().__init__(tasks)
            self._state = Scarce()

    def task():
        if threading.current_thread() is threading.main_thread():
            there.wait(60)
            here.set()
            return
        there.set()
        here.wait(60)
        raise OSError("the disk is gone")

    monkeypatch.setattr(crew, "_Share", Share)
    with pytest.raises(OSError, match="the disk is gone"):
        crew.run([task] * 2, 2)
    assert len(taken) > 2, "the lack never came"


def test_a_lent_thread_that_finds_no_memory_to_be_idle_again_has_left_all_the_same(monkeypatch):
    class Guard:
        def __enter__(self):
            if threading.current_thread() is not threading.main_thread():
                raise MemoryError

        def __exit__(self, *error):
            pass

    ended = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda arguments: ended.set())
    monkeypatch.setattr(crew._crew, "_guard", Guard())
    together = threading.Barrier(2)
    crew.run([together.wait] * 2, 2)
    assert ended.wait(60)


def test_a_thread_that_comes_too_late_does_nothing_and_nobody_waits_for_it(monkeypatch):
    orders, done = queue.SimpleQueue(), []
    monkeypatch.setattr(crew._Crew, "_serve", lambda self: orders.put(self._orders.get()))
    crew.run([lambda: done.append(1)] * 3, 2)
    assert len(done) == 3
    assert orders.get(timeout=60).join() is False


@pytest.mark.parametrize("allowed", [0, 1])
def test_where_no_thread_can_be_started_the_others_do_it_all(monkeypatch, allowed):
    class Limited(threading.Thread):
        left = allowed

        def start(self):
            if not Limited.left:
                raise RuntimeError("can't start new thread")
            Limited.left -= 1
            super().start()

    done = []
    monkeypatch.setattr(threading, "Thread", Limited)
    crew.run([lambda: done.append(threading.current_thread())] * 50, 4)
    assert len(done) == 50
    assert len(set(done)) <= 1 + allowed


AT_EXIT = """
import atexit, sys, threading
from holdfast import crew

together = threading.Barrier(2)
done = []

def last():
    crew.run([lambda: done.append(1)] * 20, 3)
    print(len(done), flush=True)

atexit.register(last)
if "warm" in sys.argv:
    crew.run([together.wait] * 2, 2)
"""


@pytest.mark.parametrize("state", ["cold", "warm"])
def test_it_works_while_the_interpreter_ends_and_its_threads_do_not_keep_it_alive(program, state):
    assert program(AT_EXIT, state).end() == "20\n"


FORKED = """
import os, threading
from holdfast import crew

def together():
    barrier = threading.Barrier(3)
    crew.run([barrier.wait] * 3, 3)

together()
guard = crew._crew._guard
guard.acquire()  # another thread of the parent's may have it at this moment
child = os.fork()
if child == 0:
    together()
    os._exit(7)
guard.release()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
together()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_has_a_crew_of_its_own(program):
    assert program(FORKED).end() == "7\n"


def test_processors_are_those_of_this_process_and_at_most_the_limit(monkeypatch):
    assert 1 <= crew.processors() <= crew.LIMIT
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    assert crew.processors() == crew.LIMIT
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert crew.processors() == 1
