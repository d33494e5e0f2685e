"""R16: the tests are sharp. Each seeded fault of r16_table.py is put into a copy of the package, and the test that must
notice has to fail on the copy, as it has to pass on one without the fault."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from faults.broken import TESTS, broken_copy
from faults.campaigns import Outcome
from faults.r16_mutant import Mutant
from faults.r16_table import MUTANTS

SHORT = 5
"""A count up to this takes the first of the table; a larger one takes all."""

FAILED = 1
"""What pytest ends with where tests ran and one failed; more says that it could not run them."""

_PROCESSES = 2
_LIMIT_S = 120  # of one test


def campaign(count: int, *, seed: int = 0, folder: Path) -> Outcome:
    """Try `count` faults, or all of them where it is above SHORT. There is nothing to draw: `seed` is not used."""
    chosen = MUTANTS[:count] if count <= SHORT else MUTANTS
    tests = sorted({mutant.caught_by for mutant in chosen})
    with ThreadPoolExecutor(_PROCESSES) as threads:
        shares = [share for number in range(_PROCESSES) if (share := tests[number::_PROCESSES])]
        sound = list(threads.map(complaint_of_sound, shares, [folder / f"sound_{n}" for n in range(len(shares))]))
        caught = list(threads.map(complaint_of, chosen, [folder / f"fault_{n}" for n in range(len(chosen))]))
    bad = tuple(filter(None, (*sound, *caught)))
    return Outcome(len(chosen), bad, notes=f"{len(tests)} tests")


def complaint_of(mutant: Mutant, folder: Path) -> str:
    """Why a fault counts as not caught; "" where it is."""
    ended, said = run_tests([mutant.caught_by], broken_copy(folder, (mutant.file, mutant.old, mutant.new)))
    if ended == FAILED:
        return ""
    how = "passes" if ended == 0 else f"could not be run (pytest ended with {ended}): {said}"
    return f"{mutant.name} ({mutant.file}): {mutant.caught_by} {how}"


def complaint_of_sound(tests: Sequence[str], folder: Path) -> str:
    """Why tests do not pass without a fault; "" where they do."""
    ended, said = run_tests(tests, broken_copy(folder))
    return f"without a fault, pytest ended with {ended}: {said}" if ended else ""


def run_tests(tests: Sequence[str], package: Path) -> tuple[int, str]:
    """Run tests with another package in the place of holdfast.

    Args:
        tests: relative to tests/.
        package: the folder that "holdfast" lies in.
    Returns:
        What pytest ended with, and the last lines that it wrote.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(package), str(TESTS)]),
        "HYPOTHESIS_STORAGE_DIRECTORY": str(package / "hypothesis"),  # what it learns of a fault is of no use elsewhere
    }
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "--tb=line", "-p", "no:cacheprovider",
         f"--timeout={_LIMIT_S}", f"--basetemp={package / 'scratch'}", *[f"tests/{test}" for test in tests]],
        cwd=TESTS.parent,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    return ended.returncode, " ".join((ended.stdout + ended.stderr).split()[-60:])
