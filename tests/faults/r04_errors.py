"""R4: a reported error leaves all older snapshots good, no temporary file, no descriptor; and the next save works.

Each system call of a save fails with each error, once or from then on, in every writer; or a write takes less than it
was given, which must not be seen at all. A success must be a real one: the file is read in full. Then calls of real
processes, of their threads and of their writer processes fail under strace.
"""

from __future__ import annotations

import errno
import logging
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from faults import sweeps, traced
from faults.campaigns import Outcome
from faults.inprocess import WRITERS, attempt, chosen, name_of, points, writing_of
from faults.strace import Told
from faults.sweeps import LARGE, SMALL, Seen
from faults.writing import Writing
from holdfast import files, writers
from holdfast.errors import CommitError
from holdfast.store import SnapshotStore
from snapshots import finished

NUMBERS = (
    errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EINTR, errno.ENOMEM, errno.EROFS, errno.EACCES, errno.EXDEV,
    errno.EMFILE,
)  # fmt: skip
SHORT_WRITE = 0  # in place of a number
STEPS = (5, 4)  # another step, and the same one again


class Case(NamedTuple):
    """One error."""

    step: int  # that is saved
    number: int  # of the error; or SHORT_WRITE
    lasts: bool  # every call of that name fails from there on
    name: str  # of the call at which it comes, and which of them
    ordinal: int
    size: int  # of the state, in floats

    def __str__(self) -> str:
        what = "a short write" if self.number == SHORT_WRITE else errno.errorcode[self.number]
        lasting = " and from then on" if self.lasts else ""
        return f"{what} at {self.name} {self.ordinal}{lasting}, step {self.step}, {self.size} floats"


def cases_of(writing: Writing, folder: Path, sizes: Sequence[int] = (SMALL,)) -> list[Case]:
    """Every error at everything that a save of this writer calls."""
    found = []
    for step, size in product(STEPS, sizes):
        calls = sweeps.save_with(folder / "calm", writing.kind, step, 0, writing.faults.record(), size=size)
        for (name, ordinal), number, lasts in product(points(calls), (*NUMBERS, SHORT_WRITE), (False, True)):
            if number != SHORT_WRITE or (name == "pwrite" and not writing.is_elsewhere):
                found.append(Case(step, number, lasts, name, ordinal, size))
    return found


def fault(writing: Writing, case: Case) -> AbstractContextManager[Any]:
    """What comes at that call."""
    if case.number != SHORT_WRITE:
        return writing.faults.error_at(case.name, case.number, case.ordinal, lasting=case.lasts)
    seen = [0]

    def short(real: Callable[..., int], fd: int, view: memoryview, offset: int) -> int:
        seen[0] += 1
        cut = seen[0] == case.ordinal or (case.lasts and seen[0] > case.ordinal)
        return real(fd, view[: max(1, len(view) // 2)] if cut else view, offset)

    return writing.here.instead_of("pwrite", short)


def save(writing: Writing, location: Path, case: Case) -> None:
    """One save with that fault, another without, and a look at everything."""
    step, number, size = case.step, case.number, case.size
    if not case.lasts and number != SHORT_WRITE:
        sweeps.save_with(location, writing.kind, step, number, fault(writing, case), size=size)
        return
    seen = sweeps.prepare(location, sweeps.save_with_retention, writing.kind, size)
    with seen.store(location, keep=sweeps.POLICY) as store:
        store.resume(sweeps.state(0, size))
        if writing.is_elsewhere:
            seen.save(store, 4, 4.0)
        before = sweeps.descriptors()
        seen.begin(step, 5.5)
        with fault(writing, case):
            error = finished(store.save(step, sweeps.state(5.5, size))).exception()
        if error is None:
            assert files.load(store.at(step))["value"] == 5.5, "a success that was none"
            seen.acknowledge(step, 5.5)
        else:
            assert number != SHORT_WRITE, f"a short write is no error: {error}"
            assert isinstance(error, CommitError), f"{type(error).__name__}: {error}"
            if "the outcome is unknown" not in str(error):
                assert files.load(store.at(4))["value"] == 4.0
        assert sweeps.descriptors() == before, "a descriptor is left open"
        seen.save(store, 6, 6.0)
    sweeps.forget_everything()
    sweeps.check(location, seen)
    shutil.rmtree(location)


def sweep(kind: str, count: int, seed: int, folder: str) -> Outcome:
    """So many of the cases of one writer, in this process."""
    place, bad = Path(folder) / f"errors-{kind}-{seed}", list[str]()
    place.mkdir()
    logging.getLogger("holdfast").setLevel(logging.CRITICAL)  # what could not be removed is told each time
    with writing_of(getattr(writers, kind), place) as writing:
        cases = chosen(cases_of(writing, place, (SMALL, LARGE)), count, seed)
        for case in cases:
            attempt(bad, f"{kind}, {case}", save, writing, place / "s", case)
            shutil.rmtree(place / "s", ignore_errors=True)
    return Outcome(len(cases), tuple(bad))


def two_saves(store: SnapshotStore, seen: Seen, told: Told, step: int, ids: Sequence[int]) -> None:
    """In a process under strace: one save, and the next; see traced.Act."""
    before = sweeps.descriptors()
    told.ready(*ids)
    for number, value in ((step, 5.5), (6, 6.0)):
        seen.begin(number, value)
        try:
            error = finished(store.save(number, sweeps.state(value))).exception()
        except CommitError as raised:
            error = raised
        if error is None:
            seen.acknowledge(number, value)
        else:
            traced.tell_failure(told, number, value, error)
    told.say("descriptors", traced.descriptors() - before)


def part(kind: str, under: int, rest: int, seed: int, folder: str) -> tuple[Outcome, Outcome]:
    """One job of the campaign; see traced.shared_out."""
    errors = [f"error={errno.errorcode[number]}" for number in NUMBERS]
    return traced.saves(kind, two_saves, errors, STEPS, under, seed, folder), sweep(kind, rest, seed, folder)


def campaign(count: int, *, seed: int = 0, folder: Path) -> Outcome:
    """`count` cases, shared out among the writers; some of them under strace."""
    return traced.shared_out(part, [name_of(kind) for kind in WRITERS], count, seed, folder)
