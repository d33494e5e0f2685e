"""R15: a long run stays whole, though it is killed again and again, its disk fills up and is emptied, and clocks jump.

One run after the other, of a store and beside that of a trainer, each on a small disk. A run has many lives
(r15_lives.py), with another writer each; in the end it must have come to what a run comes to that is left alone, bit
for bit. The count of the campaign is in seconds.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from collections import Counter
from functools import partial
from pathlib import Path

from faults import realfs
from faults.campaigns import Outcome, in_processes, merge
from faults.forks import Fork, Hang, adopt_orphans, answer_of, import_what_is_used
from faults.r15_lives import KEPT, KINDS, WRITERS, YEAR_S, Life

FAILURES = 10
LINES = 60  # that a life tells before it is killed, at most
TOGGLE = 0.04  # how often the disk fills up or is emptied, a line


def campaign(count: int, *, seed: int = 0, folder: Path) -> Outcome:
    """At least `count` seconds."""
    realfs.check_possible()
    jobs = [(kind, count, seed, str(folder / kind)) for kind in KINDS]
    outcomes = in_processes(runs, jobs)
    merged = merge(outcomes)
    return Outcome(min(one.tried for one in outcomes), merged.bad, merged.bad_count, merged.notes)


def runs(kind: str, seconds: int, seed: int, folder: str, failures: int = FAILURES) -> Outcome:
    """Runs for so many seconds, and to the end of the last; in a process of its own, which forks."""
    adopt_orphans()
    calm = Life(os.path.join(folder, "calm"), "SimpleWriter", None)
    import_what_is_used(partial(_carry_out, kind, calm))
    shutil.rmtree(calm.place)
    wanted = answer_of(partial(_carry_out, kind, calm))
    room = realfs.private_mounts(Path(folder))
    began = time.monotonic()
    seen: Counter[str] = Counter()
    bad: list[str] = []
    with realfs.tmpfs(room, "tmpfs", 1024) as first, realfs.small_ext4(room, "ext4", 4) as second:
        while not seen["runs"] or (time.monotonic() - began < seconds and len(bad) < failures):
            place = (first, second)[seen["runs"] % 2]
            run = Run(kind, place, wanted, random.Random(f"{seed} {kind} {seen['runs']}"), seen)
            bad += [
                f"{kind}, seed {seed}, run {seen['runs']}, life {run.lives}: {what}" for what in run.go(began + seconds)
            ]
            seen["runs"] += 1
    words = ("runs", "killed", "resumed", "saved", "full", "filled")  # a trainer does not tell what it has saved
    notes = f"{kind}: {', '.join(f'{seen[word]} {word}' for word in words if seen[word])}"
    return Outcome(tried=int(time.monotonic() - began), bad=tuple(bad), notes=notes)


def _carry_out(kind: str, life: Life) -> str:
    """A life that nobody disturbs; returns what it comes to."""
    process = Fork(partial(KINDS[kind], life))
    return str(process.end()[-1][-1])


class Run:
    """One run, from its beginning to its end.

    Args:
        disk: where it is; emptied in the end.
        wanted: what it is to come to.
        seen: is told how often what has happened.
    """

    def __init__(self, kind: str, disk: Path, wanted: str, chance: random.Random, seen: Counter[str]) -> None:
        self.lives = 0
        self._kind = kind
        self._place = disk / "run"
        self._ballast = disk / "ballast"
        self._wanted = wanted
        self._chance = chance
        self._seen = seen
        self._newest = 0  # that is known to be durable
        self._saved = 0  # how many are
        self._has_begun = False  # its folder is there: a full disk has no room for that
        self._is_done = False
        self._bad: list[str] = []

    def go(self, until: float) -> list[str]:
        """Returns what is wrong.

        Args:
            until: from then on nobody disturbs it, as time.monotonic() has it.
        """
        while not self._is_done and not self._bad:
            self.lives += 1
            self._live(is_last=time.monotonic() >= until)
            self._change_times()
        self._empty()
        shutil.rmtree(self._place, ignore_errors=bool(self._bad))
        return self._bad

    def _live(self, *, is_last: bool) -> None:
        if is_last:
            self._empty()
        writer, seed = self._chance.choice(WRITERS), self._chance.getrandbits(32)
        lines = 0 if is_last else self._chance.randint(1, LINES)
        process = Fork(partial(KINDS[self._kind], Life(str(self._place), writer, seed)))
        try:
            while not self._is_done and not self._bad:
                line = process.line()
                if line is None:
                    self._bad.append("it died")
                    break
                self._note(*line)
                lines -= 1
                if not lines:
                    process.is_silent(self._chance.uniform(0, 0.01))
                    break
                if not is_last and self._has_begun and self._chance.random() < TOGGLE:
                    self._toggle()
        except Hang as error:
            self._bad.append(str(error))
        if self._is_done:
            process.end()
            return
        self._seen["killed"] += 1
        for told in process.kill_alone():  # a writer process of its own goes on
            self._note(*told)

    def _note(self, what: str, *more: object) -> None:
        self._seen[what] += 1
        if what == "found":
            [steps] = more
            assert isinstance(steps, list)
            if max(steps, default=0) < self._newest:
                self._bad.append(f"{self._newest} was durable, and there are {steps}")
            if len(steps) < min(KEPT, self._saved):
                self._bad.append(f"{self._saved} were durable, {KEPT} should be left, and there are {steps}")
            self._newest, self._saved = max([self._newest, *steps]), max(self._saved, len(steps))
        elif what == "resumed":
            self._has_begun = True
            [step] = more
            if step < self._newest:
                self._bad.append(f"{self._newest} was durable, and it resumed from {step}")
        elif what == "saved":
            [step] = more
            self._newest, self._saved = step, self._saved + 1
        elif what == "done":
            self._is_done = True
            if more[-1] != self._wanted:
                self._bad.append("it came to another end than a run that nobody disturbs")
        elif what in ("wrong", "failed"):
            self._bad.append(": ".join(map(str, more)))

    def _toggle(self) -> None:
        """Fill the disk but for a little, or empty it."""
        if self._ballast.exists():
            self._empty()
            return
        self._seen["filled"] += 1
        found = os.statvfs(self._place.parent)
        left = self._chance.choice((0, self._chance.randint(0, 120_000)))
        size = found.f_bfree * found.f_frsize - left
        with open(self._ballast, "wb") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, max(1, size))
            except OSError:  # the run has taken it meanwhile: full enough
                return

    def _empty(self) -> None:
        self._ballast.unlink(missing_ok=True)

    def _change_times(self) -> None:
        """As copying does: times of files mean nothing."""
        for path in self._place.glob("[sw]*_*"):
            when = time.time() + self._chance.uniform(-20, 20) * YEAR_S
            try:
                os.utime(path, (when, when))
            except FileNotFoundError:  # a writer process replaced or removed it
                continue
