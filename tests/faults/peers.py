"""`make faults-peers`: other libraries beside holdfast, tried by the same means: killed while they save, the power cut
while they save, one bit flipped in what they saved.

It runs in the environment of the benchmark (`.venv-bench`), prints a table, and puts it into docs/reliability.md.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.console import Console
from rich.table import Table

from faults import results
from faults.campaigns import Outcome, Unavailable
from faults.peers_flips import flips
from faults.peers_kills import kills
from faults.peers_savers import BESIDE, OVER, SAVERS, complaint_of

KILLS, FLIPS = 40, 1_000  # of each library
SLOW = {"torch DCP": 0.4, "Orbax": 0.1}  # so many flips fewer
PACKAGES = ("holdfast", "torch", "safetensors", "numpy", "orbax-checkpoint", "jax")


@dataclass(frozen=True)
class Trial:
    """One row of the table."""

    words: str
    run: Callable[[str, float, int, Path], Outcome]  # the saver's name, a factor for counts, a seed, scratch


def _kills(mode: str, name: str, scale: float, seed: int, folder: Path) -> Outcome:
    return kills(name, mode, most=max(1, round(KILLS * scale)), seed=seed, folder=folder)


def _cuts(mode: str, name: str, scale: float, seed: int, folder: Path) -> Outcome:
    from faults.powerloss.savers import explore_saver

    saver = SAVERS[name]()
    found = explore_saver(
        ["-m", "faults.peers_programs", name, mode],
        lambda place, steps: complaint_of(saver, Path(place), steps, mode),
        folder=folder,
        rand=0 if name in SLOW else 2,
        seed=seed,
    )
    return Outcome(found.trees, tuple(found.bad), found.bad_count, notes=f"{found.points} cuts")


def _flips(name: str, scale: float, seed: int, folder: Path) -> Outcome:
    return flips(name, count=max(1, round(FLIPS * SLOW.get(name, 1) * scale)), seed=seed, folder=folder)


TRIALS = (
    Trial("R1, killed while it saves over the same name", partial(_kills, OVER)),
    Trial("R1, killed while it saves under a name of its own", partial(_kills, BESIDE)),
    Trial("R2, power cut, over the same name: what may be left", partial(_cuts, OVER)),
    Trial("R2, power cut, under names of their own: what may be left", partial(_cuts, BESIDE)),
    Trial("R7, one bit flipped", _flips),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; returns 0 whatever it says."""
    parser = argparse.ArgumentParser(prog="make faults-peers", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="a factor for every count (1)")
    parser.add_argument("--savers", default=",".join(SAVERS), help="of these")
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir()) / "holdfast-faults")
    options = parser.parse_args(argv)
    names = [name for name in SAVERS if name in options.savers.split(",")]
    warnings.simplefilter("ignore")  # libraries' own
    logging.disable(logging.CRITICAL)
    options.directory.mkdir(parents=True, exist_ok=True)
    cells = {(trial.words, name): _cell(trial, name, options) for trial in TRIALS for name in names}
    _show(names, cells)
    if options.scale >= 1 and set(names) == set(SAVERS):
        page = results.PAGE.read_text(encoding="utf-8")
        results.PAGE.write_text(results.replaced(page, "peers", _lines(names, cells)), encoding="utf-8")
    return 0


def _cell(trial: Trial, name: str, options: argparse.Namespace) -> str:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="peers_", dir=options.directory) as folder:
        try:
            with _silent():
                SAVERS[name]()  # raises where it is not installed
                found = trial.run(name, options.scale, options.seed, Path(folder))
            cell = f"{found.bad_count:,} of {found.tried:,}"
            if found.notes and trial.run is _flips:
                cell += f"; {found.notes}"
        except ModuleNotFoundError as error:
            cell = f"not installed ({error.name})"
        except Unavailable as error:
            cell = f"unavailable ({error})"
    print(f"{time.monotonic() - began:6.0f} s  {trial.words}: {name}: {cell}", file=sys.stderr, flush=True)
    return cell


@contextmanager
def _silent() -> Iterator[None]:
    """What libraries say of files that they cannot load, some of it from threads in C++, is no matter here."""
    with open(os.devnull, "wb") as nothing:
        kept = os.dup(2)
        os.dup2(nothing.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _show(names: Sequence[str], cells: dict[tuple[str, str], str]) -> None:
    table = Table(title="bad cases: an acknowledged state lost, or a wrong one loaded")
    for title in ("", *names):
        table.add_column(title)
    for trial in TRIALS:
        table.add_row(trial.words, *[cells[trial.words, name] for name in names])
    Console().print(table)


def _lines(names: Sequence[str], cells: dict[tuple[str, str], str]) -> list[str]:
    found = [f"| bad cases | {' | '.join(names)} |", f"| --- |{' ---: |' * len(names)}"]
    found += [f"| {trial.words} | {' | '.join(cells[trial.words, name] for name in names)} |" for trial in TRIALS]
    return [*found, "", f"Run on {results.when()}, with", f"{', '.join(filter(None, map(_version, PACKAGES)))}."]


def _version(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return ""


if __name__ == "__main__":
    sys.exit(main())
