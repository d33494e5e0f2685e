"""A directory as a storage: names, links, modes, listing, reading, removing."""

from __future__ import annotations

import errno
import os
import time
from collections import Counter

import pytest

from holdfast import lock
from holdfast.errors import CommitError
from holdfast.storage.local import LocalStorage
from storage.conformance import NEW, OLD, StorageConformance, get, put
from storage.looking import descriptors, files, told


class TestLocalStorage(StorageConformance):
    @pytest.fixture
    def storage(self, tmp_path):
        return LocalStorage(tmp_path / "storage")


def test_a_name_that_cannot_be_given_is_refused_before_anything_is_written(storage, directory):
    (directory / "taken").mkdir()
    (directory / "file").write_bytes(OLD)
    for name, number in (("taken", errno.EISDIR), ("x" * 256, errno.ENAMETOOLONG), ("file/model", errno.ENOTDIR)):
        with pytest.raises(CommitError) as raised:
            storage.create(name, 1)
        assert raised.value.errno == number
    assert files(directory) == ["file"]


def test_the_longest_name_that_the_file_system_takes_can_be_committed(storage):
    put(storage, "x" * 255, NEW)
    assert get(storage, "x" * 255) == NEW


def test_a_commit_replaces_a_link_and_not_what_it_points_to(storage, directory, tmp_path):
    outside = tmp_path / "outside"
    outside.write_bytes(OLD)
    (directory / "model").symlink_to(outside)
    (directory / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("model", "dangling"):
        put(storage, name, NEW)
        assert not (directory / name).is_symlink()
        assert get(storage, name) == NEW
    assert outside.read_bytes() == OLD
    assert not (tmp_path / "nowhere").exists()


def test_links_and_what_is_no_regular_file_are_no_names(storage, directory, tmp_path):
    (tmp_path / "outside").write_bytes(OLD)
    (directory / "link").symlink_to(tmp_path / "outside")
    (directory / "directory").mkdir()
    os.mkfifo(directory / "pipe")
    assert list(storage.list()) == []
    for name in ("link", "directory", "pipe"):
        with pytest.raises(FileNotFoundError):
            storage.read(name, 0, 1)
        with pytest.raises(FileNotFoundError):
            storage.stat(name)


def test_removing_a_link_leaves_what_it_points_to(storage, directory, tmp_path):
    (tmp_path / "outside").write_bytes(OLD)
    (directory / "link").symlink_to(tmp_path / "outside")
    storage.remove("link")
    assert files(directory) == []
    assert (tmp_path / "outside").read_bytes() == OLD


def test_names_through_a_linked_directory_are_refused_and_not_listed(storage, directory, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "model").write_bytes(OLD)
    (directory / "link").symlink_to(outside)
    for method, arguments in (("create", (1,)), ("read", (0, 1)), ("stat", ()), ("remove", ())):
        with pytest.raises(ValueError, match="symbolic link"):
            getattr(storage, method)("link/model", *arguments)
    assert list(storage.list(depth=2)) == []
    assert files(outside) == ["model"]


def test_the_directory_itself_may_be_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    put(LocalStorage(tmp_path / "out"), "model", NEW)
    assert (tmp_path / "disk" / "model").read_bytes() == NEW


def test_a_later_change_of_the_working_directory_changes_nothing(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    storage = LocalStorage("out")
    monkeypatch.chdir(tmp_path / "elsewhere")
    put(storage, "model", NEW)
    assert files(tmp_path) == ["out/model"]
    assert storage.location == str(tmp_path / "out")


@pytest.mark.parametrize(("umask", "file_mode", "directory_mode"), [(0o022, 0o644, 0o755), (0o027, 0o640, 0o750)])
def test_modes_follow_the_umask(tmp_path, umask, file_mode, directory_mode):
    before = os.umask(umask)
    try:
        put(LocalStorage(tmp_path / "out"), "model/it_1", NEW)
    finally:
        os.umask(before)
    assert (tmp_path / "out" / "model" / "it_1").stat().st_mode & 0o7777 == file_mode
    for name in ("out", "out/model"):
        assert (tmp_path / name).stat().st_mode & 0o7777 == directory_mode


def test_the_lock_and_temporary_files_are_not_listed(storage, directory):
    held = lock.acquire(storage.location)
    upload = storage.create("model", len(NEW))
    assert len(files(directory)) == 2
    assert list(storage.list()) == []
    upload.abort()
    held.release()


def test_a_place_that_is_only_read_must_exist_and_is_not_written_to(tmp_path, faults):
    with pytest.raises(FileNotFoundError):
        LocalStorage(tmp_path / "missing", create=False)
    (tmp_path / "file").write_bytes(OLD)
    for create in (True, False):
        with pytest.raises(NotADirectoryError):
            LocalStorage(tmp_path / "file", create=create)
    put(LocalStorage(tmp_path / "out"), "model", NEW)
    before = (tmp_path / "out").stat()
    with faults.record() as calls:
        storage = LocalStorage(tmp_path / "out", create=False)
        assert [entry.name for entry in storage.list()] == ["model"]
        assert get(storage, "model") == NEW
    assert {call.name for call in calls} == {"stat", "scandir", "open", "fstat", "pread", "close"}
    assert (tmp_path / "out").stat().st_mtime_ns == before.st_mtime_ns
    assert files(tmp_path) == ["file", "out/model"]


def test_a_listing_of_a_directory_that_is_gone_is_an_error_and_not_empty(storage, directory):
    directory.rmdir()
    with pytest.raises(FileNotFoundError):
        storage.list()


def test_a_read_that_comes_in_parts_is_put_together(storage, faults):
    put(storage, "model", NEW)
    with faults.instead_of("pread", lambda real, fd, size, offset: real(fd, min(size, 4), offset)):
        assert storage.read("model", 1, 20) == NEW[1:21]


def test_a_read_of_a_file_that_shrinks_meanwhile_ends(storage, directory, faults):
    put(storage, "model", NEW)

    def shrink(real, fd, size, offset):
        os.truncate(directory / "model", 2)
        return real(fd, size, offset)

    with faults.instead_of("pread", shrink):
        assert storage.read("model", 0, len(NEW)) == NEW[:2]


def test_an_error_while_reading_closes_the_file(storage, faults):
    put(storage, "model", NEW)
    before = descriptors()
    for name in ("open", "fstat", "pread", "close"):
        with faults.error_at(name, errno.EIO), pytest.raises(OSError, match="Input/output error"):
            storage.read("model", 0, 1)
        assert descriptors() == before


@pytest.fixture
def thousand(directory):
    for i in range(1000):
        (directory / f"snapshot_{i:08d}.safetensors").write_bytes(bytes(8192))


@pytest.mark.usefixtures("thousand")
def test_listing_and_reading_a_thousand_headers_takes_four_calls_each(storage, faults):
    with faults.record() as calls:
        for entry in storage.list():
            storage.read(entry.name, 0, 4096)
    counts = Counter(call.name for call in calls)
    assert counts == {"scandir": 1, "open": 1000, "fstat": 1000, "pread": 1000, "close": 1000}


@pytest.mark.usefixtures("thousand")
def test_listing_and_reading_a_thousand_headers_takes_well_under_a_tenth_of_a_second(storage):
    durations = []
    for _ in range(5):
        begun = time.process_time()
        for entry in storage.list():
            storage.read(entry.name, 0, 4096)
        durations.append(time.process_time() - begun)
    print(f"{1000 * min(durations):.0f} ms")
    assert min(durations) < 0.1  # nothing waits for a disk here: the rest is what other programs took of the machine


def test_a_removal_is_synced(storage, directory, faults):
    put(storage, "model/it_1", OLD)
    with faults.record() as calls:
        storage.remove("model/it_1")
    assert told(calls, directory) == ["unlink model/it_1", "fsync model", "close model"]


def test_a_removal_that_cannot_be_synced_says_that_the_file_may_come_back(storage, faults):
    put(storage, "model", OLD)
    with faults.error_at("fsync", errno.EIO), pytest.raises(CommitError, match="may bring it back") as raised:
        storage.remove("model")
    assert raised.value.errno == errno.EIO


def test_a_removal_that_fails_leaves_the_file(storage, faults):
    put(storage, "model", OLD)
    with faults.error_at("unlink", errno.EROFS), pytest.raises(CommitError, match="is as it was") as raised:
        storage.remove("model")
    assert raised.value.errno == errno.EROFS
    assert get(storage, "model") == OLD
