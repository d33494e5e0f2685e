"""A lock that is shared with writer processes: whoever comes later waits for those of a process that was killed."""

from __future__ import annotations

import errno
import logging
import os
import select
import signal
import threading

import pytest

from holdfast import lock
from holdfast.errors import StoreLockedError
from holdfast.storage.base import LOCK_NAME

ORPHAN = """
import os, sys
from holdfast import lock
held = lock.acquire(sys.argv[1])
fd = os.dup(held.share())  # as one that was handed to a writer process, which is no fork
ours, theirs = os.pipe()
if os.fork():
    os._exit(0)
os.close(theirs)
os.read(ours, 1)  # until the parent is gone: its end of the pipe is closed after its lock file
print(os.getpid(), flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def orphan(program, tmp_path):
    """What is left of a process that was killed: one that shares its lock until it is told to end."""
    orphan = program(ORPHAN, tmp_path)
    orphan.pid = int(orphan.line())
    return orphan


def test_a_shared_lock_keeps_a_later_process_waiting_until_it_ends(orphan, tmp_path, caplog):
    caplog.set_level(logging.INFO, "holdfast")
    acquired = threading.Event()
    waiting = threading.Thread(target=lambda: (held.append(lock.acquire(str(tmp_path))), acquired.set()))
    held = []
    waiting.start()
    assert not acquired.wait(0.1)
    orphan.go_on()
    assert acquired.wait(30)
    waiting.join()
    held[0].release()
    [record] = caplog.records
    assert record.levelname == "INFO"
    assert f"{tmp_path}: an earlier run was killed" in record.getMessage()
    assert f"the lock file is open in pid {orphan.pid} (" in record.getMessage()
    lock.acquire(str(tmp_path)).release()
    assert len(caplog.records) == 1


def test_a_process_that_waits_has_the_lock(orphan, tmp_path, ask):
    waiting = threading.Thread(target=lambda: lock.acquire(str(tmp_path)).release())
    waiting.start()
    while not lock._held:
        waiting.join(0.001)
    assert f"pid {os.getpid()} " in ask()
    orphan.go_on()
    waiting.join(30)


def test_waiting_has_an_end_and_an_error_that_says_so_and_nothing_is_held_then(orphan, tmp_path, monkeypatch, ask):
    monkeypatch.setattr(lock, "_WAIT_S", 0.05)
    opened = len(os.listdir("/proc/self/fd"))
    told = rf"{tmp_path}: the writer process of an earlier run.*pid {orphan.pid} \("
    with pytest.raises(StoreLockedError, match=told):
        lock.acquire(str(tmp_path))
    assert lock._held == {}
    assert len(os.listdir("/proc/self/fd")) == opened
    orphan.go_on()
    assert ask() == "free"


def test_sharing_gives_the_same_descriptor_and_does_not_let_the_lock_go(tmp_path, held, ask):
    opened = len(os.listdir("/proc/self/fd"))
    fd = held.share()
    second = lock.acquire(str(tmp_path))
    assert second.share() == held.share() == lock.share_of(str(tmp_path)) == fd >= 0
    assert len(os.listdir("/proc/self/fd")) == opened + 1
    second.release()
    assert "another process" in ask()
    held.release()
    assert len(os.listdir("/proc/self/fd")) == opened - 1
    assert ask() == "free"


def test_where_nothing_is_held_there_is_nothing_to_share(tmp_path, held):
    assert lock.share_of(str(tmp_path / "other")) == -1
    held.release()
    assert lock.share_of(str(tmp_path)) == -1
    with pytest.raises(ValueError, match="released"):
        held.share()


def test_where_there_are_no_such_locks_there_is_none_to_share(tmp_path, held, faults, ask):
    with faults.error_at("share_record", errno.EINVAL):
        assert held.share() == -1
    assert held.share() == -1
    assert "another process" in ask()


def test_the_lock_of_a_removed_file_is_not_shared(tmp_path, held):
    (tmp_path / LOCK_NAME).unlink()
    (tmp_path / LOCK_NAME).write_text("")
    assert held.share() == -1


SHARED_AND_FORKED = """
import os, sys
from holdfast import lock
held = lock.acquire(sys.argv[1])
held.share()
if os.fork():
    os._exit(0)
print(*[one for one in os.listdir("/proc/self/fd") if os.path.realpath(f"/proc/self/fd/{one}").endswith("lock")])
"""


def test_a_forked_child_does_not_keep_the_shared_lock(tmp_path, program):
    assert program(SHARED_AND_FORKED, tmp_path).end().strip() == ""
    lock.acquire(str(tmp_path)).release()


def test_where_one_may_not_look_who_it_is_the_error_says_what_to_look_for(orphan, tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(lock, "_WAIT_S", 0.05)
    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(StoreLockedError, match=r"look for a process of 'helper_process\.py'"):
        lock.acquire(str(tmp_path))
    orphan.go_on()


FORKED_IN_C = """
import ctypes, os, sys
from holdfast import lock
held = lock.acquire(sys.argv[1])
held.share()
child = ctypes.PyDLL(None).fork()  # as a library does; Python hears nothing of it
if child:
    print(child, flush=True)
    os.read(0, 1)
os.read(0, 1)
"""


def test_a_worker_that_was_forked_behind_pythons_back_keeps_the_second_byte(tmp_path, program, monkeypatch):
    """It has its parent's descriptors, and so the lock that belongs to an open file; the record lock it has not."""
    monkeypatch.setattr(lock, "_WAIT_S", 0.05)
    parent = program(FORKED_IN_C, tmp_path)
    worker = int(parent.line())
    ended = os.pidfd_open(worker)
    parent.kill()
    try:
        with pytest.raises(StoreLockedError, match=rf"the lock file is open in pid {worker} \(.*ctypes"):
            lock.acquire(str(tmp_path))
    finally:
        os.kill(worker, signal.SIGKILL)
    select.select([ended], [], [])
    os.close(ended)
    lock.acquire(str(tmp_path)).release()


STARTED = """
import subprocess, sys
from holdfast import lock
held = lock.acquire(sys.argv[1])
held.share()
command = [sys.executable, "-c", "import sys; sys.stdin.read(1)"]
child = subprocess.Popen(command, close_fds=False, start_new_session=True)
print(child.pid, flush=True)
child.wait()
"""


def test_a_program_that_a_killed_run_has_started_keeps_nothing(tmp_path, program, monkeypatch):
    """Whoever starts one, and however: it has none of holdfast's descriptors."""
    monkeypatch.setattr(lock, "_WAIT_S", 0.05)
    parent = program(STARTED, tmp_path)
    child = int(parent.line())
    parent.kill()
    assert os.path.exists(f"/proc/{child}")
    lock.acquire(str(tmp_path)).release()
    parent.go_on()
