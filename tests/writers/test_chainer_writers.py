"""Chainer's face, `writer(filename, outdir, mapping)`: savefuns, failures, threads and queues."""

from __future__ import annotations

import os
import threading
import weakref
from contextlib import suppress

import numpy as np
import pytest

import holdfast
from holdfast.errors import CommitError
from holdfast.training.extensions import snapshot_writers
from writers import savefuns
from writers.jobs import BACKGROUND, WRITERS, good, mapping, read


@pytest.mark.parametrize("name", WRITERS)
def test_each_mapping_is_written_by_the_savefun_with_its_arguments(name, make, tmp_path):
    writer = make(name, savefuns.save_json, indent=1)
    for number in range(3):
        writer(f"model_{number}", str(tmp_path), mapping(number))
    writer.finalize()
    assert [read(tmp_path / f"model_{number}") for number in range(3)] == [{"w": [float(n)] * 3} for n in range(3)]
    assert "\n" in (tmp_path / "model_0").read_text()
    assert sorted(os.listdir(tmp_path)) == ["model_0", "model_1", "model_2"]


@pytest.mark.parametrize("name", WRITERS)
def test_without_a_savefun_the_ending_of_the_name_decides(name, make, tmp_path):
    writer = make(name)
    writer("model.npz", tmp_path, mapping())
    writer("model", tmp_path, mapping(2.0))
    writer.finalize()
    np.testing.assert_array_equal(np.load(tmp_path / "model.npz")["w"], np.full(3, 1.0))
    np.testing.assert_array_equal(holdfast.load(tmp_path / "model")["w"], np.full(3, 2.0))
    assert holdfast.verify(tmp_path / "model")


@pytest.mark.parametrize("name", WRITERS)
def test_hooks_run_after_each_file_that_was_saved(name, make, tmp_path):
    hooked = []
    writer = make(name, savefuns.fail_if_two)
    writer._add_cleanup_hook(lambda: hooked.append(sorted(os.listdir(tmp_path))))
    for number in (1, 2, 3):
        with suppress(CommitError, RuntimeError):
            writer(f"model_{number}", tmp_path, mapping(number))
    with suppress(CommitError):
        writer.finalize()
    assert [("model_1" in found, "model_3" in found) for found in hooked] == [(True, False), (True, True)]


@pytest.mark.parametrize("name", BACKGROUND)
def test_a_failing_savefun_is_heard_of_at_the_next_calls_or_at_the_end_and_the_next_one_is_written(
    name, make, tmp_path
):
    writer = make(name, savefuns.fail_if_two)
    heard = []
    steps = [lambda number=number: writer(f"model_{number}", tmp_path, mapping(number)) for number in (1, 2, 3, 4)]
    for step in [*steps, writer.finalize]:
        try:
            step()
        except CommitError as error:
            heard.append(str(error))
    [told] = heard
    assert "model_2" in told
    assert "two is too much" in told
    assert sorted(os.listdir(tmp_path)) == ["model_1", "model_3", "model_4"]
    writer.finalize()


@pytest.mark.parametrize("name", BACKGROUND)
def test_a_failure_of_the_last_one_is_raised_by_finalize_with_its_name(name, make, tmp_path):
    writer = make(name, savefuns.write_nothing)
    writer("model_7", tmp_path, mapping())
    with pytest.raises(CommitError, match=r"model_7.*savefun was to write"):
        writer.finalize()
    writer.finalize()


@pytest.mark.parametrize("name", BACKGROUND)
def test_use_after_finalize_is_an_error_that_names_the_snapshot(name, make, tmp_path):
    writer = make(name, savefuns.save_json)
    writer("model_1", tmp_path, mapping())
    writer.finalize()
    with pytest.raises(ValueError, match=r"model_2: this writer"):
        writer("model_2", tmp_path, mapping())
    assert os.listdir(tmp_path) == ["model_1"]


def test_a_simple_writer_raises_what_the_savefun_raised_and_can_be_used_again(make, tmp_path):
    writer = make("SimpleWriter", savefuns.fail_if_two)
    with pytest.raises(RuntimeError, match="two"):
        writer("model_2", tmp_path, mapping(2))
    writer.finalize()
    writer("model_1", tmp_path, mapping())
    assert os.listdir(tmp_path) == ["model_1"]


@pytest.mark.parametrize("name", WRITERS)
def test_what_takes_jobs_is_told(name):
    kind = getattr(snapshot_writers, name)
    assert kind().takes_jobs
    assert not kind(savefuns.save_json).takes_jobs
    assert type("Mine", (kind,), {}).__call__ is kind.__call__
    assert type("Mine", (kind,), {})().takes_jobs
    for method in ("save", "__call__"):
        mine = type("Mine", (kind,), {method: lambda self, *arguments: None, "__module__": __name__})
        assert not mine().takes_jobs


def test_what_has_no_engine_takes_no_jobs(make):
    writer = make("StandardWriter")
    assert not writer.takes_jobs
    with pytest.raises(TypeError, match="StandardWriter writes mappings"):
        writer.submit(good())
    assert not make("ThreadQueueWriter", task=savefuns.task).takes_jobs


def test_a_thread_writer_returns_while_the_savefun_is_at_work_and_the_next_call_waits(make, tmp_path):
    entered, leave = threading.Semaphore(0), threading.Semaphore(0)

    def slow(path, target):
        entered.release()
        assert leave.acquire(timeout=30)
        savefuns.save_json(path, target)

    writer = make("ThreadWriter", slow)
    writer("model_1", tmp_path, mapping())
    assert entered.acquire(timeout=30)
    assert os.path.exists(tmp_path / "model_1") is False
    second = threading.Thread(target=writer, args=("model_2", tmp_path, mapping()))
    second.start()
    second.join(0.05)
    assert second.is_alive()
    assert not entered.acquire(blocking=False)
    leave.release(2)
    second.join()
    writer.finalize()
    assert sorted(os.listdir(tmp_path)) == ["model_1", "model_2"]


def test_in_a_queue_one_waits_while_one_is_written_and_the_third_call_waits(make, tmp_path):
    leave = threading.Semaphore(0)
    entered = threading.Semaphore(0)

    def slow(path, target):
        entered.release()
        assert leave.acquire(timeout=30)
        savefuns.save_json(path, target)

    writer = make("ThreadQueueWriter", slow)
    writer("model_1", tmp_path, mapping())
    assert entered.acquire(timeout=30)
    writer("model_2", tmp_path, mapping())
    third = threading.Thread(target=writer, args=("model_3", tmp_path, mapping()))
    third.start()
    third.join(0.2)
    assert third.is_alive()
    leave.release(3)
    third.join()
    writer.finalize()
    assert sorted(os.listdir(tmp_path)) == ["model_1", "model_2", "model_3"]


@pytest.mark.parametrize("name", ["ThreadWriter", "ThreadQueueWriter"])
def test_a_mapping_is_let_go_once_it_is_written(name, make, tmp_path):
    writer = make(name, savefuns.save_json)
    array = np.zeros(3)
    watched = weakref.ref(array)
    writer("model_1", tmp_path, {"w": array})
    writer("model_2", tmp_path, mapping())
    del array
    gone = threading.Event()
    weakref.finalize(watched(), gone.set) if watched() is not None else gone.set()
    assert gone.wait(30)


def test_a_task_of_ones_own_is_called_for_each_snapshot(make, tmp_path):
    calls = []
    writer = make("ThreadQueueWriter", task=lambda filename, outdir, target: calls.append((filename, outdir)))
    writer("model_1", tmp_path, mapping())
    writer("model_2", tmp_path, mapping())
    writer.finalize()
    assert calls == [("model_1", tmp_path), ("model_2", tmp_path)]


def test_a_savefun_and_a_task_exclude_one_another():
    with pytest.raises(TypeError, match="savefun and task"):
        snapshot_writers.ThreadQueueWriter(savefuns.save_json, savefuns.task)
