"""R13: two writers never mix; see r13_two_writers.py. And the writers that no process here can be: those of containers,
with process ids of their own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from faults.broken import use_broken_copy
from faults.campaigns import in_processes
from faults.r13_two_writers import WRITERS, campaign, rounds
from holdfast import lock
from holdfast.errors import StoreLockedError
from locks import ASKER

BREAKS = {  # each is found out by the campaign; QUICK ones in few rounds
    "nobody takes the lock": ("lock.py", "if syscalls.lock_record(fd, _BYTE):", "if True:"),
    "another descriptor lets the lock go": (
        "lock.py",
        "        file.users += 1\n",
        "        file.users += 1\n        os.close(os.open(path, os.O_RDONLY))\n",
    ),
    "every store counts for itself": (
        "catalog/catalog.py",
        "self._place = os.path.realpath(storage.location)",
        "self._place = str(id(self))",
    ),
    "a killed run's writer process is not waited for": (
        "lock.py",
        "if not syscalls.lock_record(fd, _SHARED_BYTE):",
        "if False:",
    ),
    "the error does not say who it is": ("lock.py", 'who = f"pid {pid}" if pid', 'who = f"pid {pid + 1}" if pid'),
    "nothing is swept": ("storage/temporaries.py", "if not _lock(fd):", "if _lock(fd):"),
}

QUICK = ("nobody takes the lock", "every store counts for itself", "a killed run's writer process is not waited for")


@pytest.mark.timeout(120)
def test_two_writers_never_mix(tmp_path):
    outcome = campaign(20, folder=tmp_path)
    assert outcome.bad == ()
    assert outcome.tried >= 20


@pytest.mark.timeout(180)
@pytest.mark.parametrize("what", QUICK)
def test_a_broken_package_is_found_out(tmp_path, monkeypatch, what):
    use_broken_copy(monkeypatch, tmp_path / "broken", BREAKS[what])
    writers = ("process",) if "writer process" in what else WRITERS  # the others leave none
    [outcome] = in_processes(rounds, [(100, 0, str(tmp_path / "scratch"), 1, writers)])
    assert outcome.bad_count > 0


HOLDER = """
import os, sys
from holdfast import lock
held = lock.acquire(sys.argv[1])
print(os.getpid(), flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def contained():
    """The beginning of a command that runs a program with process ids of its own, as in a container."""
    command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if shutil.which("unshare") is None or _fails([*command, "true"]):
        pytest.skip("this user may not make namespaces of process ids")
    return command


def test_who_is_in_the_way_is_told_across_the_border_of_a_container(tmp_path, contained):
    held = lock.acquire(str(tmp_path))
    asker = [*contained, sys.executable, "-c", ASKER, tmp_path]
    told = subprocess.run(asker, capture_output=True, text=True, check=True)
    held.release()
    assert "another process is writing to this store: its pid is not known here" in told.stdout
    assert f"the lock file says: 'pid {os.getpid()} on {os.uname().nodename}" in told.stdout


def test_a_writer_in_a_container_keeps_others_out_until_it_is_killed(tmp_path, contained):
    with subprocess.Popen(
        [*contained, sys.executable, "-c", HOLDER, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        inside = int(holder.stdout.readline())
        [outside] = children_of(holder.pid)
        with pytest.raises(StoreLockedError, match=rf"pid {outside} \(the lock file says: 'pid {inside} on "):
            lock.acquire(str(tmp_path))
        os.kill(outside, signal.SIGKILL)
        holder.wait()
    lock.acquire(str(tmp_path)).release()


def _fails(command: list[str]) -> bool:
    return subprocess.run(command, check=False, capture_output=True).returncode != 0


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
