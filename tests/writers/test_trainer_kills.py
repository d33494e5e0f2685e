"""SIGKILL of the trainer right after the call returned: the snapshot is committed, and nothing else is left."""

from __future__ import annotations

import os
import select
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

import holdfast
from holdfast import lock
from holdfast.storage.base import is_temporary
from holdfast.writers import helper
from writers.jobs import PROCESSES

pytestmark = pytest.mark.skipif(not helper.is_possible(), reason="no memory can be shared with another process here")

KILLS = 20

TRAINER = """
import ctypes, os, signal, sys
import numpy as np
import holdfast
from holdfast import writers

FORKS = {"hooks": os.fork, "none": ctypes.PyDLL(None).fork}  # what Python runs after a fork, or none of it

def train(where, name, workers, slots, saves, hooks):
    writer = getattr(writers, name)(slots=int(slots))
    state = {"w": np.zeros(1 << 18)}
    store = holdfast.SnapshotStore(where, writer=writer)
    at = store.resume(state)[1]
    step = 0 if at is None else at.step
    print(step, state["w"][0] == state["w"][-1] == step, flush=True)
    for number in range(int(saves)):
        state["w"][:] = step = step + 1
        store.save(step, state)
        state["w"][:] = -1
        if number == 0:
            for _ in range(int(workers)):  # a data loader's worker: it has every descriptor of the trainer's
                pid = FORKS[hooks]()
                if pid == 0:
                    signal.pause()
                print("worker", pid, flush=True)
    print("helper", writer._carrier._helper.pid, flush=True)
    return store

for line in sys.stdin:  # a trainer's life for each
    pid = os.fork()
    if pid == 0:
        train(*sys.argv[1:])
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    print("dead", flush=True)
"""


def wait_for_the_end(pid: int) -> None:
    """Of a process that need not be a child."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([fd], [], [], 30)[0], f"the process {pid} is still there"
    finally:
        os.close(fd)


@dataclass
class Life:
    """What one trainer has said before it was killed."""

    resumed: str
    helper: int
    workers: list[int]


@pytest.fixture
def lives(program, tmp_path):
    """Starts trainers of some kind in tmp_path: each call is one that is killed. Their workers end with the test."""
    workers = []

    def start(*arguments):
        nursery = program(TRAINER, tmp_path, *arguments)

        def live() -> Life:
            nursery.go_on()
            life = Life(nursery.line(), 0, [])
            while (line := nursery.line()) != "dead":
                assert line, "the trainer failed"
                what, pid = line.split()
                if what == "helper":
                    life.helper = int(pid)
                else:
                    life.workers.append(int(pid))
            workers.extend(life.workers)
            return life

        return live

    yield start
    for pid in workers:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("workers", [0, 1])
def test_a_trainer_that_is_killed_again_and_again_loses_no_snapshot(name, workers, lives, tmp_path):
    before = set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()
    live = lives(name, workers, 1, 1, "hooks")
    for number in range(KILLS // 2):
        life = live()  # at once: it waits for the snapshot that is being written
        assert life.resumed == f"{number} True"
    wait_for_the_end(life.helper)
    assert holdfast.SnapshotStore(tmp_path, readonly=True).latest().step == KILLS // 2
    for path in tmp_path.glob("snapshot_*"):
        holdfast.verify(path)
    assert [one for one in os.listdir(tmp_path) if is_temporary(one)] == []
    assert (set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()) == before


@pytest.mark.parametrize("name", PROCESSES)
def test_its_process_leaves_while_a_forked_worker_holds_the_socket(name, lives):
    life = lives(name, 1, 1, 2, "none")()
    wait_for_the_end(life.helper)
    assert [Path(f"/proc/{one}").exists() for one in life.workers] == [True]


def test_everything_that_waits_in_the_socket_is_written(lives, tmp_path):
    life = lives("ProcessQueueWriter", 0, 4, 4, "hooks")()
    lock.acquire(str(tmp_path)).release()  # waits for all of them
    assert [one.step for one in holdfast.SnapshotStore(tmp_path, readonly=True).snapshots()] == [1, 2, 3, 4]
    wait_for_the_end(life.helper)


CALLER = """
import os, signal, sys
import numpy as np
import holdfast
from holdfast import lock
sys.path[:0] = [sys.argv[3]]
from writers import savefuns

held = lock.acquire(sys.argv[1])
writer = getattr(holdfast.writers, sys.argv[2])(savefuns.save_json)
for number in range(int(sys.argv[4])):
    writer(f"model_{number}", sys.argv[1], {"w": np.full(3, float(number))})
print("called", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("name", "calls"), [("ProcessWriter", 1), ("ProcessQueueWriter", 2)])
def test_what_was_given_to_a_savefun_is_written_too(name, calls, program, tmp_path):
    caller = program(CALLER, tmp_path, name, Path(__file__).parents[1], calls)
    assert caller.line() == "called"
    caller.kill()
    lock.acquire(str(tmp_path)).release()
    found = sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith("."))
    assert found == [f"model_{number}" for number in range(calls)]


INTERRUPTED = (
    TRAINER[: TRAINER.index("for line in")]
    + """
os.setpgid(0, 0)
store = train(*sys.argv[1:])
signal.signal(signal.SIGINT, signal.SIG_IGN)
os.killpg(os.getpgid(0), signal.SIGINT)
store.save(2, {"w": np.full(10, 1.0)}).result()
store.close()
print("closed", flush=True)
"""
)


def test_an_interrupt_from_the_terminal_reaches_the_trainer_and_not_its_process(program, tmp_path):
    trainer = program(INTERRUPTED, tmp_path, "ProcessWriter", 0, 1, 1, "hooks")
    assert trainer.end().splitlines()[-1] == "closed"
