"""holdfast.files.save: what is written and where, what it says of it, and what replacing a file does."""

from __future__ import annotations

import errno
import os
import re
import threading
import tracemalloc
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from holdfast import files
from holdfast.errors import CaptureError, CommitError
from holdfast.snapshot import Snapshot

OLD = {"weight": np.arange(600.0), "count": 1}
NEW = {"weight": np.arange(600.0) + 0.5, "count": 2}
NAMES = ["model.safetensors"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / NAMES[0]


def holds(path, state):
    found = files.load(path)
    return found["count"] == state["count"] and np.array_equal(found["weight"], state["weight"])


# What is said of it


def test_what_save_returns_is_what_the_file_says_of_itself(path):
    before = datetime.now(timezone.utc)
    saved = files.save(path, OLD)
    assert isinstance(saved, Snapshot)
    assert saved == files.info(path) == files.verify(path)
    assert len({saved, files.info(path), files.verify(path)}) == 1
    assert (saved.name, saved.location, os.fspath(saved)) == (path.name, str(path.parent), str(path))
    assert (saved.step, saved.epoch, saved.metrics, saved.reason, saved.role) == (None, None, {}, "save", "file")
    assert saved.size_bytes == path.stat().st_size
    assert before <= saved.created_at <= datetime.now(timezone.utc)


def test_two_saves_of_one_state_under_one_name_are_two_snapshots(path):
    first, second = files.save(path, OLD), files.save(path, OLD)
    assert first != second
    assert hash(first) != hash(second)


def test_a_copy_of_a_file_is_another_snapshot(path, tmp_path):
    saved = files.save(path, OLD)
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(path.read_bytes())
    assert files.info(copy) != saved
    assert files.info(copy).created_at == saved.created_at


def test_metadata_comes_back_as_it_was_given(path):
    given = {"note": "a é b", "rows": [1, 2.5, None, True], "deep": {"": {"holdfast": "x", "weight": "count"}}}
    saved = files.save(path, OLD, metadata=given)
    assert saved.metadata == files.info(path).metadata == files.verify(path).metadata == given
    assert files.save(path, OLD).metadata == {}
    assert files.load(path).keys() == OLD.keys()


def test_metadata_is_taken_at_the_moment_of_the_call(path):
    given = {"rows": [1]}
    saved = files.save(path, OLD, metadata=given)
    given["rows"].append(2)
    assert saved.metadata == {"rows": [1]}


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"a": {"b": object()}}, r"metadata\['a'\]\['b'\] is builtins.object, wanted a JSON value"),
        ({"a": np.float32(1)}, r"metadata\['a'\] is numpy.float32.* convert it"),
        ({"a": float("nan")}, r"metadata\['a'\] is nan, which JSON has not"),
        ({1: 2}, "metadata has the key 1; keys of JSON are str"),
        ([1], "metadata is list, wanted a dict"),
        ([], "metadata is list, wanted a dict"),
    ],
)
def test_metadata_that_is_no_json_is_refused_and_nothing_is_written(path, metadata, message):
    files.save(path, OLD)
    with pytest.raises(ValueError, match=message):
        files.save(path, NEW, metadata=metadata)
    assert holds(path, OLD)
    assert os.listdir(path.parent) == NAMES


def test_a_state_that_cannot_be_kept_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(CaptureError, match="'lock'"):
        files.save(tmp_path / "new" / "model", {"weight": np.zeros(3), "lock": threading.Lock()})
    assert os.listdir(tmp_path) == []


def test_metadata_that_no_header_has_room_for_is_refused_and_nothing_is_written(path):
    with pytest.raises(CaptureError, match="keep long metadata"):
        files.save(path, OLD, metadata={"log": "x" * (65 << 20)})
    assert os.listdir(path.parent) == []


# Where it is written


def test_missing_directories_are_made(tmp_path):
    files.save(tmp_path / "runs" / "one" / "model", OLD)
    assert holds(tmp_path / "runs" / "one" / "model", OLD)


def test_a_relative_path_means_the_working_directory_of_the_call(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saved = files.save("model", OLD, metadata={"a": 1})
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert os.fspath(saved) == str(tmp_path / "model")
    assert saved.metadata == {"a": 1}
    assert files.restore(saved, {"weight": np.zeros(600), "count": 0})["count"] == 1


def test_two_dots_after_a_symbolic_link_lead_where_the_system_says(tmp_path):
    (tmp_path / "far" / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far" / "inner")
    path = f"{tmp_path}/link/../model"
    saved = files.save(path, OLD)
    assert saved == files.info(path) == files.verify(path)
    assert Path(saved).samefile(tmp_path / "far" / "model")
    assert holds(path, OLD)


class Place:
    """A path-like of something that is no str."""

    def __fspath__(self):
        return b"model"


CALLS = {
    "save": lambda path: files.save(path, {}),
    "restore": lambda path: files.restore(path, {}),
    "load": files.load,
    "verify": files.verify,
    "info": files.info,
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("path", [b"model", Place()], ids=["bytes", "a path-like of bytes"])
def test_a_path_of_bytes_is_refused(call, path):
    with pytest.raises(TypeError, match=r"the path of a snapshot file must be a str or an os.PathLike.*, not bytes"):
        CALLS[call](path)


@pytest.mark.parametrize("call", ["save", "load", "verify", "info"])  # restore takes anything else for a state
@pytest.mark.parametrize("path", [3, None])
def test_what_is_no_path_is_refused(call, path):
    with pytest.raises(TypeError, match=f"must be a str or an os.PathLike.*, not {type(path).__name__}"):
        CALLS[call](path)


@pytest.mark.parametrize("call", CALLS)
def test_an_empty_path_is_refused(call):
    with pytest.raises(ValueError, match="the path of a snapshot file is empty"):
        CALLS[call]("")


@pytest.mark.parametrize("ending", ["", "/", "/.", "/sub/.."])
def test_a_directory_is_refused_and_the_message_names_the_store(tmp_path, ending):
    (tmp_path / "sub").mkdir()
    with pytest.raises(CommitError, match=r"is a directory, wanted the name of a file.*SnapshotStore") as raised:
        files.save(f"{tmp_path}{ending}", OLD)
    assert raised.value.errno == errno.EISDIR


def test_a_directory_that_is_still_missing_is_refused_by_the_slash_at_its_end(tmp_path):
    with pytest.raises(CommitError, match="is a directory"):
        files.save(f"{tmp_path}/new/", OLD)
    assert os.listdir(tmp_path) == []


def test_a_file_where_a_directory_is_wanted_fails_the_save_and_stays(path):
    files.save(path, OLD)
    with pytest.raises(CommitError, match=re.escape(f"{path}/model: not committed")) as raised:
        files.save(path / "model", NEW)
    assert raised.value.errno == errno.ENOTDIR
    assert holds(path, OLD)


def test_the_mode_follows_the_umask(path):
    before = os.umask(0o027)
    try:
        files.save(path, OLD)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640


# What replacing does


def test_a_reader_that_has_the_old_file_mapped_keeps_it_when_the_name_is_replaced(path):
    files.save(path, OLD)
    mapped = files.load(path, verify=False)  # no page was touched yet
    files.save(path, NEW)
    assert np.array_equal(mapped["weight"], OLD["weight"])
    assert holds(path, NEW)


def test_a_state_loaded_from_a_file_can_be_saved_over_it(path):
    files.save(path, OLD)
    state = files.load(path)
    files.save(path, {**state, "count": 2})
    assert holds(path, {**OLD, "count": 2})


def test_saves_to_one_name_from_many_threads_leave_one_of_them_whole(path):
    writers, rounds = 4, 8
    states = [{"weight": np.full(5000, float(i)), "count": i} for i in range(writers)]
    files.save(path, states[0])
    seen, done = Counter(), threading.Event()

    def write(i):
        return [files.save(path, states[i]) for _ in range(rounds)]

    def read():
        while not done.is_set():
            found = files.load(path)  # verifies it
            assert (found["weight"] == found["count"]).all()
            seen[found["count"]] += 1

    with ThreadPoolExecutor(writers + 1) as pool:
        reader = pool.submit(read)
        try:
            saved = [one for batch in pool.map(write, range(writers)) for one in batch]
        finally:
            done.set()
        reader.result()
    assert files.info(path) in saved
    assert sum(seen.values()) > 0
    assert os.listdir(path.parent) == NAMES


def test_save_is_a_savefun(path):
    mapping = {"updater/model:main/l1/W": np.ones((2, 3), np.float32), "updater/iteration": np.array(7)}
    files.save(str(path), mapping)
    assert os.listdir(path.parent) == NAMES
    found = files.load(path)
    assert found.keys() == mapping.keys()
    assert all(np.array_equal(found[name], one) and found[name].dtype == one.dtype for name, one in mapping.items())


def test_the_state_is_copied_once_into_the_arena_and_nowhere_else(path):
    state = {f"layer {i}": np.zeros(1 << 19) for i in range(8)}  # 32 MiB
    tracemalloc.start()  # numpy tells it of its memory; the arena and the mapped file are not in it
    try:
        files.save(path, state)
        files.restore(path, state)
        files.load(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 << 20
