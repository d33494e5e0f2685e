"""The power-loss file system, mounted: what programs may rely on, what its `.ctl` does, and how holdfast gets along."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import struct
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import holdfast
from faults.campaigns import Unavailable
from faults.powerloss.operations import (
    Ack,
    FailedSync,
    Link,
    Mark,
    Rename,
    Sync,
    SyncDirectory,
    Truncate,
    Unlink,
    Write,
)
from faults.powerloss.recording import mounted
from holdfast.storage import direct_io

FLOCK = struct.Struct("hhqqi4x")


@contextmanager
def mount_or_skip(folder, **options):
    folder.mkdir()
    try:
        with mounted(folder, **options) as found:
            yield found
    except Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with mount_or_skip(tmp_path_factory.mktemp("powerloss") / "server") as found:
        yield found


@pytest.fixture
def mount(server):
    server.tell("clear")
    return server


def sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def kinds(log):
    return [type(operation) for operation in log]


def test_files_directories_and_links_are_as_elsewhere(mount):
    os.makedirs(mount.path / "a/b")
    (mount.path / "a/file").write_bytes(b"bytes")
    os.symlink("file", mount.path / "a/link")
    os.link(mount.path / "a/file", mount.path / "a/hard")
    os.rename(mount.path / "a/file", mount.path / "a/b/moved")
    assert sorted(os.listdir(mount.path / "a")) == ["b", "hard", "link"]
    assert (mount.path / "a/hard").read_bytes() == b"bytes"
    assert os.readlink(mount.path / "a/link") == "file"
    with pytest.raises(OSError, match="not empty"):
        os.rmdir(mount.path / "a/b")
    with pytest.raises(FileExistsError):
        os.mkdir(mount.path / "a")
    os.unlink(mount.path / "a/b/moved")
    os.rmdir(mount.path / "a/b")
    entries = {
        entry.name: (entry.is_file(follow_symlinks=False), entry.is_symlink()) for entry in os.scandir(mount.path / "a")
    }
    assert entries == {"hard": (True, False), "link": (False, True)}


def test_a_rename_onto_a_directory_that_is_in_use_fails(mount):
    os.makedirs(mount.path / "full/of")
    os.mkdir(mount.path / "dir")
    (mount.path / "file").touch()
    for old, new, number in [
        ("dir", "full", errno.ENOTEMPTY),
        ("file", "dir", errno.EISDIR),
        ("dir", "file", errno.ENOTDIR),
    ]:
        with pytest.raises(OSError, match=r"\[Errno") as caught:
            os.rename(mount.path / old, mount.path / new)
        assert caught.value.errno == number
    os.rename(mount.path / "full", mount.path / "dir")
    assert os.listdir(mount.path / "dir") == ["of"]


def test_every_operation_is_recorded_in_its_order(mount):
    with open(mount.path / "new", "wb") as file:
        file.write(b"bytes")
        file.flush()
        os.fsync(file.fileno())
        os.ftruncate(file.fileno(), 2)
    os.rename(mount.path / "new", mount.path / "name")
    sync(mount.path)
    mount.tell("ack it")
    os.unlink(mount.path / "name")
    log = mount.log()
    assert kinds(log) == [Link, Write, Sync, Truncate, Rename, SyncDirectory, Ack, Unlink]
    assert log[1].data == b"bytes"
    assert log[6] == Ack("it")


def test_opening_may_cut_a_file_to_nothing_and_may_append_to_it(mount):
    (mount.path / "file").write_bytes(b"long ago")
    (mount.path / "file").write_bytes(b"new")
    with open(mount.path / "file", "ab") as file:
        file.write(b"er")
    assert (mount.path / "file").read_bytes() == b"newer"
    assert [(type(one), getattr(one, "offset", 0)) for one in mount.log()] == [
        (Link, 0), (Write, 0), (Truncate, 0), (Write, 0), (Write, 3),
    ]  # fmt: skip


def test_a_crash_leaves_what_was_synced_and_open_files_are_dead(mount):
    (mount.path / "kept").write_bytes(b"kept")
    sync(mount.path / "kept")
    sync(mount.path)
    mount.tell("ack kept")
    with open(mount.path / "lost", "wb", buffering=0) as file:
        file.write(b"lost")
        mount.tell("crash")
        with pytest.raises(OSError, match="Input/output"):
            file.write(b"more")
    assert os.listdir(mount.path) == ["kept"]
    assert (mount.path / "kept").read_bytes() == b"kept"
    log = mount.log()
    assert kinds(log[-2:]) == [Ack, Mark]
    with open(mount.path / "next", "wb") as file:
        file.write(b"!")
    assert kinds(mount.log()[len(log) :]) == [Link, Write]


@pytest.mark.parametrize(("how", "found"), [("meta", b""), ("sizes journal", bytes(4)), ("all", b"data")])
def test_a_crash_takes_a_policy_and_a_model(mount, how, found):
    (mount.path / "new").write_bytes(b"data")
    mount.tell(f"crash {how}")
    assert (mount.path / "new").read_bytes() == found


def test_a_failing_fsync_loses_the_data_though_the_next_one_succeeds(mount):
    with open(mount.path / "new", "wb", buffering=0) as file:
        file.write(b"data")
        mount.tell("eio 1")
        with pytest.raises(OSError, match="Input/output"):
            os.fsync(file.fileno())
        os.fsync(file.fileno())
        sync(mount.path)
    assert (mount.path / "new").read_bytes() == b"data"
    assert FailedSync in kinds(mount.log())
    mount.tell("crash all")
    assert (mount.path / "new").read_bytes() == b""


def test_failing_writes_do_nothing_and_can_be_ended(mount):
    with open(mount.path / "new", "wb", buffering=0) as file:
        mount.tell("wfail 5")
        with pytest.raises(OSError, match="Input/output"):
            file.write(b"data")
        mount.tell("wfail 0")
        file.write(b"more")
    assert (mount.path / "new").read_bytes() == b"more"


@pytest.mark.parametrize("words", ["jump", "ack", "ack two words", "crash somehow", "crash none lax", "eio x", "dump"])
def test_what_the_control_does_not_know_is_refused(mount, words):
    with pytest.raises(OSError, match="Invalid argument"):
        mount.tell(words)
    assert mount.log() == []


def test_the_control_is_no_file_of_the_disk(mount):
    assert os.listdir(mount.path) == []
    assert (mount.path / ".ctl").read_bytes() == b""


LOCKER = """
import fcntl, sys
with open(sys.argv[1], "r+b") as file:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 0)
    except BlockingIOError:
        sys.exit(0)
sys.exit("it was not locked")
"""


def test_record_locks_and_locks_of_open_files_keep_others_out(mount):
    place = mount.path
    (place / "file").touch()
    with open(place / "file", "r+b") as one, open(place / "file", "r+b") as two:
        fcntl.fcntl(one, fcntl.F_OFD_SETLK, FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        with pytest.raises(BlockingIOError):
            fcntl.fcntl(two, fcntl.F_OFD_SETLK, FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    with open(place / "file", "r+b") as one:
        fcntl.lockf(one, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 0)
        mount.run(["-c", LOCKER, str(place / "file")])


def test_a_private_map_shows_the_bytes_and_a_shared_one_is_refused(mount):
    (mount.path / "file").write_bytes(b"bytes" * 1000)
    with open(mount.path / "file", "r+b") as file:
        with mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ) as view:
            assert view[:5] == b"bytes"
        with pytest.raises(OSError, match=r"No such device|Invalid|not supported"):
            mmap.mmap(file.fileno(), 0, flags=mmap.MAP_SHARED)


LARGE = {"w": np.arange(400_001, dtype=np.float32)}


def test_a_large_file_of_holdfasts_goes_past_the_page_cache_in_a_reserved_room(mount, monkeypatch):
    monkeypatch.setattr(direct_io, "_refused", set())
    holdfast.save(mount.path / "large", LARGE)
    np.testing.assert_array_equal(holdfast.load(mount.path / "large")["w"], LARGE["w"])
    assert direct_io._refused == set()
    sizes = [operation.size_bytes for operation in mount.log() if isinstance(operation, Truncate)]
    assert sizes == [os.path.getsize(mount.path / "large")] * len(sizes)
    assert len(sizes) == 2  # reserved, and cut to its size
    target = {"w": np.zeros_like(LARGE["w"])}
    np.testing.assert_array_equal(holdfast.restore(mount.path / "large", target)["w"], LARGE["w"])


def test_without_fallocate_a_large_file_is_written_all_the_same(tmp_path):
    with mount_or_skip(tmp_path / "server", allocates=False) as mount:
        fd = os.open(mount.path / "file", os.O_CREAT | os.O_RDWR)
        try:
            with pytest.raises(OSError, match="not supported"):
                holdfast.storage.syscalls.allocate(fd, 100)
        finally:
            os.close(fd)
        holdfast.save(mount.path / "large", LARGE)
        np.testing.assert_array_equal(holdfast.load(mount.path / "large")["w"], LARGE["w"])
        assert len([operation for operation in mount.log() if isinstance(operation, Truncate)]) == 1


def test_a_program_that_fails_says_why(mount):
    with pytest.raises(RuntimeError, match=r"ended with status 1: (?s:.*)LookupError: no such thing"):
        mount.run(["-c", "raise LookupError('no such thing')"])
