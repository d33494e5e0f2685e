"""Directories are durable before a commit relies on them."""

from __future__ import annotations

import errno
import os

from holdfast.storage.local import LocalStorage
from storage.conformance import NEW, OLD, get, put
from storage.looking import told


def test_new_directories_are_synced_with_their_parents_before_the_first_byte(tmp_path, faults):
    with faults.record() as calls:
        storage = LocalStorage(tmp_path / "runs" / "one")
        upload = storage.create("model/deep/it_1", len(NEW))
    lines = [line for line in told(calls, tmp_path) if not line.startswith("close")]
    made = [f"mkdir {name}" for name in ("runs", "runs/one", "runs/one/model", "runs/one/model/deep")]
    synced = [f"fsync {name}" for name in (".", "runs", "runs/one", "runs/one/model", "runs/one/model/deep")]
    assert [line for line in lines if line.startswith("mkdir")] == made
    assert set(synced) == set(lines) - set(made)
    assert max(map(lines.index, made)) < min(map(lines.index, synced))
    upload.abort()


def test_directories_of_unknown_age_are_synced_once_by_each_storage(tmp_path, faults):
    (tmp_path / "runs" / "one").mkdir(parents=True)  # by a process that may have been killed before it could sync
    storage = LocalStorage(tmp_path / "runs" / "one")
    with faults.record() as calls:
        storage.create("it_1", 0).abort()
    assert {"fsync .", "fsync runs", "fsync runs/one"} <= set(told(calls, tmp_path))
    with faults.record() as calls:
        storage.create("it_2", 0).abort()
    assert not [line for line in told(calls, tmp_path) if line.startswith("fsync")]


def test_directories_removed_meanwhile_are_made_and_synced_again(storage, directory, faults):
    put(storage, "model/it_1", OLD)
    (directory / "model" / "it_1").unlink()
    (directory / "model").rmdir()
    with faults.record() as calls:
        put(storage, "model/it_2", NEW)
    assert {"mkdir model", "fsync .", "fsync model"} <= set(told(calls, directory))


def test_directories_above_are_synced_as_far_as_they_lie_on_the_same_file_system(tmp_path, faults):
    storage = LocalStorage(tmp_path / "mount" / "one")

    def mounted(real, path, **named):
        found = real(path, **named)
        return found if path.startswith(str(tmp_path / "mount")) else os.stat("/proc")

    with faults.instead_of("stat", mounted), faults.record() as calls:
        put(storage, "model", NEW)
    synced = {call.path for call in calls if call.name == "fsync"} - {
        call.path for call in calls if call.name == "pwrite"
    }
    assert synced == {str(tmp_path / "mount"), str(tmp_path / "mount" / "one")}


def test_a_directory_that_another_process_makes_at_the_same_moment_is_taken(storage, faults):
    with faults.instead_of("mkdir", lambda real, path: (os.mkdir(path), real(path))):
        put(storage, "model/it_1", NEW)
    assert get(storage, "model/it_1") == NEW


def test_a_directory_above_that_may_not_be_read_is_passed_over(storage, faults):
    with faults.error_at("open", errno.EACCES, 2):  # the first is the storage's own
        put(storage, "model", NEW)
    assert get(storage, "model") == NEW


def test_where_directories_cannot_be_synced_the_commit_still_succeeds(storage, directory, faults):
    def refuse(real, fd):
        if os.readlink(f"/proc/self/fd/{fd}") == str(directory):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(fd)

    with faults.instead_of("fsync", refuse):
        put(storage, "model", NEW)
    assert get(storage, "model") == NEW
