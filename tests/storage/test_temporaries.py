"""Temporary files: how they are made, who sweeps them, and what a fork does to them."""

from __future__ import annotations

import errno
import logging
import os
import re

import pytest

from holdfast.storage import temporaries
from holdfast.storage.base import TEMPORARY_SUFFIX
from storage.conformance import NEW, OLD, get, put
from storage.looking import files, save

DEAD = f".{'0' * 16}{TEMPORARY_SUFFIX}"  # as a writer that was killed leaves one
LINK = f".{'1' * 16}{TEMPORARY_SUFFIX}"


def test_the_temporary_file_is_made_exclusively_hidden_and_in_the_directory_of_its_name(storage, directory, faults):
    flags_of = {}

    def watch(real, path, flags, *rest):
        flags_of[path] = flags
        return real(path, flags, *rest)

    with faults.instead_of("open", watch):
        upload = storage.create("model/it_1", 1)
    [name] = os.listdir(directory / "model")
    assert re.fullmatch(r"\.[0-9a-f]{16}\.holdfast-tmp", name)
    flags = flags_of[str(directory / "model" / name)]
    assert flags & os.O_EXCL
    assert flags & os.O_CREAT
    assert not flags & os.O_TRUNC
    upload.abort()


def test_a_name_that_is_taken_is_not_used_for_a_temporary_file(storage, directory, monkeypatch):
    taken = directory / f".{bytes(8).hex()}{TEMPORARY_SUFFIX}"
    taken.write_bytes(OLD)
    random = [bytes(8), b"another!"]
    monkeypatch.setattr(os, "urandom", lambda size: random.pop(0) if random else b"\1" * size)
    put(storage, "model", NEW)
    assert taken.read_bytes() == OLD
    assert get(storage, "model") == NEW
    assert temporaries._own == {}


HOLDER = """
import sys
from holdfast.storage import syscalls
from holdfast.storage.local import LocalStorage

if "record" in sys.argv:  # a file system without locks of open files
    def unknown(fd):
        raise OSError(22, "Invalid argument")
    syscalls.lock_description = unknown
upload = LocalStorage(sys.argv[1]).create("model", 4)
upload.write(0, b"held")
print("ready", flush=True)
sys.stdin.readline()
upload.commit()
"""


@pytest.mark.parametrize("kind", ["description", "record"])
def test_a_sweep_leaves_what_a_living_process_writes(storage, directory, program, kind):
    holder = program(HOLDER, directory, kind)
    assert holder.line() == "ready"
    [left] = files(directory)
    assert storage.sweep() == []
    assert files(directory) == [left]
    holder.go_on()
    holder.end()
    assert get(storage, "model") == b"held"
    assert files(directory) == ["model"]


@pytest.mark.parametrize("kind", ["description", "record"])
def test_a_sweep_removes_what_a_killed_process_wrote(storage, directory, program, kind, caplog):
    put(storage, "model", OLD)
    holder = program(HOLDER, directory, kind)
    assert holder.line() == "ready"
    holder.kill()
    [left] = [name for name in files(directory) if name != "model"]
    with caplog.at_level(logging.INFO, "holdfast"):
        assert storage.sweep() == [left]
    assert left in caplog.text
    assert files(directory) == ["model"]
    assert get(storage, "model") == OLD


def test_a_sweep_leaves_what_this_process_writes_where_only_record_locks_exist(storage, directory, faults):
    """A record lock keeps its own process out of nothing, and closing a descriptor of the file lets it go."""
    with faults.error_at("lock_description", errno.EINVAL, lasting=True):
        upload = storage.create("model", len(NEW))
        assert storage.sweep() == []
        upload.write(0, NEW)
        with faults.instead_of("rename", lambda real, old, new: (storage.sweep(), real(old, new))):
            upload.commit()
    assert get(storage, "model") == NEW


RENAMER = """
import sys
from holdfast.storage import syscalls
from holdfast.storage.local import LocalStorage

rename = syscalls.rename
def slow(old, new):
    print("ready", flush=True)
    sys.stdin.readline()
    rename(old, new)
syscalls.rename = slow
upload = LocalStorage(sys.argv[1]).create("model", 4)
upload.write(0, b"held")
upload.commit()
"""


def test_a_sweep_leaves_a_file_that_is_closed_and_not_yet_renamed(storage, directory, program):
    holder = program(RENAMER, directory)
    assert holder.line() == "ready"
    assert storage.sweep() == []
    holder.go_on()
    holder.end()
    assert get(storage, "model") == b"held"


def test_a_writer_whose_new_file_was_swept_before_it_could_lock_it_makes_another(storage, directory, faults):
    swept = []

    def sweep_first(real, fd):
        if not swept:
            swept.append(os.readlink(f"/proc/self/fd/{fd}"))
            os.unlink(swept[0])
        return real(fd)

    with faults.instead_of("lock_description", sweep_first):
        save(storage)
    assert swept
    assert get(storage, "model") == NEW
    assert files(directory) == ["model"]


def test_a_writer_whose_new_file_is_being_swept_makes_another(storage, directory, faults):
    locked = []

    def swept_first(real, fd):
        locked.append(os.readlink(f"/proc/self/fd/{fd}"))
        return len(locked) > 1 and real(fd)

    with faults.instead_of("lock_description", swept_first), faults.record() as calls:
        save(storage)
    assert [call.path for call in calls if call.name == "rename"] == locked[1:]
    assert get(storage, "model") == NEW
    assert files(directory) == ["model"]


def test_a_file_that_got_its_name_while_it_was_being_swept_stays(storage, directory, faults, caplog):
    """The lock that a sweep gets may come from a writer that has just renamed the file and let go of it."""
    left = directory / DEAD
    left.write_bytes(NEW)

    def rename_first(real, fd):
        os.rename(left, directory / "model")
        return real(fd)

    with faults.instead_of("lock_description", rename_first):
        assert storage.sweep() == []
    assert caplog.records == []
    assert get(storage, "model") == NEW


def test_without_locks_files_are_committed_and_nothing_is_swept(storage, directory, faults):
    left = directory / DEAD
    left.write_bytes(OLD)

    def none(real, *arguments):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    with faults.instead_of("lock_description", none), faults.instead_of("lock_record", none):
        save(storage)
        assert storage.sweep() == []
    assert get(storage, "model") == NEW
    assert left.read_bytes() == OLD


def test_a_sweep_goes_as_deep_as_it_is_told_and_touches_nothing_else(storage, directory, tmp_path, caplog):
    outside = tmp_path / "outside"
    outside.mkdir()
    names = ["a", "b/c", "d/e/f"]
    for above in ("", "b/", "d/e/"):
        (directory / above).mkdir(parents=True, exist_ok=True)
        (directory / above / DEAD).write_bytes(OLD)
    for name in [*names, ".hidden", f"visible{TEMPORARY_SUFFIX}", ".holdfast-lock"]:
        (directory / name).write_bytes(OLD)
    (outside / DEAD).write_bytes(OLD)
    (directory / "link").symlink_to(outside)
    (directory / LINK).symlink_to(directory / "a")
    (directory / f".{'d' * 16}{TEMPORARY_SUFFIX}").mkdir()
    assert storage.sweep() == [DEAD]
    assert storage.sweep(depth=3) == [f"b/{DEAD}", f"d/e/{DEAD}"]
    kept = [*names, ".hidden", ".holdfast-lock", LINK, "link", f"visible{TEMPORARY_SUFFIX}"]
    assert files(directory) == sorted(kept)
    assert files(outside) == [DEAD]
    assert caplog.records == []


@pytest.mark.parametrize(
    "name",
    [".notes", ".0123456789abcde", ".0123456789abcdef0", ".0123456789ABCDEF", "0123456789abcdef", ".é123456789abcde"],
)
def test_a_file_whose_name_only_resembles_that_of_a_temporary_file_is_not_swept(storage, directory, name):
    (directory / (name + TEMPORARY_SUFFIX)).write_bytes(OLD)
    (directory / f"{DEAD}\n").write_bytes(OLD)
    assert storage.sweep() == []
    assert len(files(directory)) == 2


def test_of_a_hard_link_that_is_swept_only_the_name_goes(storage, directory, tmp_path):
    (tmp_path / "outside").write_bytes(OLD)
    os.link(tmp_path / "outside", directory / DEAD)
    assert storage.sweep() == [DEAD]
    assert (tmp_path / "outside").read_bytes() == OLD


def test_what_cannot_be_swept_is_logged_and_no_error(storage, directory, faults, caplog):
    (directory / DEAD).write_bytes(OLD)
    for name in ("open", "lock_description", "unlink", "close"):
        caplog.clear()
        with faults.error_at(name, errno.EIO):
            assert storage.sweep() == []
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert DEAD in caplog.text


FORKED = """
import os, sys, threading
from holdfast.errors import CommitError
from holdfast.storage import temporaries
from holdfast.storage.local import LocalStorage

def write_for_long():
    with upload._state:
        writing.set()
        forked.wait()

storage = LocalStorage(sys.argv[1])
upload = storage.create("model", 4)
upload.write(0, b"of p")
opened = len(os.listdir("/proc/self/fd"))
writing, forked = threading.Event(), threading.Event()
threading.Thread(target=write_for_long).start()
writing.wait()
child = os.fork()
if child == 0:
    status = 1
    try:
        assert temporaries._own == {}
        assert len(os.listdir("/proc/self/fd")) == opened - 1, "the child keeps the file open"
        for act in (lambda: upload.write(0, b"of c"), upload.commit):
            try:
                act()
            except CommitError as error:
                assert "forked" in str(error)
            else:
                raise AssertionError("a child used its parent's upload")
        upload.abort()
        assert storage.sweep() == []
        other = storage.create("other", 1)
        other.write(0, b"!")
        other.commit()
        status = 0
    finally:
        os._exit(status)
forked.set()
assert os.waitpid(child, 0)[1] == 0, "the child failed"
upload.commit()
print(sorted(entry.name for entry in storage.list()))
"""


def test_a_forked_child_neither_uses_nor_drops_nor_holds_what_its_parent_is_writing(storage, directory, program):
    assert program(FORKED, directory).end() == "['model', 'other']\n"
    assert get(storage, "model") == b"of p"


FORKED_AND_KILLED = """
import os, sys
from holdfast.storage.local import LocalStorage

upload = LocalStorage(sys.argv[1]).create("model", 4)
upload.write(0, b"held")
if os.fork() == 0:
    print(os.getpid(), flush=True)
    sys.stdin.readline()
    os._exit(0)
os.wait()
"""


def test_a_forked_child_that_outlives_its_killed_parent_keeps_nothing_from_being_swept(storage, directory, program):
    parent = program(FORKED_AND_KILLED, directory)
    child = int(parent.line())
    parent.kill()
    assert os.path.exists(f"/proc/{child}")
    assert len(storage.sweep()) == 1
    assert files(directory) == []
    parent.go_on()
