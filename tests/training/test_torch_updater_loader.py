"""TorchUpdater with everything at once: autocast, a GradScaler, accumulation, clipping, a scheduler, dropout, and a
DataLoader that shuffles and has two workers. It goes on bit for bit, also within an epoch and an accumulation."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys

import pytest

import holdfast
from holdfast.state.capture import capture
from holdfast.state.flat import flatten

torch = pytest.importorskip("torch")
from iterators.loaders import ONE_CORE, WORKERS  # noqa: E402  only where torch is
from training.torch_loading import ACCUMULATE, AN_EPOCH, ITERATIONS, new_trainer  # noqa: E402
from training.torch_parts import one_thread  # noqa: E402, F401  a fixture for all

pytestmark = ONE_CORE


def run(folder, seed, period=1000):
    """Train to the end; returns the last state, and the loss and the scale after each iteration on the way."""
    trainer = new_trainer(folder, seed, period=period, context=WORKERS)
    updater, seen = trainer.updater, []
    trainer.extend(
        lambda trainer: seen.append((float(trainer.observation["main/loss"]), updater.scaler.get_scale())), name="look"
    )
    trainer.run()
    return {name: (array.dtype, array.tobytes()) for name, array in flatten(capture(updater)).items()}, seen


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing happened to: the folder with a snapshot of each iteration, and what came out."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, *run(folder, 0, period=1)


def test_the_run_skips_its_first_step_and_takes_others(whole):
    folder, _, seen = whole
    assert len(seen) == ITERATIONS
    assert {later / scale for (_, scale), (_, later) in itertools.pairwise(seen)} == {1.0, 2.0**-9, 2.0}
    weights = [holdfast.load(folder / f"s_{stop}")["updater"]["model:main"]["0.weight"] for stop in (1, 3, 6)]
    assert [(weights[0] == later).all() for later in weights[1:]] == [True, False]


@pytest.mark.parametrize("stop", [1, 4, 8, 11])
def test_it_goes_on_within_an_epoch_and_an_accumulation(stop, whole, tmp_path):
    assert stop % AN_EPOCH
    assert stop % ACCUMULATE
    folder, state, seen = whole
    held = holdfast.load(folder / f"s_{stop}")["updater"]
    assert held["iterator:main"]["current_position"] == stop % AN_EPOCH
    assert held["accumulation"]["count"] == stop % ACCUMULATE
    assert held["accumulation"]["gradients"]["0.weight"].any()
    shutil.copy(folder / f"s_{stop}", tmp_path)
    found, rest = run(tmp_path, seed=stop)
    assert rest == seen[stop:]
    assert found.keys() == state.keys()
    assert [key for key in state if found[key] != state[key]] == []


def test_it_goes_on_from_what_a_killed_process_left(whole, tmp_path):
    _, state, seen = whole
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-W", "ignore:This DataLoader", "-m", "training.torch_loading", str(tmp_path), "7"]
    assert subprocess.run(command, check=False, env=environment, timeout=120).returncode == -signal.SIGKILL
    assert sorted(os.listdir(tmp_path)) == [".holdfast-lock", "s_7"]
    found, rest = run(tmp_path, seed=5)
    assert rest == seen[7:]
    assert [key for key in state if found[key] != state[key]] == []
