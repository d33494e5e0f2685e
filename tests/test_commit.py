"""commit(): one order of writes, and a snapshot wholly or not at all."""

from __future__ import annotations

import errno

import numpy as np
import pytest

from holdfast import files
from holdfast.errors import CaptureError, CommitError
from holdfast.format import reader
from holdfast.staging import Arena
from holdfast.state.capture import capture
from holdfast.state.load import load
from holdfast.storage.local import LocalStorage
from holdfast.storage.memory import MemoryStorage
from snapshots import put

STATE = {"weight": np.arange(100.0), "step": 3}
NAME = "snapshot_3.safetensors"
FACTS = files.new_facts(NAME, step=3, epoch=0.5, metrics={"loss": 0.25}, reason="trigger", sequence=4, role="store")


@pytest.fixture
def staged():
    return Arena().stage(capture(STATE))


def content(storage, name=NAME):
    return storage.read(name, 0, storage.stat(name).size_bytes)


class Watched:
    """A storage that lists the calls made to it, and fails at one of them."""

    def __init__(self, failing=None, error=None):
        self.calls = []
        self.real = MemoryStorage()
        self.location = self.real.location
        self._failing = failing
        self._error = error

    def _call(self, name, *arguments):
        self.calls.append((name, *arguments))
        if name == self._failing:
            raise self._error

    def create(self, name, size_bytes):
        self._call("create", name, size_bytes)
        upload = self.real.create(name, size_bytes)
        outer = self

        class Upload:
            def __init__(self):
                self.buffers = []

            def write(self, offset, buffer):
                outer._call("write", offset, memoryview(buffer).nbytes)
                self.buffers.append(buffer)
                upload.write(offset, buffer)

            def commit(self):
                outer._call("commit")
                upload.commit()

            def abort(self):
                outer._call("abort")
                upload.abort()

        self.upload = Upload()
        return self.upload


def test_header_and_data_are_written_and_then_committed(staged):
    storage = Watched()
    snapshot = put(storage, NAME, staged, FACTS, {"note": 1})
    head = snapshot.size_bytes - 800
    assert storage.calls == [
        ("create", NAME, head + 800),
        ("write", head, 800),
        ("write", 0, head),  # it holds the checksums of the data
        ("commit",),
    ]
    assert snapshot.size_bytes == head + 800 == len(content(storage.real))


def test_the_arena_is_written_as_it_lies_and_not_copied(staged):
    storage = Watched()
    put(storage, NAME, staged, FACTS)
    assert np.shares_memory(np.frombuffer(storage.upload.buffers[0], np.uint8), staged.data)


def test_what_was_committed_is_the_staged_state_with_its_facts(staged):
    storage = MemoryStorage()
    put(storage, NAME, staged, FACTS, {"note": [1]})
    file = reader.parse(memoryview(content(storage)), "here")
    file.verify()
    assert file.facts == FACTS
    assert file.metadata() == {"note": [1]}
    found = load(file.tree())
    assert found["step"] == 3
    assert np.array_equal(found["weight"], STATE["weight"])


def test_the_snapshot_says_what_the_facts_say_and_where_it_is(staged, tmp_path):
    snapshot = put(LocalStorage(tmp_path), f"deep/{NAME}", staged, FACTS, {"note": 1})
    assert (snapshot.location, snapshot.name) == (str(tmp_path), f"deep/{NAME}")
    facts = ("step", "epoch", "metrics", "reason", "created_at", "run_id", "sequence", "role", "template", "library")
    assert [getattr(snapshot, name) for name in facts] == [getattr(FACTS, name) for name in facts]
    assert snapshot.metadata == {"note": 1}
    assert files.verify(snapshot).created_at == FACTS.created_at


@pytest.mark.parametrize("failing", ["write", "commit"])
@pytest.mark.parametrize("error", [CommitError(errno.EIO, "the disk is gone"), KeyboardInterrupt()])
def test_whatever_stops_a_commit_it_is_aborted_and_the_older_one_stays(staged, failing, error):
    storage = Watched(failing, error)
    older = storage.real.create(NAME, 3)
    older.write(0, b"old")
    older.commit()
    with pytest.raises(type(error)):
        put(storage, NAME, staged, FACTS)
    assert storage.calls[-1] == ("abort",)
    assert content(storage.real) == b"old"


def test_metadata_that_is_no_json_is_refused_before_anything_is_begun(staged):
    storage = Watched()
    with pytest.raises(ValueError, match=r"metadata\['a'\] is builtins.set"):
        put(storage, NAME, staged, FACTS, {"a": {1}})
    assert storage.calls == []


def test_facts_that_do_not_fit_are_refused_with_the_name_before_anything_is_begun(staged):
    storage = Watched()
    facts = files.new_facts(NAME, metrics={f"accuracy of class {i}": 0.5 for i in range(200)})
    with pytest.raises(CaptureError, match=rf"{NAME}: the facts of the snapshot .* most of them its 'metrics'"):
        put(storage, NAME, staged, facts)
    assert storage.calls == []


@pytest.mark.parametrize("name", ["", "../model", "/model", "a//b"])
def test_a_name_that_leads_out_of_the_storage_is_refused(staged, name):
    with pytest.raises(ValueError, match="is no name inside a storage"):
        put(MemoryStorage(), name, staged, FACTS)


def test_one_staged_state_may_be_committed_twice(staged):
    storage = MemoryStorage()
    put(storage, "one", staged, FACTS)
    put(storage, "two", staged, FACTS)
    assert content(storage, "one") == content(storage, "two")
