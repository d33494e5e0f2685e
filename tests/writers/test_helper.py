"""The writer process: what it writes, how it fails, and how it ends."""

from __future__ import annotations

import errno
import logging
import os
import resource
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

import holdfast
from holdfast import lock, writers
from holdfast.errors import CommitError
from holdfast.writers import helper
from writers.jobs import PROCESSES, file_job, good

pytestmark = pytest.mark.skipif(not helper.is_possible(), reason="no memory can be shared with another process here")


@pytest.fixture(params=PROCESSES)
def writer(request):
    writer = getattr(writers, request.param)()
    yield writer
    with suppress(Exception):
        writer.close()


@pytest.fixture
def started(writer, tmp_path):
    """A writer whose process is there, and the process's id."""
    writer.submit(file_job(tmp_path, "first")).result(30)
    return writer, writer._carrier._helper.pid


def weight(path):
    return holdfast.load(path)["w"][0]


def children():
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return file.read().split()


def test_another_process_writes_the_file_and_the_file_is_whole(started, tmp_path):
    assert started[1] != os.getpid()
    assert holdfast.verify(tmp_path / "first").size_bytes == (tmp_path / "first").stat().st_size
    assert weight(tmp_path / "first") == 1


def test_many_snapshots_go_through_one_process_in_their_order(started, tmp_path):
    writer, pid = started
    pending = [writer.submit(file_job(tmp_path, "same", number)) for number in range(30)]
    writer.close()
    assert [one.result(0).step for one in pending] == list(range(30))
    assert weight(tmp_path / "same") == 29
    assert str(pid) not in children()


def test_it_tells_how_long_it_wrote_and_which_writer_it_was(started, tmp_path, caplog):
    caplog.set_level(logging.DEBUG, "holdfast")
    writer, _ = started
    pending = writer.submit(file_job(tmp_path, "second"))
    pending.wait_finished(30)
    pending.stall_s = 0.001
    assert 0 < pending.write_s < 30
    assert pending.gb_per_s > 0
    assert [record.getMessage() for record in caplog.records if "'helper'" in record.getMessage()]


def test_close_waits_for_the_end_of_the_process(started):
    writer, pid = started
    writer.close()
    assert str(pid) not in children()
    assert not os.path.exists(f"/proc/{pid}")


def test_memory_is_released_once_the_snapshot_is_written(writer, tmp_path):
    job = file_job(tmp_path, "first")
    fd = job.handoff().memory_fd
    writer.submit(job).result(30)
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(fd)


def test_the_process_needs_little_memory_beside_the_arena_and_keeps_that_of_no_other(writer, tmp_path):
    for number in range(3):
        writer.submit(file_job(tmp_path, "large", number, size=8 << 20)).result(60)
    with open(f"/proc/{writer._carrier._helper.pid}/status") as file:
        found = {line.split(":")[0]: int(line.split()[1]) for line in file if line.startswith("Rss")}
    print(found)
    assert found["RssAnon"] + found["RssFile"] <= 40 << 10
    assert found["RssShmem"] <= 66 << 10  # of three, one is left


def test_it_imports_no_framework_and_no_numpy(started):
    maps = Path(f"/proc/{started[1]}/maps").read_text()
    assert "xxhash" in maps
    assert "numpy" not in maps
    assert "torch" not in maps


def test_a_failure_names_the_snapshot_and_the_next_one_succeeds(started, tmp_path):
    writer, _ = started
    (tmp_path / "taken").mkdir()
    pending = writer.submit(file_job(tmp_path, "taken"))
    pending.wait_finished(30)
    with pytest.raises(CommitError, match="taken: not committed") as raised:
        writer.submit(file_job(tmp_path, "next", 2))
    assert raised.value.errno == errno.EISDIR
    writer.close()
    assert weight(tmp_path / "next") == 2
    assert writer._carrier._helper is None


def test_a_full_disk_fails_that_snapshot_and_leaves_nothing(started, tmp_path):
    writer, pid = started
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (100 << 10, resource.RLIM_INFINITY))
    with pytest.raises(CommitError, match="large: not committed"):
        writer.submit(file_job(tmp_path, "large", size=1 << 20)).result(30)
    assert sorted(os.listdir(tmp_path)) == ["first"]
    writer.submit(file_job(tmp_path, "small")).result(30)
    writer.close()


def test_an_error_that_nobody_expects_comes_with_its_traceback(started, tmp_path):
    writer, _ = started
    job = file_job(tmp_path, "odd")
    handoff = job.handoff
    job.handoff = lambda: Wrong(handoff())
    with pytest.raises(CommitError, match="odd: not committed: KeyError in the helper process") as raised:
        writer.submit(job).result(30)
    assert "line" in str(raised.value.__cause__)
    assert "KeyError" in str(raised.value.__cause__)


class Wrong:
    """A parcel that lacks something."""

    def __init__(self, handoff):
        self.handoff = handoff

    def message(self):
        return {key: value for key, value in self.handoff.message().items() if key != "header_at"}

    def descriptors(self):
        return self.handoff.descriptors()


def test_a_failing_handoff_is_a_failure_of_that_snapshot(started, tmp_path):
    writer, _ = started

    def fail():
        raise OSError(errno.EMFILE, "Too many open files")

    job = file_job(tmp_path, "odd")
    job.handoff = fail
    with pytest.raises(CommitError, match="odd: not committed"):
        writer.submit(job).result(30)


def stop(pid):
    """Keep a process from doing anything; returns when it does nothing."""
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)


def test_a_process_that_is_killed_fails_what_it_had_and_the_next_snapshot_starts_another(started, tmp_path):
    writer, pid = started
    stop(pid)
    pending = writer.submit(file_job(tmp_path, "lost"))
    os.kill(pid, signal.SIGKILL)
    pending.wait_finished(30)
    with pytest.raises(CommitError, match=rf"lost: .*\(pid {pid}\) was killed by SIGKILL"):
        writer.submit(file_job(tmp_path, "next", 2))
    writer.close()
    assert weight(tmp_path / "next") == 2
    assert sorted(os.listdir(tmp_path)) == ["first", "next"]


def test_a_process_that_is_killed_while_idle_costs_nothing(started, tmp_path):
    writer, pid = started
    os.kill(pid, signal.SIGKILL)
    assert writer.submit(file_job(tmp_path, "next", 2)).wait_finished(30)
    with suppress(CommitError):  # the process may have died with the order in its hands
        writer.close()
    assert str(pid) not in children()


def test_a_failure_at_close_is_raised_and_nothing_hangs(started, tmp_path):
    writer, pid = started
    stop(pid)
    writer.submit(file_job(tmp_path, "lost"))
    killing = threading.Timer(0.05, os.kill, (pid, signal.SIGKILL))
    killing.start()
    with pytest.raises(CommitError, match=f"lost.*pid {pid}"):
        writer.close()
    killing.join()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_signals_for_the_trainer_do_not_end_it(number, tmp_path):
    writer = writers.ProcessWriter()
    writer.submit(file_job(tmp_path, "first")).result(30)
    pid = writer._carrier._helper.pid
    os.kill(pid, number)
    writer.submit(file_job(tmp_path, "second")).result(30)
    assert writer._carrier._helper.pid == pid
    writer.close()


def test_it_is_in_a_session_of_its_own(started):
    assert os.getsid(started[1]) == started[1] != os.getsid(0)


def test_a_process_that_cannot_begin_is_reported_and_a_thread_writes(tmp_path, monkeypatch, caplog, capfd):
    monkeypatch.setattr(helper, "_paths", lambda savefun: [])
    writer = writers.ProcessWriter()
    writer.submit(file_job(tmp_path, "first")).result(30)
    writer.close()
    assert weight(tmp_path / "first") == 1
    assert "ended with status 1" in caplog.text
    assert "ModuleNotFoundError" in capfd.readouterr().err


def test_where_no_process_can_be_started_a_thread_writes(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    writer = writers.ProcessWriter()
    for number in range(2):
        writer.submit(file_job(tmp_path, f"model_{number}")).result(30)
    writer.close()
    assert weight(tmp_path / "model_1") == 1
    [record] = caplog.records
    assert (record.levelname, "no process could be started" in record.getMessage()) == ("WARNING", True)


def test_where_the_system_shares_no_memory_a_thread_writes_and_says_so_once(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "holdfast")
    monkeypatch.delattr(os, "memfd_create")
    writer = writers.ProcessWriter()
    assert not writer.shares_memory
    for number in range(2):
        job = good(number)
        job.handoff, job.committed = pytest.fail, pytest.fail
        writer.submit(job).result(30)
    writer.close()
    assert [record.levelname for record in caplog.records] == ["INFO"]


def test_without_pidfds_it_works_and_ends_all_the_same(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "pidfd_open")
    writer = writers.ProcessWriter()
    writer.submit(file_job(tmp_path, "first")).result(30)
    pid = writer._carrier._helper.pid
    os.kill(pid, signal.SIGKILL)
    writer._carrier._helper._thread.join(30)
    writer.submit(file_job(tmp_path, "second")).result(30)
    writer.close()


def test_an_interrupt_while_an_order_is_sent_loses_no_snapshot(tmp_path, monkeypatch):
    sent = []
    real = helper.socket.send_fds

    def interrupted_after(*arguments):
        real(*arguments)
        sent.append(1)
        if len(sent) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(helper.socket, "send_fds", interrupted_after)
    writer = writers.ProcessWriter()
    job = file_job(tmp_path, "first")
    with pytest.raises(KeyboardInterrupt):
        writer.submit(job)
    assert job.pending.result(30).step == 1
    writer.submit(file_job(tmp_path, "second")).result(30)
    writer.close()
    assert len(sent) == 3


def test_an_interrupt_in_the_handoff_loses_no_snapshot(tmp_path):
    writer = writers.ProcessWriter()
    job = file_job(tmp_path, "first")

    def interrupted():
        raise KeyboardInterrupt

    job.handoff = interrupted
    with pytest.raises(KeyboardInterrupt):
        writer.submit(job)
    assert job.pending.result(30).step == 1
    writer.close()
    assert weight(tmp_path / "first") == 1


def test_no_descriptor_is_left_open(tmp_path):
    held = lock.acquire(str(tmp_path))
    for _ in range(2):
        before = len(os.listdir("/proc/self/fd"))
        writer = writers.ProcessWriter()
        for number in range(3):
            writer.submit(file_job(tmp_path, f"model_{number}", held=held)).result(30)
        writer.close()
        after = len(os.listdir("/proc/self/fd"))
    held.release()
    assert after == before


def test_a_writer_that_is_thrown_away_lets_its_process_go(tmp_path):
    writer = writers.ProcessWriter()
    writer.submit(file_job(tmp_path, "first")).result(30)
    thread = writer._carrier._helper._thread
    del writer
    thread.join(30)
    assert not thread.is_alive()


def test_the_program_is_no_module_to_run_by_hand():
    done = subprocess.run([sys.executable, "-I", helper._PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
