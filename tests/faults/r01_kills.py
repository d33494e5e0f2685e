"""R1: once a snapshot was acknowledged, it survives kill -9; before that, the older ones do.

The process dies before every call that goes through storage/syscalls.py, whatever it uses holdfast for; where another
process writes, that one dies. Then real processes get SIGKILL, under strace, before calls of their threads and of their
writer processes; and a run gets it at random moments. The next process looks at everything, and goes on.
"""

from __future__ import annotations

import logging
import os
import random
import shutil
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

from faults import campaigns, r01_random, strace, sweeps
from faults.campaigns import Outcome, merge
from faults.injection import Crash
from faults.inprocess import WRITERS, attempt, name_of, points, shared_out, shuffled, writing_of
from faults.strace import Told
from faults.sweeps import LARGE, SMALL
from faults.sweeps_uses import FILE, TRAINER, USES, New, Use, prepared, warmed
from faults.traced import KILL, note_of, share_of, try_points
from faults.writing import Writing
from holdfast import writers
from holdfast.errors import CommitError

RANDOM = 20  # kills at random moments, of the short form; more of the long one
STEPS = (5, 4)  # that are saved: another one, and the same again
ALL_LARGE = ("save_with_retention", "replacement_of_the_same_step", FILE.name)  # with files past the page cache, too

Case = Callable[[Path], bool]
"""Whether the process came to the call where it was to die: how many calls a thread makes depends on others."""


def uses_of(kind: Callable[..., Any]) -> list[tuple[Use, int]]:
    """What is tried with one kind of writer, and how many floats a state has."""
    uses = [use for use in USES.values() if use.takes_writers or kind is writers.SimpleWriter]
    return [(use, SMALL) for use in uses] + [(use, LARGE) for use in uses if use.name in ALL_LARGE]


def in_process(kind: str, count: int, seed: int, folder: str, only: str = "") -> Outcome:
    """So many deaths with one kind of writer, in one use or all; where another process writes, that one dies."""
    make, place, bad, tried = getattr(writers, kind), Path(folder) / f"kills-{kind}-{seed}", list[str](), 0
    place.mkdir()
    logging.getLogger("holdfast").setLevel(logging.CRITICAL)  # what is swept is told each time
    with writing_of(make, place) as writing, ExitStack() as stack:
        for told, case in shuffled(_cases_of(writing, place, stack, only), seed):
            if tried == count:
                break
            tried += bool(attempt(bad, f"{kind}, {told}", case, place / "s"))
            shutil.rmtree(place / "s", ignore_errors=True)
    return Outcome(tried, tuple(bad))


def _cases_of(writing: Writing, place: Path, stack: ExitStack, only: str) -> list[tuple[str, Case]]:
    found: list[tuple[str, Case]] = []
    for use, size in uses_of(writing.kind):
        if only not in ("", use.name):
            continue
        new = stack.enter_context(prepared(use, writing.kind, size, place))
        seen = new(place / "calm")
        with writing.faults.record() as calls:
            use.act(place / "calm", seen)
        use.check(place / "calm", seen)
        shutil.rmtree(place / "calm")
        for name, ordinal in points(calls):
            told = f"{use.name}, {size} floats, killed before {name} {ordinal}"
            found.append((told, partial(_dies, writing, use, new, name, ordinal)))
    if writing.is_elsewhere:
        for step in STEPS:
            calls = sweeps.save_with(place / "calm", writing.kind, step, 0, writing.faults.record())
            for name, ordinal in points(calls):
                told = f"step {step}, then another, killed before {name} {ordinal}"
                found.append((told, partial(_helper_dies, writing, step, name, ordinal)))
    return found


def _dies(writing: Writing, use: Use, new: New, name: str, ordinal: int, location: Path) -> bool:
    seen = new(location)
    try:
        with suppress(Crash, CommitError), writing.faults.crash_before(name, ordinal):
            use.act(location, seen)
    except AssertionError as error:
        if "there was no call" not in str(error):
            raise
        return False
    use.check(location, seen)
    return True


def _helper_dies(writing: Writing, step: int, name: str, ordinal: int, location: Path) -> bool:
    sweeps.save_with(location, writing.kind, step, 0, writing.faults.crash_before(name, ordinal))
    return True


def traced(kind: str, most: int, seed: int, folder: str) -> Outcome:
    """So many kills of real processes with one kind of writer, shared out among its uses."""
    make, place, bad, tried = getattr(writers, kind), Path(folder) / f"traced-{kind}-{seed}", list[str](), 0
    place.mkdir()
    logging.getLogger("holdfast").setLevel(logging.CRITICAL)
    chance, uses = random.Random(seed), uses_of(make)
    drawn = chance.sample(uses, min(len(uses), -(-most // 4)))  # each of them has to be learnt first
    for number, (use, size) in enumerate(drawn):
        share = (most + number) // len(drawn)
        with prepared(use, make, size, place) as new:
            told, go = f"{kind}, {use.name}, {size} floats", partial(_run, place, use, new)
            tried += try_points(bad, told, go, [KILL], share, chance)
    return Outcome(tried, tuple(bad))


def _run(place: Path, use: Use, new: New, inject: str, who: int) -> strace.Run:
    location, warm = place / "s", place / "warm"
    seen = new(location)
    try:
        run = strace.run(_act, (location, use, seen, warm), place / "log", inject, who)
        assert run.code in (0, -9), run.said[-1:]
        seen.hear(run.said)
        use.check(location, seen)
    finally:
        shutil.rmtree(location)
        shutil.rmtree(warm, ignore_errors=True)
    return run


def _act(told: Told, location: Path, use: Use, seen: Any, warm: Path) -> None:
    """In a process of its own."""
    seen.kind, ids = warmed(seen.kind, warm, 3 if use is TRAINER else 1)
    seen.tell = told.say
    told.ready(*ids)
    with suppress(CommitError):  # where the process that writes is killed
        use.act(location, seen)


def part(name: str, *arguments: Any) -> Outcome:
    """One job of the campaign."""
    return {"in_process": in_process, "traced": traced, "random": r01_random.killed}[name](*arguments)


def campaign(count: int, *, seed: int = 0, folder: Path) -> Outcome:
    """`count` deaths: a part of them under strace, and as many more as there are too few calls in process."""
    why = strace.why_not()
    place, kinds = os.fspath(folder), [name_of(kind) for kind in WRITERS]
    under, chance = share_of(count, why), max(RANDOM, count // 25)
    shares = shared_out(count - under - chance, WRITERS)
    jobs: list[tuple[Any, ...]] = [("random", chance // 2, seed * 2 + number, place) for number in range(2)]
    jobs += [("in_process", name_of(kind), share, seed, place) for kind, share in shares.items()]
    there = merge(campaigns.in_processes(part, jobs))
    share = 0 if why else -(-max(under, count - there.tried) // len(kinds))
    real = merge(campaigns.in_processes(part, [("traced", kind, share, seed, place) for kind in kinds]))
    notes = f"{note_of(real.tried, why)}; {chance // 2 * 2:,} at random moments of a run"
    return merge([there, Outcome(real.tried, real.bad, real.bad_count, notes)])
