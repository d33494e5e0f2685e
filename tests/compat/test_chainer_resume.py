"""A training that Chainer began, and holdfast ends: from Chainer's snapshot, bit for bit as if Chainer had gone on."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from compat.chainer_env import start

PROGRAM = Path(__file__).with_name("resuming.py")
STOPPED_AT = 137  # in the middle of an epoch of 18.75 iterations, of an interval of the log, and of one of a trigger
SECOND = 200  # as well
END = 300


def run(side: str, out: Path, stop: int, snapshot_at: int, resume: object = "") -> dict[str, Any]:
    """What is left of a run that was made by one of the two."""
    process = start(*(PROGRAM, side, out, stop, snapshot_at, resume), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    return json.loads(output)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that stayed with Chainer, and was never stopped."""
    return run("chainer", tmp_path_factory.mktemp("whole"), END, END + 1)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """The folder of the run that Chainer made up to iteration 137, and what it had done by then."""
    out = tmp_path_factory.mktemp("stopped")
    return out, run("chainer", out, STOPPED_AT, STOPPED_AT)


@pytest.fixture
def folder(stopped, tmp_path):
    """A copy of that folder."""
    return shutil.copytree(stopped[0], tmp_path / "result")


def assert_same(found: dict[str, Any], stopped: dict[str, Any], whole: dict[str, Any]) -> None:
    """Whether a run went on from there and ended as the whole one."""
    assert found["arrays"] == whole["arrays"]
    assert found["alpha"] == whole["alpha"]
    assert found["rows"] == whole["rows"]
    assert stopped["fired"] + found["fired"] == whole["fired"]


def test_the_run_leaves_something_to_go_wrong(stopped, whole):
    _, begun = stopped
    assert begun["files"] == [f"snapshot_iter_{STOPPED_AT}"]
    assert 0 < len(begun["fired"]) < len(whole["fired"])
    assert all(begun["arrays"][name] != one for name, one in whole["arrays"].items() if name.endswith(("W", "/m")))
    assert begun["alpha"] != whole["alpha"]


@pytest.mark.parametrize("resume", ["snapshot_iter_137", "autoload"])
def test_a_run_of_chainer_goes_on_in_holdfast_as_if_it_had_stayed(resume, folder, stopped, whole):
    source = resume if resume == "autoload" else folder / resume
    assert_same(run("holdfast", folder, END, END + 1, source), stopped[1], whole)


def test_it_goes_on_once_more_from_holdfasts_own_snapshot(folder, stopped, whole):
    begun = run("holdfast", folder, SECOND, SECOND, folder / f"snapshot_iter_{STOPPED_AT}")
    assert f"snapshot_iter_{SECOND}" in begun["files"]
    found = run("holdfast", folder, END, END + 1, "autoload")
    assert_same({**found, "fired": begun["fired"] + found["fired"]}, stopped[1], whole)


def test_holdfast_from_the_first_iteration_on_is_as_chainer(tmp_path, whole):
    found = run("holdfast", tmp_path, END, END + 1)
    assert {**found, "files": []} == {**whole, "files": []}
