"""The order of a commit, and what a writer is told."""

from __future__ import annotations

import errno
import os
import threading

import pytest

from holdfast.errors import CommitError
from holdfast.storage.base import TEMPORARY_SUFFIX
from storage.conformance import NEW, OLD, get, put
from storage.looking import files, save, told


def test_bytes_are_synced_before_the_name_and_the_name_before_the_commit_returns(storage, directory, faults):
    upload = storage.create("model", len(NEW))
    with faults.record() as calls:
        upload.write(0, NEW)
        upload.commit()
    assert told(calls, directory) == [
        "pwrite TEMPORARY",
        "fsync TEMPORARY",
        "close TEMPORARY",
        "rename TEMPORARY",
        "close model",  # the second descriptor, which kept the lock
        "fsync .",
        "close .",
    ]


def test_the_size_is_checked_before_anything_is_synced(storage, faults):
    upload = storage.create("model", len(NEW))
    with faults.record() as calls, pytest.raises(CommitError):
        upload.commit()
    assert [call.name for call in calls if call.name in ("fstat", "fsync", "rename")] == ["fstat"]


def test_replacing_a_name_leaves_the_file_that_a_reader_has_open_as_it_was(storage, directory):
    put(storage, "model", OLD)
    with (directory / "model").open("rb") as reader:
        put(storage, "model", NEW)
        assert reader.read() == OLD
    assert get(storage, "model") == NEW


def test_a_committed_file_is_never_opened_for_writing(storage, directory, faults):
    put(storage, "model", OLD)
    opened = []

    def watch(real, path, flags, *rest):
        opened.append((path, flags))
        return real(path, flags, *rest)

    with faults.instead_of("open", watch):
        put(storage, "model", NEW)
        storage.sweep()
        get(storage, "model")
    writable = [path for path, flags in opened if flags & (os.O_WRONLY | os.O_RDWR | os.O_TRUNC | os.O_CREAT)]
    assert len(writable) == 1
    assert writable[0].endswith(TEMPORARY_SUFFIX)


def test_short_and_interrupted_writes_are_continued(storage, faults):
    calls = []

    def reluctant(real, fd, view, offset):
        calls.append(len(view))
        if len(calls) % 2:
            raise InterruptedError(errno.EINTR, "Interrupted system call")
        return real(fd, view[:3], offset)

    with faults.instead_of("pwrite", reluctant):
        put(storage, "model", NEW)
    assert len(calls) > 2 * len(NEW) / 3
    assert get(storage, "model") == NEW


def test_a_short_write_of_wide_items_is_continued_at_the_right_byte(storage, faults):
    upload = storage.create("model", 48)
    with faults.instead_of("pwrite", lambda real, fd, view, offset: real(fd, bytes(view)[:5], offset)):
        upload.write(0, memoryview(bytearray(range(48))).cast("d", [2, 3]))
    upload.commit()
    assert get(storage, "model") == bytes(range(48))


def test_a_write_that_takes_nothing_fails_instead_of_repeating_for_ever(storage, directory, faults):
    with (
        faults.instead_of("pwrite", lambda real, fd, view, offset: 0),
        pytest.raises(CommitError, match="took nothing"),
    ):
        save(storage)
    assert files(directory) == []


def test_a_write_that_lies_about_the_end_of_the_file_is_found_by_its_size(storage, directory, faults):
    def lie(real, fd, view, offset):
        real(fd, view[:-1], offset)
        return len(view)

    with faults.instead_of("pwrite", lie), pytest.raises(CommitError, match=f"the file has {len(NEW) - 1}, instead"):
        save(storage)
    assert files(directory) == []


def test_the_descriptor_is_not_closed_under_a_write_of_another_thread(storage, faults):
    """Closed, its number could be that of another file by the time the write goes on."""
    upload = storage.create("model", len(NEW))
    moved = threading.Event()  # the abort waits, or wrongly got through
    order = []

    class Watched(threading.Condition):
        def wait(self, timeout=None):
            moved.set()
            return super().wait(timeout)

    def abort():
        upload.abort()
        moved.set()

    def slow(real, fd, view, offset):
        aborting.start()
        moved.wait()
        order.append("written")
        return real(fd, view, offset)

    def close(real, fd):
        order.append("closed")
        real(fd)

    upload._state = Watched()
    aborting = threading.Thread(target=abort)
    with faults.instead_of("pwrite", slow), faults.instead_of("close", close):
        upload.write(0, NEW)
        aborting.join()
    assert order == ["written", "closed"]
    assert list(storage.list()) == []


def test_an_abort_that_was_interrupted_can_be_made_again(storage, directory, monkeypatch):
    upload = storage.create("model", len(NEW))
    with monkeypatch.context() as patch:
        patch.setattr(upload, "_wait_for_writes", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            upload.abort()
    upload.abort()
    assert files(directory) == []


def _interrupted():
    raise KeyboardInterrupt


def test_a_write_or_an_abort_that_comes_while_it_gets_its_name_changes_nothing(storage, directory, faults):
    upload = storage.create("model", len(NEW))
    upload.write(0, NEW)

    def late(real, fd):
        with pytest.raises(CommitError):
            upload.write(0, NEW)
        upload.abort()
        real(fd)

    with faults.instead_of("fsync", late):
        upload.commit()
    assert get(storage, "model") == NEW


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
@pytest.mark.parametrize("name", ["truncate", "fstat", "fsync", "dup", "close", "rename"])
def test_whatever_ends_a_commit_the_temporary_file_and_its_descriptor_are_gone(storage, directory, faults, name, error):
    upload = storage.create("model", len(NEW))
    upload.write(0, NEW)
    before = len(os.listdir("/proc/self/fd"))
    raised = []

    def end(real, *arguments):
        if not raised:
            raised.append(1)
            if name == "close":
                real(*arguments)
            raise error
        return real(*arguments)

    with faults.instead_of(name, end):
        try:
            upload.commit()
        except error:
            assert files(directory) == []
            assert len(os.listdir("/proc/self/fd")) < before
    assert raised or name == "truncate"  # a small file is not cut
    put(storage, "model", NEW)
    assert get(storage, "model") == NEW
