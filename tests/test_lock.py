"""One process at a time writes to a directory."""

from __future__ import annotations

import errno
import logging
import os
import re
import threading

import pytest

from holdfast import lock
from holdfast.errors import StoreLockedError
from holdfast.storage import syscalls
from holdfast.storage.base import LOCK_NAME
from holdfast.storage.local import LocalStorage
from locks import ASKER

HOLDER = """
import sys
from holdfast import lock
held = lock.acquire(sys.argv[1])
print("held", flush=True)
sys.stdin.readline()
held.release()
print("released", flush=True)
sys.stdin.readline()
"""


def test_a_second_process_is_refused_and_told_who_is_in_the_way(held, ask):
    told = ask()
    assert f"pid {os.getpid()} " in told
    assert os.uname().nodename in told
    assert re.search(r"since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", told)
    assert "readonly=True" in told


def test_the_error_names_the_pid_that_the_system_knows_and_not_an_older_text(tmp_path, program):
    holder = program(HOLDER, tmp_path)
    assert holder.line() == "held"
    (tmp_path / LOCK_NAME).write_text("pid 1 on elsewhere")
    with pytest.raises(StoreLockedError, match=rf"pid {holder.pid} .*elsewhere") as raised:
        lock.acquire(str(tmp_path))
    assert str(tmp_path) in str(raised.value)


def test_it_is_free_again_once_it_was_released(tmp_path, program):
    holder = program(HOLDER, tmp_path)
    assert holder.line() == "held"
    with pytest.raises(StoreLockedError):
        lock.acquire(str(tmp_path))
    holder.go_on()
    assert holder.line() == "released"
    lock.acquire(str(tmp_path)).release()


def test_a_killed_holder_leaves_it_free(tmp_path, program):
    holder = program(HOLDER, tmp_path)
    assert holder.line() == "held"
    holder.kill()
    lock.acquire(str(tmp_path)).release()


def test_one_process_shares_it_until_the_last_of_it_lets_go(tmp_path, held, ask):
    second = lock.acquire(str(tmp_path))
    held.release()
    assert "another process" in ask()
    held.release()  # a second time, which must not count
    assert "another process" in ask()
    second.release()
    assert ask() == "free"


def test_a_directory_under_another_spelling_is_the_same(tmp_path, held, monkeypatch, ask):
    (tmp_path.parent / "link").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    for spelling in (".", str(tmp_path.parent / "link"), f"{tmp_path}/../{tmp_path.name}"):
        lock.acquire(spelling).release()
        assert "another process" in ask()
    (tmp_path.parent / "link").unlink()


def test_two_directories_have_nothing_to_do_with_each_other(tmp_path, held, program):
    other = tmp_path / "other"
    other.mkdir()
    assert program(ASKER, other).end() == "free\n"
    second = lock.acquire(str(other))
    assert "another process" in program(ASKER, other).end()
    second.release()


def test_a_removed_lock_file_is_not_taken_for_the_one_that_is_held(tmp_path, held, ask):
    (tmp_path / LOCK_NAME).unlink()
    again = lock.acquire(str(tmp_path))
    assert "another process" in ask()
    again.release()
    assert ask() == "free"


def test_threads_share_it(tmp_path, ask):
    start = threading.Barrier(8)

    def hold():
        start.wait()
        for _ in range(50):
            lock.acquire(str(tmp_path)).release()
        locks.append(lock.acquire(str(tmp_path)))

    locks = []
    threads = [threading.Thread(target=hold) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert "another process" in ask()
    for one in locks[:-1]:
        one.release()
    assert "another process" in ask()
    locks[-1].release()
    assert ask() == "free"
    assert lock._held == {}


def test_the_file_stays_and_only_informs(tmp_path, held, ask):
    text = (tmp_path / LOCK_NAME).read_text()
    assert f"pid {os.getpid()} " in text
    held.release()
    assert (tmp_path / LOCK_NAME).read_text() == text
    assert ask() == "free"


def test_a_long_older_text_is_replaced_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["x" * 2000])
    lock.acquire(str(tmp_path)).release()
    monkeypatch.setattr("sys.argv", [""])
    lock.acquire(str(tmp_path)).release()
    text = (tmp_path / LOCK_NAME).read_text()
    assert "xxx" not in text
    assert "program unknown" in text


def test_reading_and_sweeping_the_directory_does_not_let_it_go(tmp_path, held, ask):
    storage = LocalStorage(tmp_path)
    assert list(storage.list()) == []
    for method, arguments in (("read", (0, 1)), ("stat", ()), ("create", (1,)), ("remove", ())):
        with pytest.raises(ValueError, match="holdfast keeps this name"):
            getattr(storage, method)(LOCK_NAME, *arguments)
    storage.sweep()
    assert "another process" in ask()


def test_what_opens_a_place_for_reading_writes_no_lock(tmp_path):
    LocalStorage(tmp_path, create=False)
    assert os.listdir(tmp_path) == []


def test_a_missing_directory_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        lock.acquire(str(tmp_path / "missing"))
    assert lock._held == {}


def test_a_link_in_the_place_of_the_lock_file_is_not_followed(tmp_path):
    (tmp_path / "target").write_bytes(b"precious")
    (tmp_path / LOCK_NAME).symlink_to("target")
    with pytest.raises(OSError, match="symbolic links"):
        lock.acquire(str(tmp_path))
    assert (tmp_path / "target").read_bytes() == b"precious"


FORKED = """
import os, sys
from holdfast import lock
from holdfast.errors import StoreLockedError

held = lock.acquire(sys.argv[1])
opened = len(os.listdir("/proc/self/fd"))
lock._registry.acquire()  # as if another thread was just taking a lock
child = os.fork()
if child == 0:
    status = 1
    try:
        assert lock._held == {}
        assert len(os.listdir("/proc/self/fd")) == opened - 1, "the child keeps the file open"
        held.release()
        try:
            lock.acquire(sys.argv[1])
        except StoreLockedError as error:
            assert f"pid {os.getppid()} " in str(error), str(error)
            status = 0
    finally:
        os._exit(status)
lock._registry.release()
assert os.waitpid(child, 0)[1] == 0, "the child failed"
print("held", flush=True)
sys.stdin.readline()
held.release()
print("released", flush=True)
sys.stdin.readline()
"""


def test_a_forked_child_neither_has_it_nor_takes_it_from_its_parent(tmp_path, program):
    parent = program(FORKED, tmp_path)
    assert parent.line() == "held"
    with pytest.raises(StoreLockedError, match=f"pid {parent.pid} "):
        lock.acquire(str(tmp_path))
    parent.go_on()
    assert parent.line() == "released"
    lock.acquire(str(tmp_path)).release()


FORKED_AND_KILLED = """
import os, sys
from holdfast import lock

held = lock.acquire(sys.argv[1])
if os.fork() == 0:
    print(os.getpid(), flush=True)
    sys.stdin.readline()
    os._exit(0)
os.wait()
"""


def test_a_forked_child_that_outlives_its_killed_parent_does_not_keep_it(tmp_path, program):
    parent = program(FORKED_AND_KILLED, tmp_path)
    child = int(parent.line())
    parent.kill()
    assert os.path.exists(f"/proc/{child}")
    lock.acquire(str(tmp_path)).release()
    parent.go_on()


def test_the_second_byte_is_left_to_a_process_that_outlives_its_parent(tmp_path, held, program):
    other = program(
        """
import os, sys
from holdfast.storage import syscalls
fd = os.open(sys.argv[1], os.O_RDWR)
print(syscalls.lock_record(fd, 0), syscalls.lock_record(fd, 1))
""",
        tmp_path / LOCK_NAME,
    )
    assert other.end() == "False True\n"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_without_locks_it_warns_once_and_goes_without(tmp_path, faults, caplog, number):
    with faults.error_at("lock_record", number, lasting=True):
        for _ in range(2):
            held = lock.acquire(str(tmp_path))
            lock.acquire(str(tmp_path)).release()
            held.release()
    [record] = caplog.records
    assert (record.name, record.levelname) == ("holdfast", "WARNING")
    assert str(tmp_path) in record.getMessage()
    assert lock._held == {}


def test_a_text_that_cannot_be_written_keeps_nobody_from_locking(tmp_path, faults, ask):
    with faults.error_at("pwrite", errno.ENOSPC):
        held = lock.acquire(str(tmp_path))
    assert "another process" in ask()
    held.release()


def test_after_an_error_at_any_call_nothing_is_held_and_no_descriptor_is_open(tmp_path, faults, ask):
    lock.acquire(str(tmp_path)).release()
    with faults.record() as calls:
        lock.acquire(str(tmp_path)).release()
    before = len(os.listdir("/proc/self/fd"))
    failed = 0
    for name, ordinal in calls:
        with faults.error_at(name, errno.EIO, ordinal):
            try:
                lock.acquire(str(tmp_path)).release()
            except OSError:
                failed += 1
        assert len(os.listdir("/proc/self/fd")) == before, name
        assert lock._held == {}, name
    assert failed == 6  # stat, open, both lock_record, fstat, unlock_record; not the text, and not the close
    assert ask() == "free"


def test_a_holder_that_leaves_between_two_questions_is_not_in_the_way(tmp_path, faults):
    answers = [False]
    with faults.instead_of("lock_record", lambda real, *place: answers.pop() if answers else real(*place)):
        lock.acquire(str(tmp_path)).release()
    assert answers == []


def test_a_holder_that_nobody_knows_is_reported_without_a_pid(tmp_path, faults):
    with (
        faults.instead_of("lock_record", lambda real, fd, start: False),
        faults.instead_of("record_holder", lambda real, fd, start: 0),
        pytest.raises(StoreLockedError, match="its pid is not known here"),
    ):
        lock.acquire(str(tmp_path))


def test_the_holder_of_a_record_is_known_only_while_there_is_one(tmp_path, program):
    fd = syscalls.open(str(tmp_path / LOCK_NAME), os.O_RDWR | os.O_CREAT)
    holder = program(HOLDER, tmp_path)
    assert holder.line() == "held"
    assert syscalls.record_holder(fd, 0) == holder.pid
    assert syscalls.record_holder(fd, 1) is None
    holder.go_on()
    assert holder.line() == "released"
    assert syscalls.record_holder(fd, 0) is None
    syscalls.close(fd)


def test_a_warning_is_about_one_directory(tmp_path, faults, caplog):
    caplog.set_level(logging.WARNING, "holdfast")
    with faults.error_at("lock_record", errno.ENOLCK, lasting=True):
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            lock.acquire(str(tmp_path / name)).release()
    assert len(caplog.records) == 2
