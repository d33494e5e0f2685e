"""Cuts the power after every operation of a log, under every model and policy, and has somebody look at what is left.

From a shell, in the folder tests/:

    python -m faults.powerloss.explore LOG CHECK.py [--model strict|journal] [--rand 4] [--seed 0] [--show 3]

LOG is what the file system of filesystem.py has dumped. CHECK.py defines `check(folder, acks) -> str`: it is given a
plain directory that holds what survived, and the names that the program had acknowledged by then; it returns a
complaint, or "". It may write into the directory. What it raises is a complaint, too.

A crash point is one operation, one model, one policy. What survives is often the same: each distinct tree, with what
was acknowledged, is looked at once.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from faults.campaigns import Outcome
from faults.powerloss.disk import MODELS, POLICIES, Disk, File, Moment
from faults.powerloss.logs import read_log
from faults.powerloss.operations import Mark, Operation

Check = Callable[[str, Sequence[str]], str]
KEPT = 100  # complaints


@dataclass
class Findings:
    """What an exploration has found."""

    operations: int = 0
    points: int = 0  # cuts
    trees: int = 0  # distinct ones that were left by them
    bad: list[str] = field(default_factory=list)  # one sentence for each complaint, the first 100
    bad_count: int = 0

    def outcome(self, notes: str = "") -> Outcome:
        """The same for the table of promises: a crash point is a case."""
        return Outcome(self.points, tuple(self.bad), self.bad_count, notes)

    def add(self, other: Findings) -> None:
        """Count another exploration in."""
        self.operations += other.operations
        self.points += other.points
        self.trees += other.trees
        self.bad_count += other.bad_count
        self.bad = [*self.bad, *other.bad][:KEPT]


def explore(
    log: Sequence[Operation],
    check: Check,
    *,
    models: Sequence[str] = MODELS,
    policies: Sequence[str] = POLICIES,
    rand: int = 4,
    seed: int = 0,
) -> Findings:
    """Cut the power at every place of a log, from its last mark on.

    Args:
        check: says what is wrong with what is left; see above.
        rand: how many random cuts are made at each place, beside those of `policies`.
        seed: of these.
    """
    places = places_of(log)
    findings = Findings(operations=len(places) - 1)
    seen: set[bytes] = set()
    with tempfile.TemporaryDirectory(dir=_memory()) as scratch:
        for model in models:
            for place, moment in _moments(log, model):
                if place not in places:
                    continue
                for policy in (*policies, *(f"rand:{seed}.{place}.{number}" for number in range(rand))):
                    disk = moment.after_cut(policy)
                    findings.points += 1
                    tree = blake2b(disk.digest() + repr(moment.acks).encode(), digest_size=16).digest()
                    if tree in seen:
                        continue
                    seen.add(tree)
                    complaint = _looked_at(disk, moment.acks, check, os.path.join(scratch, str(len(seen))))
                    if complaint:
                        findings.bad_count += 1
                        if len(findings.bad) < KEPT:
                            findings.bad.append(f"{_described(log, place)}, {model}, {policy}: {complaint}")
    findings.trees = len(seen)
    return findings


def places_of(log: Sequence[Operation]) -> range:
    """Where the power can be cut, by how many operations lie before it: from the last mark on."""
    marks = [place for place, operation in enumerate(log, start=1) if isinstance(operation, Mark)]
    return range(marks[-1] if marks else 0, len(log) + 1)


def export(disk: Disk, folder: str) -> None:
    """Put what is on a disk into a plain directory."""
    for path, node in disk.walk():
        if isinstance(node, dict):
            os.mkdir(folder + path)
        elif isinstance(node, File):
            with open(folder + path, "wb", buffering=0) as file:
                if node.data:
                    file.write(node.data)
        else:
            os.symlink(node, folder + path)


def _moments(log: Sequence[Operation], model: str) -> Iterator[tuple[int, Moment]]:
    """Every place of a log, by how many operations lie before it."""
    moment = Moment(model)
    yield 0, moment
    for place, operation in enumerate(log, start=1):
        moment.advance(operation)
        yield place, moment


def _looked_at(disk: Disk, acks: Sequence[str], check: Check, folder: str) -> str:
    os.mkdir(folder)
    export(disk, folder)
    try:
        return check(folder, tuple(acks))
    except Exception as error:  # noqa: BLE001  whatever it is: where the check resumes a run, that has failed
        return f"{type(error).__name__}: {error}"
    finally:
        shutil.rmtree(folder)


def _described(log: Sequence[Operation], place: int) -> str:
    return f"cut after operation {place}" + (f" ({log[place - 1]!r:.100})" if place else "")


def _memory() -> str | None:
    """A folder in memory, where a sync costs nothing; None where there is no such."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def main() -> int:
    """The command line; 1 where there was a complaint."""
    parser = argparse.ArgumentParser(description="cut the power after every operation of a log")
    parser.add_argument("log", type=Path)
    parser.add_argument("check", type=Path, help="a Python file with check(folder, acks) -> str")
    parser.add_argument("--model", action="append", choices=MODELS, help="only this one; may be given again")
    parser.add_argument("--rand", type=int, default=4, help="random cuts after each operation")
    parser.add_argument("--seed", type=int, default=0, help="of these")
    parser.add_argument("--show", type=int, default=3, help="complaints")
    arguments = parser.parse_args()
    spec = importlib.util.spec_from_file_location("check", arguments.check)
    assert spec is not None
    assert spec.loader is not None
    checker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(checker)
    began = time.perf_counter()
    found = explore(
        read_log(arguments.log),
        checker.check,
        models=arguments.model or MODELS,
        rand=arguments.rand,
        seed=arguments.seed,
    )
    print(
        f"{found.operations} operations, {found.points} crash points, {found.trees} distinct trees, "
        f"{found.bad_count} bad ({time.perf_counter() - began:.1f} s)"
    )
    for complaint in found.bad[: arguments.show]:
        print("   ", complaint)
    return int(found.bad_count > 0)


if __name__ == "__main__":
    sys.exit(main())
