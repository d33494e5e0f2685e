"""R6: out of memory is a clean error.

In a fork of its own each: one allocation of Python's fails, the k-th, while a state is saved, restored, or resumed
from; or there is room for so many bytes more, for whoever asks the system for them: maps, threads, NumPy's data. Clean
is a MemoryError or an error of holdfast's, older snapshots that are whole, no temporary file, no descriptor, a target
that is as it was or wholly restored, and a save that works afterwards. A signal is not, and no hang.

That a size which a file states costs no memory before it was checked is measured by r08_hostile.py.
"""

from __future__ import annotations

import gc
import importlib.util
import logging
import os
import random
import resource
import shutil
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import repeat
from operator import length_hint
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from faults import campaigns, sweeps
from faults.campaigns import Outcome, Unavailable, merge
from faults.forks import Fork, Hang
from faults.sweeps import Seen
from faults.writing import IN_ANOTHER, name_of
from holdfast import HoldfastError, files, writers
from holdfast.snapshot import Snapshot
from holdfast.store import SnapshotStore
from snapshots import finished

FLOATS = 1 << 21  # of a state that is to have too little room
NEVER = 1 << 20  # more allocations than a case has
HANG_S = 30.0
KINDS = (writers.SimpleWriter, writers.ThreadWriter, writers.ThreadQueueWriter, writers.ProcessWriter)
USES = ("save", "restore", "resume")
ROOMS = 5  # one case in so many is of too little room


class Case(NamedTuple):
    """One lack of memory."""

    use: str
    what: str  # "allocation": the one of that number fails; "room": there are so many bytes more
    number: int

    @property
    def floats(self) -> int:
        """Of the state: many, where there is to be too little room for them."""
        return sweeps.SMALL if self.what == "allocation" else FLOATS

    def __str__(self) -> str:
        return f"{self.use}, {self.what} {self.number}"


@contextmanager
def lack(what: str, number: int) -> Iterator[None]:
    """That lack of memory, for all threads of this process."""
    if what == "allocation":
        import _testcapi

        _testcapi.set_nomemory(number, number + 1)
        try:
            yield
        finally:
            _testcapi.remove_mem_hooks()
        return
    there = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (there + number, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def carry_out(kind: Any, case: Case, location: Path) -> int:
    """One case in this process; returns how many allocations of Python's it had, where the number is NEVER.

    Raises:
        BaseException: what is bad.
    """
    seen = sweeps.prepare(location, sweeps.save_with_retention, kind, case.floats)
    with seen.store(location, keep=sweeps.POLICY) as store:
        store.resume(sweeps.state(0.0, case.floats))
        if case.what == "allocation" or kind in IN_ANOTHER:  # else there is no memory for snapshots yet
            seen.save(store, 4, 4.0)
        before = sweeps.descriptors()
        count = _saved(case, seen, store) if case.use == "save" else _restored(case, store)
        # A call that fails for lack of memory may cost CPython 3.11 its arguments: a map of the file stays.
        assert case.use != "save" or sweeps.descriptors() <= before, "a descriptor is left open"
        assert sweeps.temporary_files(location) == []
        seen.save(store, 6, 6.0)
    sweeps.forget_everything()
    sweeps.check(location, seen)
    return count


def _saved(case: Case, seen: Seen, store: SnapshotStore) -> int:
    pending, failed, count = None, False, 0
    state = sweeps.state(5.0, case.floats)
    seen.begin(5, 5.0)
    try:
        with lack(case.what, case.number):
            pending = store.save(5, state)
            pending.result(HANG_S)
            count = _allocations(case)
    except (MemoryError, HoldfastError):
        failed = True
    for one in store._series.pending():  # a save that has failed here may have been handed over
        finished(one)
    if not failed:
        seen.acknowledge(5, 5.0)
    assert files.load(store.snapshots()[-1])["value"] == (4.0 if failed and 5 not in _steps(store) else 5.0)
    return count


def _steps(store: SnapshotStore) -> list[int]:
    return [snapshot.step for snapshot in store.snapshots()]


def _restored(case: Case, store: SnapshotStore) -> int:
    target, failed, count = sweeps.state(9.0, case.floats), False, 0
    newest: Snapshot | None = store.snapshots()[-1]
    snapshot = newest
    try:
        with lack(case.what, case.number):
            if case.use == "restore":
                files.restore(newest, target)
            else:
                _, snapshot = store.resume(target)
            count = _allocations(case)
    except (MemoryError, HoldfastError):
        failed = True
    assert target["value"] in ((4.0, 9.0) if failed else (4.0,)), f"the target has {target['value']}"
    assert np.all(target["w"] == target["value"]), "half of the target is restored"
    assert failed or snapshot == newest, "an older one was taken for the lack of memory"
    return count


def _allocations(case: Case) -> int:
    """How many there were since the lack began; only where the number is NEVER, it is 0 else."""
    if case.number != NEVER or case.what != "allocation":
        return 0
    left = repeat(None, NEVER)
    with suppress(MemoryError):
        for _ in left:
            object()  # one allocation
    return length_hint(left)


def sweep(kind: str, count: int, seed: int, folder: str, uses: Sequence[str] = USES) -> Outcome:
    """So many cases with one kind of writer."""
    make, place, bad, chance = getattr(writers, kind), Path(folder) / f"memory-{kind}", list[str](), random.Random(seed)
    logging.getLogger("holdfast").setLevel(logging.CRITICAL)
    logging.raiseExceptions = False
    if not Fork(lambda tell: tell(*_calls_that_fail())).end():
        raise Unavailable("this Python itself dies where a call finds no memory, as CPython 3.10, 3.12.1 and 3.13.0 do")
    gc.collect()
    gc.freeze()  # what there is before is left out of what sweeps.descriptors() collects
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda fd: None)  # the power stays on
        for module, hook in ((threading, "excepthook"), (sys, "unraisablehook")):
            patch.setattr(module, hook, lambda _: None)  # to print where a thread ended opens the source: a descriptor
        for number, case in enumerate(_cases(make, uses, count, chance, place)):
            told, _ = _in_a_fork(make, case, place / str(number))
            if told:
                bad.append(f"{kind}, {case}: {told}")
    return Outcome(count, tuple(bad))


def _cases(kind: Any, uses: Sequence[str], count: int, chance: random.Random, place: Path) -> list[Case]:
    """Of each use, so many allocations and amounts of room, spread over all that there are."""
    found = []
    for number, use in enumerate(uses):
        share = (count + number) // len(uses)
        rooms = share // ROOMS
        told, most = _in_a_fork(kind, Case(use, "allocation", NEVER), place / f"calm {use}")
        assert not told, told
        found += [Case(use, "allocation", k) for k in _spread(share - rooms, most, chance)]
        found += [Case(use, "room", k) for k in _spread(rooms, 4 * 4 * FLOATS, chance)]
    return found


def _spread(count: int, most: int, chance: random.Random) -> list[int]:
    """So many numbers below `most`, one at random in each of as many equal parts."""
    return [chance.randrange(most * one // count, max(most * (one + 1) // count, 1)) for one in range(count)]


def _in_a_fork(kind: Any, case: Case, location: Path) -> tuple[str, int]:
    """What is bad, or ""; and how many allocations there were."""
    fork = Fork(lambda tell: tell("done", carry_out(kind, case, location)))
    try:
        told = fork.line(HANG_S)
    except Hang:
        fork.kill()
        return "it hangs", 0
    fork.end()
    shutil.rmtree(location, ignore_errors=True)
    if told is None:
        return "the process died", 0
    return ("", told[1]) if told[0] == "done" else (f"{told[1]}\n{told[2]}", 0)


def check_available() -> None:
    """Raises Unavailable where allocations cannot be made to fail."""
    if not sys.platform.startswith("linux"):
        raise Unavailable("a limit of memory, and what a process has of it, is known on Linux only")
    if importlib.util.find_spec("_testcapi") is None:
        raise Unavailable("this Python has no _testcapi, which makes allocations fail")


def _calls_that_fail() -> list[int]:
    """Calls with a closure, in which one allocation after the other fails: these where one did. And many calls after
    them: what a call that fails has spoiled may end the process only later."""

    def call(value: object) -> object:
        return (lambda made: (value, made))([value])

    found = set()
    for number in list(range(1, 12)) * 30:
        try:
            with lack("allocation", number):
                call(number)
        except MemoryError:
            found.add(number)
    for _ in range(20_000):
        call(object())
    return sorted(found)


def campaign(count: int, *, seed: int = 0, folder: Path) -> Outcome:
    """`count` lacks of memory."""
    check_available()
    share = -(-count // len(KINDS))
    return merge(campaigns.in_processes(sweep, [(name_of(kind), share, seed, os.fspath(folder)) for kind in KINDS]))
