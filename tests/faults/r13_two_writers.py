"""R13: two writers never mix. Several processes want to write to one store, and are stopped and killed at random.

In each round 2 to 8 processes (r13_contender.py) open a new store again and again, with different writers, one or two
stores and threads, and workers that they fork. At every moment one of them has it, and the others are told which; at
the end every snapshot that was acknowledged is there, with the bytes of one writer.
"""

from __future__ import annotations

import json
import logging
import os
import random
import re
import select
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from faults.campaigns import Outcome, in_processes
from faults.r13_contender import TEMPLATES, Contender, Place
from faults.tallies import added_up, told
from holdfast import files
from holdfast.store import SnapshotStore

ROUNDS = 500  # that one process carries out
SHAPES = ("one", "one", "two", "threads")
WRITERS = ("simple", "simple", "thread", "thread", "thread", "process")
SAVED = 8  # snapshots, after which a round ends
HANG_S = 60.0
_PIDS = re.compile(r"to this store: pid (\d+)(?: \(the lock file says: 'pid \d+ on |;)")  # it may just have come
FAILURES = 20


def campaign(count: int, *, seed: int = 0, folder: Path) -> Outcome:
    """At least `count` rounds."""
    processes = min(2, count)
    share = min(ROUNDS, -(-count // processes))
    jobs = [(share, 1000 * seed + number, str(folder / f"r13_{number}")) for number in range(-(-count // share))]
    return added_up(in_processes(rounds, jobs, processes))


def rounds(count: int, number: int, folder: str, failures: int = FAILURES, writers: Sequence[str] = WRITERS) -> Outcome:
    """So many rounds, fewer where so many failures are found; in a process of its own, without threads: it forks."""
    os.makedirs(folder)
    logging.disable(logging.CRITICAL)
    bad: list[str] = []
    seen: Counter[str] = Counter()
    tried = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda fd: None)  # processes die here, and the power stays on
        while tried < count and len(bad) < failures:
            chance = random.Random(100_000 * number + tried)
            one = Round(Path(folder) / str(tried), chance, writers)
            bad += [f"seed {number}, round {tried}: {what}" for what in one.fight()]
            seen += one.seen
            tried += 1
            try:
                shutil.rmtree(one.folder)
            except OSError as error:
                bad.append(f"seed {number}, round {tried - 1}: somebody writes there after its end: {error}")
    notes = told({what: seen[what] for what in ("saved", "locked", "killed", "stopped")})
    return Outcome(tried=tried, bad=tuple(bad), bad_count=len(bad), notes=notes)


class Round:
    """One new store, and those who want it."""

    def __init__(self, folder: Path, chance: random.Random, writers: Sequence[str]) -> None:
        self.folder = folder
        self._writers = writers
        self.seen: Counter[str] = Counter()
        self._chance = chance
        self._location = folder / "store"
        self._location.mkdir(parents=True)
        self._notes, notes = os.pipe()
        stop, self._stop = os.pipe()
        self._place = Place(str(self._location), str(folder / "witness"), notes, stop)
        self._count = 0
        self._running: dict[int, bool] = {}  # by their pids: whether they are stopped
        self._pids: set[int] = set()  # of all that there were
        self._rest = b""
        self._saved: dict[str, tuple[float, int]] = {}  # name: value, and sequence number
        self._bad: list[str] = []

    def fight(self) -> list[str]:
        """Returns what is wrong; all processes are gone then."""
        try:
            for _ in range(self._chance.randint(2, 8)):
                self._start()
            acts = iter(self._acts())
            wait = 1
            while len(self._saved) < SAVED and not self._bad:
                for what in self._read():
                    self._note(*what)
                    wait -= 1
                if wait <= 0:
                    next(acts)()
                    wait = self._chance.randint(1, 10)
            self._end()
            self._check()
        finally:
            for pid in list(self._running):
                self._kill(pid)
            for fd in (self._notes, self._place.notes, self._place.stop, self._stop):
                with suppress(OSError):
                    os.close(fd)
        return self._bad

    def _start(self) -> None:
        self._count += 1
        shape, writer = self._chance.choice(SHAPES), self._chance.choice(self._writers)
        seed = self._chance.getrandbits(32)
        pid = os.fork()
        if pid == 0:
            try:
                os.close(self._stop)  # the end of the round would not show
                Contender(self._place, self._count, shape, writer, seed).run()
            finally:
                os._exit(0)
        self._running[pid] = False
        self._pids.add(pid)

    def _acts(self) -> Iterator[Callable[[], None]]:
        """What happens to them, one thing after the other."""
        while True:
            select.select([], [], [], self._chance.uniform(0, 0.003))  # at whatever call it finds them
            stopped = [pid for pid, is_stopped in self._running.items() if is_stopped]
            others = [pid for pid, is_stopped in self._running.items() if not is_stopped]
            choice = self._chance.random()
            if choice < 0.4 and stopped:
                yield partial(self._signal, self._chance.choice(stopped), signal.SIGCONT)
            elif choice < 0.7 and len(others) > 1:
                yield partial(self._signal, self._chance.choice(others), signal.SIGSTOP)
            else:
                yield self._replace

    def _replace(self) -> None:
        """Kill one, stopped or not, and start another."""
        self._kill(self._chance.choice(list(self._running)))
        self._start()

    def _signal(self, pid: int, number: signal.Signals) -> None:
        os.kill(pid, number)
        self._running[pid] = number == signal.SIGSTOP
        self.seen["stopped"] += number == signal.SIGSTOP

    def _kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        del self._running[pid]
        self.seen["killed"] += 1

    def _read(self) -> list[list[Any]]:
        """What they say; waits for it. A process that was stopped may have the store, and then the others say so."""
        if not select.select([self._notes], [], [], HANG_S)[0]:
            self._bad.append(f"nobody has done anything for {HANG_S} s")
            return []
        *lines, self._rest = (self._rest + os.read(self._notes, 1 << 16)).split(b"\n")
        return [json.loads(line) for line in lines]

    def _note(self, pid: int, what: str, *more: Any) -> None:
        self.seen[what] += 1
        if what == "error":
            self._bad.append(more[0])
        elif what == "saved":
            name, value, sequence = more
            if name in self._saved:
                self._bad.append(f"{name} was saved by two writers")
            self._saved[name] = value, sequence
        elif what == "locked":
            named = _PIDS.search(more[0])
            if named is None and "its pid is not known here" not in more[0]:  # it has just left
                self._bad.append(f"says not who is in the way: {more[0]}")
            if named is not None and int(named.group(1)) not in self._pids - {pid}:
                self._bad.append(f"names somebody else: {more[0]}")

    def _end(self) -> None:
        """Kill some of them, and let the others finish."""
        share = self._chance.choice((0.0, 0.5, 1.0))
        for pid in list(self._running):
            if self._bad or self._chance.random() < share:
                self._kill(pid)
            elif self._running[pid]:
                self._signal(pid, signal.SIGCONT)
        if not self._running:
            self._check()  # while the workers of those that were killed live on
        os.close(self._stop)
        deadline = time.monotonic() + HANG_S
        while self._running:
            for pid in list(self._running):
                if os.waitpid(pid, os.WNOHANG)[0]:
                    del self._running[pid]
            while select.select([self._notes], [], [], 0.001)[0]:
                for what in self._read():
                    self._note(*what)
            if time.monotonic() > deadline:
                self._bad.append(f"{len(self._running)} processes do not end")
                return

    def _check(self) -> None:
        """The next process: the store is free, and everything is there."""
        while select.select([self._notes], [], [], 0)[0]:
            for what in self._read():
                self._note(*what)
        numbers: Counter[int] = Counter()
        found = {}
        for template in TEMPLATES:
            with SnapshotStore(self._location, filename=template) as store:
                for snapshot in store.snapshots():
                    files.verify(snapshot)
                    held = files.load(snapshot)
                    if (held["w"] != held["value"]).any():
                        self._bad.append(f"{snapshot.name} has bytes of two writers")
                    found[snapshot.name] = held["value"], snapshot.sequence
                    numbers[snapshot.sequence] += 1
        self._bad += [f"{count} snapshots have the number {number}" for number, count in numbers.items() if count > 1]
        self._bad += [
            f"{name} was acknowledged as {saved}, and is {found.get(name, 'gone')}"
            for name, saved in self._saved.items()
            if found.get(name) != saved
        ]
        left = [name for name in os.listdir(self._location) if name.endswith("holdfast-tmp")]
        if left:
            self._bad.append(f"{left} were not swept")
