"""R11: retention keeps at least as many good snapshots as the policy asks for, or as there are, at every moment, and
touches nothing that is not holdfast's.

r11_machine.py says what happens to a store, r11_witness.py what must hold; hypothesis draws the sequences. Every seed
gives the same ones, and nothing is remembered between runs.
"""

from __future__ import annotations

import itertools
import logging
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis import seed as seeded
from hypothesis.stateful import run_state_machine_as_test

from faults.campaigns import Outcome, in_processes
from faults.r11_draws import Clock
from faults.r11_machine import Machine
from faults.tallies import added_up, told
from faults.watched import Watched
from holdfast import files

RULES = 12  # in a sequence
SEQUENCES = 2000  # that one process carries out
DRAWN = 50  # with one seed; of more of them hypothesis makes many that resemble others
FAILURES = 20  # after which a process gives up


def campaign(count: int, *, seed: int = 0, folder: Path) -> Outcome:
    """At least `count` sequences."""
    processes = min(2, count)
    share = min(SEQUENCES, -(-count // processes))
    jobs = [(share, 1000 * seed + number, str(folder / f"r11_{number}")) for number in range(-(-count // share))]
    return added_up(in_processes(sequences, jobs, processes))


def sequences(count: int, number: int, folder: str, failures: int = FAILURES) -> Outcome:
    """At least `count` sequences, drawn with the seed `number`, fewer where so many failures are found; in a process of
    its own, which it changes."""
    os.makedirs(folder)
    logging.disable(logging.CRITICAL)
    Machine.folder = Path(folder)
    Machine.faults = Watched()
    Machine.finished = Machine.crashes = Machine.removals = Machine.damages = 0
    bad = []
    with pytest.MonkeyPatch.context() as patch:
        Machine.faults.install(patch)
        patch.setattr(files, "datetime", Clock)
        patch.setattr(os, "fsync", lambda fd: None)  # processes die here, and the power stays on
        for draw in itertools.count():
            if Machine.finished >= count or len(bad) >= failures:
                break
            drawn = settings(
                max_examples=DRAWN,
                stateful_step_count=RULES,
                database=None,
                deadline=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
                verbosity=Verbosity.quiet,
                print_blob=False,
            )
            try:
                run_state_machine_as_test(seeded(100_000 * number + draw)(Machine), settings=drawn)
            except Exception as error:  # noqa: BLE001  whatever a store raises that no rule expects is bad, too
                bad.append(f"seed {number}: {type(error).__name__}: {error}")
    notes = told({"removals": Machine.removals, "deaths": Machine.crashes, "damages": Machine.damages})
    return Outcome(tried=Machine.finished, bad=tuple(bad), bad_count=len(bad), notes=notes)
