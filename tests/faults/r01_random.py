"""SIGKILL at random moments of a run that takes a snapshot every five iterations: no torn file, every resume works, and
the run ends as if nothing had happened. Each of its lives writes with another kind of writer."""

from __future__ import annotations

import os
import random
import select
import subprocess
import sys
from pathlib import Path

import numpy as np

import holdfast
from faults.campaigns import Outcome
from faults.inprocess import WRITERS, attempt, name_of
from holdfast import lock

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


def killed(kills: int, seed: int, folder: str) -> Outcome:
    """So many kills of one run."""
    bad = list[str]()
    attempt(bad, f"{kills} kills at random moments, seed {seed}", _compare, kills, seed, Path(folder))
    return Outcome(kills, tuple(bad))


def _compare(kills: int, seed: int, folder: Path) -> None:
    """The end of a run that was killed again and again with that of one that was not."""
    out, calm = folder / f"killed-{seed}", folder / f"calm-{seed}"
    until = _kill_again_and_again(out, kills, seed) + 2 * STEP + 2
    _run_to_the_end(out, until, "ProcessWriter")
    _run_to_the_end(calm, until, "SimpleWriter")
    assert sorted(os.listdir(out)) == sorted(os.listdir(calm)), "a temporary file was left"
    last = f"snapshot_iter_{until // STEP * STEP}"
    found, expected = (holdfast.load(one / last)["updater"]["weights"] for one in (out, calm))
    assert np.array_equal(found, expected), "it ended otherwise than a run that was not killed"


def _kill_again_and_again(out: Path, kills: int, seed: int) -> int:
    """Start the program and kill it, `kills` times; returns the iteration of the last snapshot."""
    chance = random.Random(seed)
    newest, advanced = 0, 0
    for number in range(kills):
        with _start(out, 10**9, name_of(WRITERS[(number + seed) % len(WRITERS)])) as process:
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
        found = _check(out)
        assert found >= newest, "a snapshot that was there is gone"
        advanced += found > newest
        newest = found
    assert advanced > kills // 10, f"only {advanced} of {kills} lives came to a snapshot"
    return newest


def _start(out: Path, until: int, kind: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, str(out), str(until), kind]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _check(out: Path) -> int:
    """Every file under a final name is whole; returns the newest snapshot's iteration."""
    if out.exists():
        lock.acquire(str(out)).release()  # what a writer process has left to do is done then
    newest = 0
    for path in out.iterdir() if out.exists() else ():
        if path.name.startswith("snapshot_iter_"):
            step = holdfast.verify(path).step
            assert step is not None
            newest = max(newest, step)
        elif path.name.startswith("w_"):
            assert holdfast.load(path)
    return newest


def _run_to_the_end(out: Path, until: int, kind: str) -> None:
    process = _start(out, until, kind)
    errors = process.communicate()[1]
    assert process.returncode == 0, errors
