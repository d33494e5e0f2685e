"""What users override of StandardWriter and QueueWriter is called as in Chainer; nothing is lost, and nothing hangs."""

from __future__ import annotations

import multiprocessing
import os
import queue
import threading
from contextlib import suppress

import pytest

from holdfast.errors import CommitError
from holdfast.training.extensions import snapshot_writers
from writers import savefuns
from writers.jobs import mapping, read


class Threads(snapshot_writers.StandardWriter):
    """As Chainer's ThreadWriter is written."""

    def create_worker(self, filename, outdir, target, **kwds):
        return threading.Thread(
            target=self.save, args=(filename, outdir, target, self._savefun), kwargs=self._kwds, daemon=True
        )


FORKS = pytest.mark.filterwarnings(  # Python says so where threads are alive, and jax where it was imported
    "ignore:.*fork.*:DeprecationWarning", "ignore:.*fork.*:RuntimeWarning"
)


class Processes(snapshot_writers.StandardWriter):
    """As Chainer's ProcessWriter is written."""

    def create_worker(self, filename, outdir, target, **kwds):
        context = multiprocessing.get_context("fork")
        return context.Process(target=self.save, args=(filename, outdir, target, self._savefun), kwargs=self._kwds)


class Queues(snapshot_writers.QueueWriter):
    """As Chainer's ThreadQueueWriter is written."""

    def create_queue(self):
        return queue.Queue()

    def create_consumer(self, q):
        return threading.Thread(target=self.consume, args=(q,), daemon=True)


@FORKS
@pytest.mark.parametrize("kind", [Threads, Processes, Queues])
def test_what_is_written_as_chainers_own_writers_are_works(kind, make, tmp_path):
    writer = make(kind, savefuns.save_json, indent=2)
    for number in range(3):
        writer(f"model_{number}", tmp_path, mapping(number))
    writer.finalize()
    assert [read(tmp_path / f"model_{number}")["w"][0] for number in range(3)] == [0, 1, 2]
    assert not writer.takes_jobs


@FORKS
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("kind", [Threads, Processes, Queues])
def test_a_failure_in_them_is_heard_of_once_with_its_name(kind, make, tmp_path):
    writer = make(kind, savefuns.fail_if_two)
    heard = []
    for number in (1, 2, 3, 4):
        try:
            writer(f"model_{number}", tmp_path, mapping(number))
        except CommitError as error:
            heard.append(str(error))
    try:
        writer.finalize()
    except CommitError as error:
        heard.append(str(error))
    [told] = heard
    assert "model_2" in told
    assert sorted(os.listdir(tmp_path)) == ["model_1", "model_3", "model_4"]


def test_a_worker_is_made_started_and_joined_as_in_chainer(make, tmp_path):
    calls = []

    class Worker:
        def __init__(self, name):
            self.name = name

        def start(self):
            calls.append(f"start {self.name}")

        def join(self):
            calls.append(f"join {self.name}")

    class Mine(snapshot_writers.StandardWriter):
        def create_worker(self, filename, outdir, target, **kwds):
            calls.append(f"create {filename} {kwds}")
            return Worker(filename)

    writer = make(Mine, savefuns.save_json, indent=1)
    writer("a", tmp_path, {})
    writer("b", tmp_path, {})
    writer.finalize()
    writer.finalize()
    kwds = "{'indent': 1}"
    assert calls == [f"create a {kwds}", "start a", "join a", f"create b {kwds}", "start b", "join b"]


def test_a_worker_whose_join_raises_fails_its_snapshot(make, tmp_path):
    class Worker:
        def __init__(self, name):
            self.name = name

        def start(self):
            pass

        def join(self):
            if self.name == "a":
                raise OSError(5, "broken")

    class Mine(snapshot_writers.StandardWriter):
        def create_worker(self, filename, outdir, target, **kwds):
            return Worker(filename)

    writer = make(Mine)
    writer("a", tmp_path, {})
    with pytest.raises(CommitError, match=r"a: not committed.*broken"):
        writer("b", tmp_path, {})
    writer.finalize()


def test_a_thread_writers_own_worker_can_be_used_by_a_subclass(make, tmp_path):
    made = []

    class Mine(snapshot_writers.ThreadWriter):
        def create_worker(self, filename, outdir, target, **kwds):
            made.append(super().create_worker(filename, outdir, target, **kwds))
            return made[-1]

    writer = make(Mine, savefuns.save_json)
    assert not writer.takes_jobs
    writer("a", tmp_path, mapping())
    writer.finalize()
    assert len(made) == 1
    assert os.listdir(tmp_path) == ["a"]


def test_a_queue_holds_what_chainers_does_and_a_consumer_of_ones_own_may_read_it(make, tmp_path):
    items = []

    class Mine(snapshot_writers.ThreadQueueWriter):
        def consume(self, q):
            while True:
                item = q.get()
                q.task_done()
                if item is None:
                    return
                items.append(item)

    writer = make(Mine)
    writer("a", tmp_path, mapping())
    writer.finalize()
    [[task, *rest]] = items
    assert isinstance(task, snapshot_writers.SimpleWriter)
    assert rest[:2] == ["a", tmp_path]


@pytest.mark.parametrize("full", [False, True])
def test_a_consumer_that_fails_is_heard_of_and_the_next_call_has_another(full, make, tmp_path):
    class Mine(snapshot_writers.ThreadQueueWriter):
        lives = 0

        def consume(self, q):
            self.lives += 1
            if self.lives == 1:
                if not full:
                    q.get()
                raise RuntimeError("broken")
            super().consume(q)

    writer = make(Mine, savefuns.save_json)
    heard = []
    for name in ("a", "b", "c", "d"):
        try:
            writer(name, tmp_path, mapping())
        except CommitError as error:
            heard.append(str(error))
    with suppress(CommitError):
        writer.finalize()
    assert [("broken" in told, "'a'" in told) for told in heard] in ([], [(True, True)])
    assert set(os.listdir(tmp_path)) >= {"c", "d"}


def test_a_consumer_that_dies_again_and_again_makes_nothing_hang(make, tmp_path):
    class Mine(snapshot_writers.ThreadQueueWriter):
        def consume(self, q):
            raise RuntimeError("broken")

    writer = make(Mine)
    for name in ("a", "b", "c"):
        with suppress(CommitError):
            writer(name, tmp_path, mapping())
    with pytest.raises(CommitError, match="broken"):
        writer.finalize()


def test_a_method_that_is_missing_is_named(make, tmp_path):
    for kind, method in (("StandardWriter", "create_worker"), ("QueueWriter", "create_queue"), ("Writer", "__call__")):
        with pytest.raises(NotImplementedError, match=method):
            make(kind)("a", tmp_path, {})
