"""Saves of real processes that die or fail at a call, under strace: what the campaigns share that try it."""

from __future__ import annotations

import errno
import logging
import os
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from faults import campaigns, inprocess, strace, sweeps
from faults.campaigns import Outcome, merge
from faults.strace import EVERYONE, Point, Run, Told
from faults.sweeps import Seen
from faults.sweeps_uses import warmed
from holdfast import writers
from holdfast.store import SnapshotStore

TRACED = 40  # cases under strace, of a short form
KILL = "signal=SIGKILL"

Go = Callable[[str, int], Run]
"""Carries something out once, and looks at what is left: what strace is to inject, and into whom."""


def try_points(bad: list[str], told: str, go: Go, faults: Sequence[str], most: int, chance: random.Random) -> int:
    """Try points of what `go` does, each with one of some faults, until `most` of them were come to; returns how many:
    how many calls a thread makes depends on others."""
    hits = 0
    found = [(point, can) for point in go("", EVERYONE).points if (can := _at(point, faults))]
    for (who, name, ordinal), can in chance.sample(found, len(found)):
        if hits == most:
            break
        fault = chance.choice(can)
        whose = "whoever comes there" if who == EVERYONE else f"thread or process {who}"
        said = f"{told}, under strace, {fault} at {name} {ordinal} of {whose}"
        hits += getattr(inprocess.attempt(bad, said, go, f"{name}:{fault}:when={ordinal}", who), "hit", True)
    return hits


def _at(point: Point, faults: Sequence[str]) -> list[str]:
    """What may happen there; an error that comes to several threads is several errors."""
    who, name, _ = point
    return [fault for fault in faults if fault == KILL or (name in strace.ERRORS and who != EVERYONE)]


Act = Callable[[SnapshotStore, Seen, Told, int, Sequence[int]], None]
"""Says that it is ready, with these ids; saves a step, and step 6 with 6.0; and tells what became of each."""


def saves(
    kind: str, act: Act, faults: Sequence[str], steps: Sequence[int], most: int, seed: int, folder: str
) -> Outcome:
    """So many faults in a store's saves with one kind of writer."""
    place, bad, chance, hits = Path(folder) / f"traced-{kind}-{seed}", list[str](), random.Random(seed), 0
    place.mkdir()
    logging.getLogger("holdfast").setLevel(logging.CRITICAL)  # what could not be removed is told each time
    for number, step in enumerate(steps if most else ()):
        go = partial(_go, place, getattr(writers, kind), act, step)
        hits += try_points(bad, f"{kind}, step {step}", go, faults, (most + number) // len(steps), chance)
    return Outcome(hits, tuple(bad))


def tell_failure(told: Told, step: int, value: float, error: BaseException) -> None:
    """A save that failed."""
    number = getattr(error, "errno", None) or 0
    told.say("failed", step, value, type(error).__name__, number, "the outcome is unknown" in str(error))


def descriptors() -> int:
    """How many are open; also where the fault is still to come."""
    try:
        return sweeps.descriptors()
    except OSError:
        return sweeps.descriptors()


def _go(place: Path, kind: Callable[..., Any], act: Act, step: int, inject: str, who: int) -> Run:
    location, warm = place / "s", place / "warm"
    seen = sweeps.prepare(location, sweeps.save_with_retention, kind)
    try:
        run = strace.run(_save, (location, seen, warm, act, step), place / "log", inject, who)
        _look(run, location, seen, inject)
    finally:
        shutil.rmtree(location)
        shutil.rmtree(warm, ignore_errors=True)
    return run


def _save(told: Told, location: Path, seen: Seen, warm: Path, act: Act, step: int) -> None:
    """In a process of its own."""
    seen.kind, ids = warmed(seen.kind, warm, 1)
    store = seen.store(location, keep=sweeps.POLICY)
    store.resume(sweeps.state(0))
    seen.save(store, 4, 4.0)
    seen.tell = told.say
    act(store, seen, told, step, ids)


def _look(run: Run, location: Path, seen: Seen, inject: str) -> None:
    """What it has told, and what is there."""
    assert run.code == 0 or (KILL in inject and run.code == -9), f"{run.code}: {run.said[-1:]}"
    seen.hear(run.said)
    failed = [words[1:] for words in run.said if words[0] == "failed"]
    for step, value, kind, number, is_unknown in failed:
        assert kind == "CommitError", f"{kind} of step {step}"
        if is_unknown == "False":
            seen.possible[int(step)].discard(float(value))
        if KILL not in inject and (is_unknown, number) != ("True", "0"):  # those of a writer process that ended
            assert f"error={errno.errorcode.get(int(number))}:" in inject, f"not the error that came: {number}"
    if KILL not in inject:
        assert sum(words[3] != "0" for words in failed) <= 1, f"one error cost more than one snapshot: {failed}"
        assert sweeps.temporary_files(location) == []
    left = [int(words[1]) for words in run.said if words[0] == "descriptors"]
    assert not any(left) or inject.startswith("close:"), "a descriptor is left open"  # such a close did not happen
    sweeps.forget_everything()
    sweeps.check(location, seen)


def shared_out(part: Callable[..., Any], kinds: Sequence[str], count: int, seed: int, folder: Path) -> Outcome:
    """Share `count` cases out among kinds of writers, TRACED of them, or one of 20, under strace.

    Args:
        part: called with a kind, how many cases under strace, how many others, seed and folder; gives the Outcomes of
            both. What is under strace comes first, as it wants a process without threads.
    """
    why = strace.why_not()
    under = share_of(count, why)
    shares = inprocess.shared_out(max(0, count - under), [getattr(writers, kind) for kind in kinds])
    real, rests = -(-under // len(kinds)), shares.values()
    jobs = [(kind, real, rest, seed, os.fspath(folder)) for kind, rest in zip(kinds, rests, strict=True)]
    found = list(zip(*campaigns.in_processes(part, jobs), strict=True))
    traced = merge(found[0])
    return merge([*found[1], replace(traced, notes=note_of(traced.tried, why))])


def share_of(count: int, why_not: str) -> int:
    """How many of so many cases are to be under strace, where that can be."""
    return 0 if why_not else max(TRACED, count // 20)


def note_of(count: int, why_not: str) -> str:
    """What an outcome tells of it."""
    return f"none of them under strace: {why_not}" if why_not else f"{count:,} of them under strace"
