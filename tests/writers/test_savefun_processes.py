"""Savefuns and tasks that another process calls."""

from __future__ import annotations

import json
import logging
import os

import numpy as np
import pytest

from holdfast.errors import CommitError
from holdfast.training.extensions import snapshot_writers
from holdfast.writers import helper
from writers import savefuns
from writers.jobs import PROCESSES, mapping, read

needs_processes = pytest.mark.skipif(not helper.is_possible(), reason="no memory can be shared with another process")


@needs_processes
@pytest.mark.parametrize("name", PROCESSES)
def test_the_savefun_runs_in_another_process(name, make, tmp_path):
    writer = make(name, savefuns.save_where)
    writer("a", tmp_path, mapping())
    writer.finalize()
    assert read(tmp_path / "a")["pid"] not in (os.getpid(), os.getppid())


def local(path, target):
    pass


@pytest.mark.parametrize("name", PROCESSES)
def test_a_savefun_that_another_process_cannot_find_is_refused(name):
    def inner(path, target):
        pass

    main = type(local)(local.__code__, {})
    main.__module__ = "__main__"
    replaced = type(local)(local.__code__, {})
    replaced.__module__, replaced.__qualname__ = savefuns.__name__, "save_json"
    for wrong in (
        inner,
        lambda path, target: None,
        main,
        replaced,
        savefuns.Static().__init__,
        json.JSONEncoder().encode,
    ):
        with pytest.raises(TypeError, match="savefun runs in a process of its own"):
            getattr(snapshot_writers, name)(wrong)
    getattr(snapshot_writers, name)(savefuns.Static.save).finalize()


def test_so_is_a_task():
    with pytest.raises(TypeError, match="task runs in a process of its own"):
        snapshot_writers.ProcessQueueWriter(task=lambda filename, outdir, target: None)


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("value", [(1,), {1: 2}, b"x", np.float32(1), [object()], {"a": {1}}])
def test_an_argument_that_is_no_json_value_is_refused(name, value):
    with pytest.raises(TypeError, match="indent="):
        getattr(snapshot_writers, name)(savefuns.save_json, indent=value)


@needs_processes
def test_a_task_runs_in_another_process(make, tmp_path):
    writer = make("ProcessQueueWriter", task=savefuns.task)
    for name in ("a", "b", "c"):
        writer(name, tmp_path, mapping())
    writer.finalize()
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c"]


@needs_processes
@pytest.mark.parametrize("name", PROCESSES)
def test_a_savefun_that_keeps_its_mappings_sees_no_later_snapshot_in_them(name, make, tmp_path):
    writer = make(name, savefuns.keep_and_save_all)
    for number in range(4):
        writer("same", tmp_path, mapping(number))
    writer.finalize()
    assert read(tmp_path / "same") == [0.0, 1.0, 2.0, 3.0]


@needs_processes
def test_a_savefun_may_change_its_mapping_which_is_not_the_callers(make, tmp_path):
    writer = make("ProcessWriter", savefuns.save_and_change)
    mine = mapping()
    writer("a", tmp_path, mine)
    writer.finalize()
    assert mine["w"][0] == 1
    assert read(tmp_path / "a")["w"] == [-1.0] * 3


@needs_processes
def test_every_kind_of_array_arrives_as_it_was_sent(make, tmp_path):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    sent = {
        "scalar": np.array(3),
        "none": np.array(None, dtype=object),
        "empty": np.zeros((0, 3), np.int8),
        "strided": np.arange(10.0)[::2],
        "big": np.arange(3, dtype=">i4"),
        "text": np.array(["a", "long one"]),
        "time": np.array(["2020-01-01"], "datetime64[D]"),
        "fields": np.array([(1, 2.0, [3, 4])], [("a", "i4"), ("b", "f8"), ("c", "i2", (2,))]),
        "nested": np.zeros(2, [("x", [("y", "f4")])]),
        "bfloat16": np.ones(3, ml_dtypes.bfloat16),
        "bool": np.array([True, False]),
        "complex": np.array([1 + 2j]),
    }
    writer = make("ProcessWriter", savefuns.save_description)
    writer("a", tmp_path, sent)
    writer.finalize()
    savefuns.save_description(tmp_path / "b", sent)
    assert read(tmp_path / "a") == read(tmp_path / "b")


@needs_processes
def test_an_array_of_objects_is_refused_with_its_name(make, tmp_path):
    writer = make("ProcessWriter", savefuns.save_json)
    writer("model_7", tmp_path, {"bad": np.array([object()], object)})
    with pytest.raises(CommitError, match="model_7: not committed: TypeError: bad: an array of Python objects"):
        writer.finalize()


@needs_processes
@pytest.mark.parametrize("name", PROCESSES)
def test_a_savefun_that_takes_its_process_along_fails_that_snapshot_only(name, make, tmp_path):
    writer = make(name, savefuns.die_if_two)
    heard = []
    for number in (1, 2, 3, 4):
        try:
            writer(f"model_{number}", tmp_path, mapping(number))
            if number == 2:  # what waits behind it would be lost with it
                writer._calls.engine()._book.wait()
        except CommitError as error:
            heard.append(str(error))
    writer.finalize()
    [told] = heard
    assert "model_2" in told
    assert "killed by SIGKILL" in told
    assert sorted(name for name in os.listdir(tmp_path) if name[0] != ".") == ["model_1", "model_3", "model_4"]


@needs_processes
def test_what_a_savefun_raised_comes_with_its_traceback(make, tmp_path):
    writer = make("ProcessWriter", savefuns.fail_if_two)
    writer("model_2", tmp_path, mapping(2))
    with pytest.raises(CommitError, match="model_2: not committed: RuntimeError in the helper process: two") as raised:
        writer.finalize()
    assert "in fail_if_two" in str(raised.value.__cause__)


@needs_processes
def test_what_a_savefun_prints_is_seen(make, tmp_path, capfd):
    writer = make("ProcessWriter", savefuns.say_and_save)
    writer("a", tmp_path, mapping())
    writer.finalize()
    assert capfd.readouterr().out == "saying\n"


def test_where_there_can_be_no_process_a_thread_calls_the_savefun(make, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "holdfast")
    monkeypatch.delattr(os, "memfd_create")
    for name in PROCESSES:
        writer = make(name, savefuns.save_where)
        writer(name, tmp_path, mapping())
        writer.finalize()
        assert read(tmp_path / name) == {"pid": os.getpid(), "thread": "holdfast-writer"}
    assert [record.levelname for record in caplog.records] == ["INFO", "INFO"]


@needs_processes
def test_a_process_queue_of_which_a_method_is_overridden_still_has_the_savefun_called_elsewhere(make, tmp_path):
    consumed = []

    class Mine(snapshot_writers.ProcessQueueWriter):
        def consume(self, q):
            consumed.append(1)
            super().consume(q)

    hooked = []
    writer = make(Mine, savefuns.save_where)
    writer._add_cleanup_hook(lambda: hooked.append(1))
    writer("a", tmp_path, mapping())
    writer.finalize()
    assert (consumed, hooked) == ([1], [1])
    assert read(tmp_path / "a")["pid"] != os.getpid()
