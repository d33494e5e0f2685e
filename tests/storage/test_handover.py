"""Files that a savefun writes go the way of all others: whole and durable under their name, or not there."""

from __future__ import annotations

import errno
import os

import pytest

from faults.injection import ERRORS, Crash
from holdfast.errors import CommitError
from holdfast.storage.handover import handed_over
from holdfast.storage.local import LocalStorage

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "file.bin"


def write(path, text):
    with handed_over(path) as partial, open(partial, "w") as file:
        file.write(text)


def test_a_file_gets_its_name_when_the_block_ends(path):
    with handed_over(path) as partial:
        assert os.path.basename(partial) == "file.bin"
        with open(partial, "w") as file:
            file.write("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert os.listdir(path.parent) == ["file.bin"]


def test_bytes_are_synced_before_the_name_and_the_directory_after_it(path, faults):
    with faults.record() as calls:
        write(path, "whole")
    order = [(call.name, os.path.basename(call.path)) for call in calls if call.name in ("fsync", "rename")]
    assert order[-3:] == [("fsync", path.name), ("rename", path.name), ("fsync", path.parent.name)]


def test_a_path_that_was_handed_over_is_not_handed_over_again(path):
    with handed_over(path) as outer:
        with handed_over(outer) as inner:
            assert inner == outer
            with open(inner, "w") as file:
                file.write("once")
        assert not path.exists()
    assert path.read_text() == "once"


def test_a_block_that_fails_leaves_the_older_file_and_nothing_else(path):
    write(path, "old")

    def fails(partial):
        with open(partial, "w") as file:
            file.write("new")
        os.mkdir(os.path.join(os.path.dirname(partial), "a folder of its own"))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), handed_over(path) as partial:
        fails(partial)
    assert path.read_text() == "old"
    assert os.listdir(path.parent) == ["file.bin"]


@pytest.mark.parametrize(
    "leave",
    [lambda at: None, os.mkdir, lambda at: os.symlink("/", at), lambda at: open(at + ".npz", "w").close()],
    ids=["nothing", "folder", "link", "another name"],
)
def test_what_is_no_regular_file_under_the_path_is_refused(path, leave):
    with pytest.raises(CommitError, match=r"exactly the path"), handed_over(path) as partial:
        leave(partial)
    assert os.listdir(path.parent) == []


def test_after_an_error_at_any_call_the_older_file_is_whole_and_nothing_is_left(path, faults):
    write(path, "old")
    with faults.record() as calls:
        write(path, "old")
    tried = 0
    for name, ordinal in calls:
        for code in ERRORS:
            failure = None
            with faults.error_at(name, code, ordinal):
                try:
                    write(path, "new")
                except CommitError as error:
                    failure = error
            failed = failure is not None
            assert not failed or failure.errno == code
            durable = not failed or "outcome is unknown" in str(failure)
            assert path.read_text() == ("new" if durable else "old")
            LocalStorage(path.parent).sweep()
            assert os.listdir(path.parent) == ["file.bin"]
            write(path, "old")
            tried += failed
    assert tried > 2 * len(ERRORS)


def test_after_a_crash_before_any_call_a_whole_file_stands_there_and_a_sweep_cleans_up(path, faults):
    write(path, "old")
    with faults.record() as calls:
        write(path, "old")
    seen = set()
    for name, ordinal in calls:
        with faults.crash_before(name, ordinal), pytest.raises(Crash):
            write(path, "new")
        seen.add(path.read_text())
        assert [entry.name for entry in LocalStorage(path.parent).list()] == ["file.bin"]
        LocalStorage(path.parent).sweep()
        assert os.listdir(path.parent) == ["file.bin"]
        write(path, "old")
    assert seen == {"old", "new"}


def test_a_full_disk_says_how_much_is_needed_and_free(path, faults):
    write(path, "a")
    with faults.record() as calls:
        write(path, "ab")
    of_the_file = sum(call.name == "fsync" for call in calls) - 1
    with faults.error_at("fsync", errno.ENOSPC, of_the_file), pytest.raises(CommitError, match="needs 2 bytes"):
        write(path, "cd")
    assert path.read_text() == "ab"


def test_files_under_way_are_not_listed(path):
    storage = LocalStorage(path.parent)
    with handed_over(path) as partial:
        with open(partial, "w") as file:
            file.write("x")
        assert list(storage.list(1)) == list(storage.list(2)) == []
        assert list(storage.sweep(2)) == []
        assert os.path.exists(partial)
