"""A lock that is shared with writer processes: whoever comes later waits for those of a process that was killed."""

from __future__ import annotations

import errno
import logging
import os
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
if os.fork():
    os._exit(0)
print("left", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def orphan(program, tmp_path):
    """What is left of a process that was killed: one that shares its lock until it is told to end."""
    orphan = program(ORPHAN, tmp_path)
    assert orphan.line()
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
    with pytest.raises(StoreLockedError, match=rf"{tmp_path}: the writer process of an earlier run"):
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
