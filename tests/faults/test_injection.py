"""The faults themselves: a fault that does not do what it says proves nothing."""

from __future__ import annotations

import errno
import os

import pytest

from faults.injection import NAMES, Crash
from holdfast import lock
from holdfast.storage import syscalls
from holdfast.storage.local import LocalStorage


def save(directory):
    upload = LocalStorage(directory).create("model", 1)
    try:
        upload.write(0, b"!")
        upload.commit()
    finally:
        upload.abort()


def test_every_call_of_syscalls_can_be_reached():
    assert {"open", "pwrite", "fsync", "rename", "unlink", "mkdir", "lock_record", "lock_description"} <= set(NAMES)
    assert not {"get", "suppress", "Lock"} & set(NAMES)


def test_a_record_counts_the_calls_of_each_name(tmp_path, faults):
    save(tmp_path)
    with faults.record() as calls:
        fd = syscalls.open(str(tmp_path), os.O_RDONLY)
        syscalls.fsync(fd)
        syscalls.fsync(fd)
        syscalls.close(fd)
    assert [tuple(call) for call in calls] == [("open", 1), ("fsync", 1), ("fsync", 2), ("close", 1)]
    assert {call.path for call in calls} == {str(tmp_path)}


def test_a_crash_happens_before_the_call_and_nothing_cleans_up_after_it(tmp_path, faults):
    with faults.crash_before("rename"), pytest.raises(Crash):
        save(tmp_path)
    [left] = os.listdir(tmp_path)
    assert left.endswith(".holdfast-tmp")


def test_a_dead_process_makes_no_call_until_the_block_ends(tmp_path, faults):
    fd = syscalls.open(str(tmp_path), os.O_RDONLY)
    with faults.crash_before("fsync"):
        for call in (syscalls.fsync, syscalls.fstat, syscalls.close):
            with pytest.raises(Crash):
                call(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    syscalls.stat(str(tmp_path))


def test_a_dead_process_loses_its_locks(tmp_path, faults):
    lock.acquire(str(tmp_path))
    with faults.crash_before("stat"), pytest.raises(Crash):
        save(tmp_path)
    assert lock._held == {}
    lock.acquire(str(tmp_path)).release()


def test_an_error_comes_once_or_lasts_and_does_not_make_the_call(tmp_path, faults):
    paths = [str(tmp_path / name) for name in "abc"]
    for lasting, made in ((False, ["a", "c"]), (True, ["a"])):
        with faults.error_at("mkdir", errno.EIO, 2, lasting=lasting):
            for path in paths:
                try:
                    syscalls.mkdir(path)
                except OSError as error:
                    assert (error.errno, error.filename) == (errno.EIO, path)  # noqa: PT017
        assert sorted(os.listdir(tmp_path)) == made
        for name in made:
            os.rmdir(tmp_path / name)


def test_a_close_that_fails_closes_all_the_same(tmp_path, faults):
    fd = syscalls.open(str(tmp_path), os.O_RDONLY)
    with faults.error_at("close", errno.EIO), pytest.raises(OSError, match="Input/output error"):
        syscalls.close(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


@pytest.mark.parametrize("kind", ["crash", "error"])
def test_a_fault_that_the_block_never_comes_to_fails_the_test(tmp_path, faults, kind):
    block = faults.crash_before("rename", 2) if kind == "crash" else faults.error_at("rename", errno.EIO, 2)
    with pytest.raises(AssertionError, match="no call 2 of rename"), block:
        save(tmp_path)


def test_a_block_that_is_over_leaves_the_calls_as_they_were(tmp_path, faults):
    with faults.error_at("mkdir", errno.EIO, lasting=True), pytest.raises(OSError, match="Input/output error"):
        syscalls.mkdir(str(tmp_path / "a"))
    syscalls.mkdir(str(tmp_path / "a"))
