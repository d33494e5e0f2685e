"""A store whose snapshots fail: on_failure="warn" costs that snapshot only, mistakes are raised, and free space is
looked at before anything is written."""

from __future__ import annotations

import errno
import os
import re

import numpy as np
import pytest

from faults.writing import IN_THIS_PROCESS, WRITERS, name_of
from holdfast.errors import CaptureError, CommitError, MismatchError, StagingError
from holdfast.format import header
from holdfast.series import is_of_the_machine
from holdfast.storage import syscalls
from holdfast.storage.local import LocalStorage
from holdfast.store import SnapshotStore
from holdfast.writers import ThreadWriter
from snapshots import finished
from storage.looking import descriptors, files

pytestmark = pytest.mark.timeout(60)


def state(value: float = 0.0, size: int = 8) -> dict[str, object]:
    return {"w": np.full(size, value, np.float32)}


@pytest.fixture
def location(tmp_path):
    return tmp_path / "run"


def steps(store):
    return [snapshot.step for snapshot in store.snapshots()]


# on_failure="warn"


@pytest.mark.parametrize(
    ("name", "number"),
    [("pwrite", errno.ENOSPC), ("fsync", errno.EIO), ("rename", errno.EROFS), ("open", errno.EMFILE)],
)
def test_with_warn_it_costs_that_snapshot_only_and_is_logged_once_with_its_path(
    location, writing, caplog, name, number
):
    with writing.store(location, on_failure="warn") as store:
        store.save(1, state(1)).result()
        with writing.faults.error_at(name, number, lasting=True):
            pending = finished(store.save(2, state(2)))
        store.save(3, state(3)).result()
        store.wait()
        assert steps(store) == [1, 3]
    assert pending.exception().errno == number
    [record] = [record for record in caplog.records if "training goes on" in record.getMessage()]
    assert (record.levelname, record.name) == ("WARNING", "holdfast")
    assert str(location / "snapshot_00000002.safetensors") in record.getMessage()
    assert os.strerror(number) in record.getMessage()


@pytest.mark.parametrize("kind", WRITERS, ids=name_of)
def test_with_warn_a_copy_for_which_there_is_no_memory_costs_that_snapshot_only(location, caplog, kind):
    with SnapshotStore(location, writer=kind(budget_bytes=1000), on_failure="warn") as store:
        pending = store.save(1, state(1, size=1000))
        assert pending.done()
        store.save(2, state(2)).result()
        store.wait()
        assert steps(store) == [2]
    assert isinstance(pending.exception(), StagingError)
    [record] = [record for record in caplog.records if "training goes on" in record.getMessage()]
    assert "snapshot_00000001" in record.getMessage()
    assert "budget_bytes" in record.getMessage()


def test_without_it_save_raises_what_was_not_staged(location):
    with SnapshotStore(location, writer=ThreadWriter(budget_bytes=1000)) as store:
        with pytest.raises(StagingError):
            store.save(1, state(1, size=1000))
        store.save(2, state(2)).result()


@pytest.mark.parametrize("kind", WRITERS, ids=name_of)
@pytest.mark.parametrize("ends", ["save", "wait", "close"])
def test_a_mistake_that_shows_in_the_background_is_raised_in_spite_of_warn(location, monkeypatch, kind, ends):
    monkeypatch.setattr(header, "MAX_HEADER", 8192)
    store = SnapshotStore(location, writer=kind(), on_failure="warn")
    finished(store.save(1, state(1), metadata={"text": "x" * 9000}))
    with pytest.raises(CaptureError, match="header"):
        {"save": lambda: store.save(2, state(2)), "wait": store.wait, "close": store.close}[ends]()
    store.close()
    with SnapshotStore(location, readonly=True) as again:
        assert steps(again) == ([2] if ends == "save" else [])


@pytest.mark.parametrize(
    ("arguments", "error"),
    [((1, object()), CaptureError), (("1", {}), TypeError), ((-1, {}), ValueError)],
    ids=["target", "kind of step", "step"],
)
def test_mistakes_in_the_arguments_are_raised_in_spite_of_warn(location, arguments, error):
    with SnapshotStore(location, on_failure="warn") as store, pytest.raises(error):
        store.save(*arguments)


def caused(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (CommitError(errno.ENOSPC, "x: not committed"), True),
        (CommitError("x: the outcome is unknown"), True),
        (StagingError("no memory"), True),
        (MemoryError(), True),
        (OSError(errno.EIO, "x"), True),
        (caused(CommitError(errno.EIO, "x: OSError"), OSError(errno.EIO, "x")), True),
        (caused(CommitError("x: MemoryError"), MemoryError()), True),
        (caused(CommitError("x: TypeError"), TypeError("no path")), False),
        (caused(CommitError("x: CommitError"), caused(CommitError("x"), KeyError("y"))), False),
        (CaptureError("x"), False),
        (MismatchError("x"), False),
        (TypeError("x"), False),
        (KeyboardInterrupt(), False),
        (None, False),
    ],
    ids=repr,
)
def test_what_is_of_the_machine(error, answer):
    assert is_of_the_machine(error) is answer


# free space


@pytest.fixture
def upload(location):
    """Begins a file of 5000 bytes."""
    storage = LocalStorage(location)
    return lambda size_bytes=5000: storage.create("model", size_bytes)


def test_free_space_is_looked_at_before_anything_is_made(location, upload, faults):
    before = descriptors()
    with (
        faults.instead_of("free_bytes", lambda real, path: 4999),
        faults.record() as calls,
        pytest.raises(CommitError) as raised,
    ):
        upload()
    assert raised.value.errno == errno.ENOSPC
    message = str(raised.value)
    assert message.startswith(
        f"[Errno {errno.ENOSPC}] {location / 'model'}: not committed, and nothing of it was written"
    )
    assert f"needs 5000 bytes, 4999 are free in {location}" in message
    assert "free some space, or keep fewer snapshots" in message
    assert {call.name for call in calls} <= {"stat", "free_bytes"}
    assert files(location) == []
    assert descriptors() == before


def test_large_sizes_are_also_told_in_mib(upload, faults):
    with faults.instead_of("free_bytes", lambda real, path: 3 << 20), pytest.raises(CommitError) as raised:
        upload(5 << 20)
    assert "(5.0 MiB and 3.0 MiB)" in str(raised.value)


def test_room_for_exactly_the_file_is_room(upload, faults):
    with faults.instead_of("free_bytes", lambda real, path: 5000):
        upload().abort()


def test_a_file_that_is_replaced_gives_no_room(location, faults):
    with SnapshotStore(location) as store:
        size_bytes = store.save(1, state(1, size=100_000)).result().size_bytes
        with faults.instead_of("free_bytes", lambda real, path: size_bytes - 1):
            assert finished(store.save(1, state(2, size=100_000))).exception().errno == errno.ENOSPC
        with faults.instead_of("free_bytes", lambda real, path: size_bytes):
            store.save(1, state(3, size=100_000)).result()
        target = state(0, size=100_000)
        store.resume(target)
    assert (target["w"] == 3).all()


def test_a_file_system_that_does_not_say_what_is_free_is_believed_to_have_room(upload, faults):
    with faults.instead_of("free_bytes", lambda real, path: None):
        upload().abort()
    with faults.error_at("free_bytes", errno.EIO):
        upload().abort()


def test_one_without_blocks_does_not_say_it():
    assert syscalls.free_bytes("/proc") is None


@pytest.mark.parametrize(("user", "blocks"), [(0, 7), (1000, 5)], ids=["root", "another"])
def test_blocks_that_are_kept_for_root_are_roots(monkeypatch, user, blocks):
    found = os.statvfs_result((512, 512, 100, 7, 5, 10, 10, 10, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: found)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    assert syscalls.free_bytes("/") == blocks * 512


def test_a_directory_that_is_missing_as_yet_is_on_the_file_system_above_it(location, faults):
    asked = []

    def ask(real, path):
        asked.append(path)
        return real(path)

    with faults.instead_of("free_bytes", ask):
        LocalStorage(location).create("a/b/c", 10).abort()
    assert asked == [str(location / "a/b"), str(location / "a"), str(location)]


@pytest.mark.parametrize("kind", IN_THIS_PROCESS, ids=name_of)
def test_a_save_for_which_there_is_no_room_leaves_older_ones_good_and_the_next_works(location, faults, caplog, kind):
    with SnapshotStore(location, writer=kind(), on_failure="warn") as store:
        store.save(1, state(1)).result()
        with faults.instead_of("free_bytes", lambda real, path: 100):
            assert finished(store.save(2, state(2))).exception().errno == errno.ENOSPC
        assert files(location) == [".holdfast-lock", "snapshot_00000001.safetensors"]
        store.save(3, state(3)).result()
        assert steps(store) == [1, 3]
    assert re.search(r"snapshot_00000002.*needs \d+ bytes, 100 are free in ", caplog.text)


def test_a_file_larger_than_the_limit_of_the_process_says_so(upload, faults):
    with faults.error_at("allocate", errno.EFBIG), pytest.raises(CommitError, match="ulimit -f"):
        upload(5 << 20)
