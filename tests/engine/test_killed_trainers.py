"""SIGKILL of the trainer right after save() returned, again and again, each trainer a program of its own: the snapshot
is there, and whoever starts at once resumes from it. Nothing else is left: no process, no shared memory, no file."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

import holdfast
from faults.helper_faults import HelperFaults
from faults.writing import IN_ANOTHER, name_of
from holdfast import lock
from holdfast.storage.base import is_temporary
from holdfast.writers import helper

pytestmark = [
    pytest.mark.skipif(not helper.is_possible(), reason="no memory can be shared with another process here"),
    pytest.mark.timeout(300),
]

KILLS = 2  # in a chain; tests/writers/test_trainer_kills.py has longer ones, of trainers that are forks

TRAINER = """
import os, signal, sys
import numpy as np
import holdfast
from holdfast import writers

where, kind, worker = sys.argv[1:]
loaded = []


def fork(number):
    if number == 0:  # it has every descriptor that the trainer had when it was forked
        pid = os.fork()
        if pid == 0:
            signal.pause()
            os._exit(0)
        return pid


def load(number):
    import torch
    if number == 0:
        loader = torch.utils.data.DataLoader(
            range(100), num_workers=1, persistent_workers=True, multiprocessing_context="fork", collate_fn=list
        )
        loaded.append(iter(loader))
        next(loaded[0])
        return loaded[0]._workers[0].pid


writer = getattr(writers, kind)()
state = {"w": np.zeros(1 << 18), "small": np.zeros(10), "step": 0}
with holdfast.SnapshotStore(where, writer=writer) as store:
    state, found = store.resume(state)
    step = state["step"]
    whole = all((state[name] == step).all() for name in ("w", "small")) and (found.step if found else 0) == step
    pids = []
    for number in range(2):  # the first is durable when the worker is forked, so that it has the helper's socket
        step += 1
        state["w"][:] = state["small"][:] = state["step"] = step
        pending = store.save(step, state)
        state["w"][:] = -1
        if number == 0:
            pending.result()
            pids = [{"fork": fork, "load": load, "none": lambda number: None}[worker](0)]
    helper = writer._carrier._helper.pid
    os.write(1, f"{whole} {step} {helper} {pids[0] or 0}\\n".encode())
    os.kill(os.getpid(), signal.SIGKILL)
"""


@dataclass(frozen=True)
class Life:
    """What a trainer said right before its end."""

    whole: str  # whether all that it resumed from was of one step, and that the snapshot's
    saved: int  # the step of its last snapshot
    helper: int
    worker: int


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A place for many files, which do not stay."""
    yield tmp_path
    shutil.rmtree(tmp_path)


def live(folder: Path, kind: str, worker: str) -> Life:
    """One trainer, from its start to its end by SIGKILL."""
    quiet = ["-W", "ignore:This process"]  # of Python 3.12 and later, at a fork of a process that has threads
    command = [sys.executable, *quiet, "-c", TRAINER, str(folder), kind, worker]
    with (folder / "errors").open("w+") as errors:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            code = process.wait()
        errors.seek(0)
        said = errors.read()
    assert (code, said) == (-signal.SIGKILL, "")
    whole, *numbers = line.split()
    return Life(whole, *map(int, numbers))


def wait_for_the_end(pid: int) -> None:
    """Of a process that is no child of this one."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([fd], [], [], 60)[0], f"the process {pid} is still there"
    finally:
        os.close(fd)


def kill_again_and_again(folder: Path, kind: str, worker: str, kills: int) -> None:
    """A chain of trainers: each is started as soon as the last is dead, whose worker lives on meanwhile."""
    folder.mkdir()
    before: list[Life] = []
    try:
        for number in range(kills):
            life = live(folder, kind, worker)
            before.append(life)
            assert (life.whole, life.saved) == ("True", 2 * (number + 1)), "resumed from something else than the newest"
            if number:
                wait_for_the_end(before[-2].helper)  # while the worker of that life is still there
                end_worker(before[-2].worker)
        lock.acquire(str(folder)).release()  # waits for the last one
        wait_for_the_end(before[-1].helper)
        if worker == "fork":
            os.kill(before[-1].worker, 0)
    finally:
        for life in before:
            end_worker(life.worker)
    with holdfast.SnapshotStore(folder, readonly=True) as store:
        assert [one.step for one in store.snapshots()] == list(range(1, 2 * kills + 1))
        for snapshot in store.snapshots():
            holdfast.verify(snapshot)
    assert [name for name in os.listdir(folder) if is_temporary(name)] == []


def end_worker(pid: int) -> None:
    if pid:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def shared_memory() -> set[str]:
    """What has a name in it."""
    return set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()


@pytest.mark.parametrize("kind", IN_ANOTHER, ids=name_of)
@pytest.mark.parametrize("worker", ["none", "fork", "load"])
def test_trainers_that_are_killed_right_after_the_call_lose_no_snapshot_and_leave_nothing(folder, kind, worker):
    if worker == "load":
        pytest.importorskip("torch")
    before = shared_memory()
    kill_again_and_again(folder / "killed", kind.__name__, worker, KILLS)
    left, end = shared_memory() - before, time.monotonic() + 30
    while left and time.monotonic() < end:  # another program's, which comes and goes; what is left behind stays
        time.sleep(0.05)
        left &= shared_memory()
    assert left == set()


SLOW = """
import logging, os, signal, sys
import numpy as np
import holdfast
from holdfast import writers
from holdfast.writers import helper

logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
helper._PROGRAM = os.environ["HOLDFAST_TEST_PROGRAM"]
where, kind, is_last = sys.argv[1:]
with holdfast.SnapshotStore(where, writer=getattr(writers, kind)()) as store:
    state, found = store.resume({"w": np.zeros(10)})
    print("resumed", found.step if found else 0, flush=True)
    if int(is_last):
        sys.exit()
    store.save(1, {"w": np.ones(10)})
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("writing", IN_ANOTHER, ids=name_of, indirect=True)
@pytest.mark.parametrize("call", ["open", "pwrite", "rename", "fsync"])
def test_a_trainer_that_starts_before_the_snapshot_is_durable_waits_for_it_and_says_so(folder, writing, call, program):
    assert isinstance(writing.faults, HelperFaults)
    nth = 2 if call == "fsync" else 1  # of the directory, when the snapshot has its name
    with writing.faults.hold_before(call, nth) as go_on:
        killed = program(SLOW, folder, writing.kind.__name__, 0)
        while killed.line():
            pass
        restarted = program(SLOW, folder, writing.kind.__name__, 1)
        assert "its writer process is still writing a snapshot; waiting for it" in restarted.line()
        go_on()
        said = restarted.end()
    assert said.splitlines()[-1] == "resumed 1"
