"""What other libraries are tried with finds what it is to find, and nothing where there is nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from faults.campaigns import Outcome, Unavailable
from faults.peers_flips import flips
from faults.peers_kills import kills
from faults.peers_savers import BESIDE, OVER, Holdfast, Safetensors, Savez, complaint_of, path_of, state_of, step_of


def killed(name: str, mode: str, folder: Path) -> Outcome:
    try:
        return kills(name, mode, most=8, seed=0, folder=folder)
    except Unavailable as error:
        pytest.skip(str(error))


def test_a_kill_while_it_saves_over_the_same_name_costs_savez_its_only_one(tmp_path):
    outcome = killed("numpy.savez", OVER, tmp_path)
    assert outcome.tried == 8
    assert 0 < outcome.bad_count <= 8
    assert "nothing loads" in outcome.bad[0]


@pytest.mark.parametrize("mode", [OVER, BESIDE])
def test_it_costs_holdfast_nothing(tmp_path, mode):
    outcome = killed("holdfast", mode, tmp_path)
    assert outcome.bad == ()
    assert outcome.tried == 8


def test_a_flipped_bit_loads_from_what_has_no_checksums_and_not_from_what_has(tmp_path):
    for name in ("safetensors", "holdfast"):
        (tmp_path / name).mkdir()
    without = flips("safetensors", count=30, seed=1, folder=tmp_path / "safetensors")
    assert without.tried == 30
    assert without.bad_count > 20
    assert "bit" in without.bad[0]
    assert flips("holdfast", count=30, seed=1, folder=tmp_path / "holdfast") == Outcome(30)


def test_a_state_is_known_by_every_byte_of_it():
    assert step_of(state_of(3)) == 3
    torn = state_of(3)
    torn["weights"] = np.concatenate([state_of(3)["weights"][:128], state_of(4)["weights"][128:]])
    assert step_of(torn) is None
    assert step_of({**state_of(3), "bias": state_of(2)["bias"]}) is None
    assert step_of({"step": state_of(3)["step"]}) is None
    assert step_of({}) is None


@pytest.mark.parametrize("make", [Holdfast, Savez, Safetensors])
def test_what_is_left_is_judged_by_what_was_acknowledged(tmp_path, make):
    saver = make()
    for step in (1, 2):
        saver.save(path_of(saver, tmp_path, step, BESIDE), state_of(step))
    assert complaint_of(saver, tmp_path, [1], BESIDE) == ""
    assert complaint_of(saver, tmp_path, [1, 2], BESIDE) == ""
    newest = path_of(saver, tmp_path, 2, BESIDE)
    newest.write_bytes(newest.read_bytes()[:1000])
    assert complaint_of(saver, tmp_path, [1], BESIDE) == "", "the one before it loads"
    assert "2 was acknowledged" in complaint_of(saver, tmp_path, [1, 2], BESIDE)
    path_of(saver, tmp_path, 1, BESIDE).unlink()
    assert "nothing loads" in complaint_of(saver, tmp_path, [1], BESIDE)
    assert complaint_of(saver, tmp_path, [], BESIDE) == ""
    saver.save(newest, {**state_of(2), "bias": np.zeros(8, np.float32)})
    assert "no state that was ever saved" in complaint_of(saver, tmp_path, [1], BESIDE)
