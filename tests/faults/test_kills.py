"""SIGKILL at random moments of a run that takes a snapshot every five iterations: 200 times, no torn file, every resume
works, and the run ends as if nothing had happened; and some more times with each of the other writers."""

from __future__ import annotations

import os
import random
import select
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import holdfast
from faults.writing import name_of
from holdfast import lock
from holdfast.writers import ProcessQueueWriter, ProcessWriter, SimpleWriter, ThreadQueueWriter, ThreadWriter

KILLS = {SimpleWriter: 200, ThreadWriter: 20, ThreadQueueWriter: 20, ProcessWriter: 20, ProcessQueueWriter: 20}
STEP = 5  # iterations to a snapshot

PROGRAM = """
import sys
import numpy as np
from holdfast import iterators, training, writers
from holdfast.training import extensions, updaters

Writer = getattr(writers, sys.argv[3])
weights = np.zeros((64, 64))
noise = np.random.default_rng(0)


def step(batch):
    weights[:] = 0.9 * weights + batch + noise.random(weights.shape)


batches = iterators.BatchIterator(np.arange(40.0), 1, shuffle=True, seed=1)
updater = updaters.FunctionUpdater(batches, step, targets={"weights": weights, "noise": noise})
trainer = training.Trainer(updater, (int(sys.argv[2]), "iteration"), out=sys.argv[1])
trainer.extend(
    lambda trainer: print(trainer.updater.iteration, flush=True), name="say", priority=-200
)
trainer.extend(extensions.LogReport(trigger=(1, "epoch")))
trainer.extend(extensions.snapshot(n_retains=3, autoload=True, writer=Writer()), trigger=(5, "iteration"))
trainer.extend(
    extensions.snapshot_object(weights, "w_{.updater.iteration}.npz", n_retains=2, writer=Writer()),
    trigger=(5, "iteration"),
)
print("started", flush=True)
trainer.run()
"""


def start(out: Path, until: int, kind: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, str(out), str(until), kind]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def check(out: Path) -> int:
    """Every file under a final name is whole; returns the newest snapshot's iteration."""
    if out.exists():
        lock.acquire(str(out)).release()  # what a writer process has left to do is done then
    newest = 0
    for path in out.iterdir() if out.exists() else ():
        if path.name.startswith("snapshot_iter_"):
            newest = max(newest, holdfast.verify(path).step)
        elif path.name.startswith("w_"):
            assert holdfast.load(path)
    return newest


def kill_again_and_again(out: Path, kind: Callable[..., Any], kills: int, seed: int) -> int:
    """Start the program and kill it, `kills` times; returns the iteration of the last snapshot."""
    chance = random.Random(seed)
    newest, advanced = 0, 0
    for _ in range(kills):
        with start(out, 10**9, kind.__name__) as process:
            assert process.stdout is not None
            lines = process.stdout.readline(), process.stdout.readline()
            assert lines[0] == "started\n", process.communicate()[1]
            assert lines[1], process.communicate()[1]
            assert int(lines[1]) - 1 == newest, "resumed from something else than the newest snapshot"
            # a moment within the next snapshots, at whatever system call it finds the run in
            for _ in range(chance.randrange(3 * STEP)):
                assert process.stdout.readline(), process.communicate()[1]
            select.select([], [], [], chance.uniform(0, 0.03))
            process.kill()
            process.communicate()
        found = check(out)
        assert found >= newest, "a snapshot that was there is gone"
        advanced += found > newest
        newest = found
    assert advanced > kills // 10, f"only {advanced} of {kills} lives came to a snapshot"
    return newest


def run_to_the_end(out: Path, until: int, kind: str) -> None:
    process = start(out, until, kind)
    errors = process.communicate()[1]
    assert process.returncode == 0, errors


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KILLS, ids=name_of)
def test_kills_at_random_moments_leave_no_torn_file_and_every_resume_works(tmp_path, kind):
    name = kind.__name__
    folders = [tmp_path / f"killed_{number}" for number in range(2)]
    with ThreadPoolExecutor(len(folders)) as pool:
        newest = list(pool.map(kill_again_and_again, folders, [kind] * 2, [KILLS[kind] // 2] * 2, [1, 2]))
    for number, folder in enumerate(folders):
        until, calm = newest[number] + 2 * STEP + 2, tmp_path / f"calm_{number}"
        run_to_the_end(folder, until, name)
        run_to_the_end(calm, until, "SimpleWriter")
        assert sorted(os.listdir(folder)) == sorted(os.listdir(calm)), "a temporary file was left"
        last = f"snapshot_iter_{until // STEP * STEP}"
        killed, expected = (holdfast.load(one / last)["updater"]["weights"] for one in (folder, calm))
        np.testing.assert_array_equal(killed, expected)
