"""R14: what is written in the background is the state at the call, and every failure is raised.

The errors of R4 in each background writer, while the caller changes every array as soon as the call returned: what was
saved must be the state at the call, and a failure that nobody asked for must come at the next save, or at the close.
Real processes, their threads and their writer processes, fail or get SIGKILL under strace meanwhile. Then programs that
end in every way there is while a snapshot is under way.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from faults import campaigns, r04_errors, sweeps, traced
from faults.campaigns import Outcome, merge
from faults.inprocess import attempt, chosen, writing_of
from faults.strace import Told
from faults.sweeps import Seen
from faults.writing import Writing
from holdfast import files, writers
from holdfast.errors import CommitError
from holdfast.store import SnapshotStore
from snapshots import finished

BACKGROUND = ("ThreadWriter", "ThreadQueueWriter", "ProcessWriter", "ProcessQueueWriter")
KILLS = 9  # as many as there are errors: under strace, one process in two is killed
LIMIT_S = 60  # for a program; on a quiet machine one takes half a second

PROGRAM = """
import os, sys
import numpy as np
from holdfast import SnapshotStore, writers

store = SnapshotStore(sys.argv[1], writer=getattr(writers, sys.argv[2])())
state = {"w": np.full(1 << 16, 3.0), "value": 3.0}
store.save(3, state)
state["w"][:] = 99.0
state["value"] = 99.0
"""
ENDS = {
    "the end of the program": ("", 0),
    "sys.exit": ("sys.exit(7)", 7),
    "an exception": ("raise ZeroDivisionError", 1),
    "KeyboardInterrupt": ("raise KeyboardInterrupt", -2),
    "a thread that lives on": (
        "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()",
        0,
    ),
    "a fork that exits": ("pid = os.fork()\nif pid == 0: sys.exit(0)\nassert os.waitpid(pid, 0)[1] == 0", 0),
    "a fork that leaves at once": ("pid = os.fork()\nif pid == 0: os._exit(0)\nassert os.waitpid(pid, 0)[1] == 0", 0),
    "a fork that fails": ("pid = os.fork()\nif pid == 0: 1 / 0\nassert os.waitpid(pid, 0)[1] == 256", 0),
    "close": ("store.close()", 0),
}
"""What ends a program, and with which code it is to end."""


def ended(kind: str, end: str, folder: Path) -> None:
    """One program; the snapshot must be there, with the state at the call."""
    text, code = ENDS[end]
    command = [sys.executable, "-c", PROGRAM + text, str(folder), kind]
    process = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert process.returncode == code, f"ended with {process.returncode}: {process.stderr[-500:]}"
    found = files.load(folder / "snapshot_00000003.safetensors")
    assert found["value"] == 3.0
    assert np.array_equal(found["w"], np.full(1 << 16, 3.0)), "not the state at the call"
    left = [name for name in os.listdir(folder) if name.endswith("holdfast-tmp")]
    assert left == [], f"left: {left}"


def unasked(writing: Writing, location: Path, case: r04_errors.Case) -> None:
    """One save with an error of which nobody asks the Future, and a caller who changes the state at once."""
    step = case.step
    seen = sweeps.prepare(location, sweeps.save_with_retention, writing.kind)
    state = sweeps.state(5.5)
    store = seen.store(location, keep=sweeps.POLICY)
    try:
        store.resume(sweeps.state(0))
        if writing.is_elsewhere:
            seen.save(store, 4, 4.0)
        seen.begin(step, 5.5)
        with r04_errors.fault(writing, case):
            pending = store.save(step, state)
            np.asarray(state["w"])[:] = 99.0
            state["value"] = 99.0
            finished(pending)
        raised = None
        seen.begin(6, 6.0)
        try:
            later = store.save(6, sweeps.state(6.0))
        except CommitError as error:
            raised, later = error, None
        if later is not None:
            later.result()
            seen.acknowledge(6, 6.0)
        store.wait()
        failed = pending.exception() is not None
        assert failed == (raised is not None), f"failed: {pending.exception()}; raised at the next save: {raised}"
        if not failed:
            found = files.load(store.at(step))
            assert found["value"] == 5.5, "not the state at the call"
            assert np.array_equal(found["w"], sweeps.state(5.5)["w"]), "not the state at the call"
    finally:
        store.close()
    with writing.store(location) as again:
        again.save(7, sweeps.state(7.0)).result()
        assert again.resume(sweeps.state(0))[1].step == 7


def failing(kind: str, count: int, seed: int, folder: str) -> Outcome:
    """So many errors in one writer, in this process."""
    place, bad = Path(folder) / f"background-{kind}-{seed}", list[str]()
    place.mkdir()
    logging.getLogger("holdfast").setLevel(logging.CRITICAL)  # what could not be removed is told each time
    with writing_of(getattr(writers, kind), place) as writing:
        cases = chosen(r04_errors.cases_of(writing, place), count, seed)
        for case in cases:
            attempt(bad, f"{kind}, {case}", unasked, writing, place / "s", case)
            shutil.rmtree(place / "s", ignore_errors=True)
    return Outcome(len(cases), tuple(bad))


def ending(kind: str, folder: str) -> Outcome:
    """Every end of a program with one writer."""
    bad = list[str]()
    for number, end in enumerate(ENDS):
        place = Path(folder) / f"ended-{kind}-{number}"
        attempt(bad, f"{kind}, {end}", ended, kind, end, place)
    return Outcome(len(ENDS), tuple(bad))


def unasked_saves(store: SnapshotStore, seen: Seen, told: Told, step: int, ids: Sequence[int]) -> None:
    """In a process under strace: the same, of which another process sees what is left; see traced.Act."""
    told.ready(*ids)
    pendings, raised, unknown = [], list[int](), set[int]()
    for number, value in ((step, 5.5), (6, 6.0)):
        state = sweeps.state(value)
        seen.begin(number, value)
        try:
            pendings.append((number, value, store.save(number, state)))
        except CommitError as error:  # an earlier one's; this one is taken all the same, and nobody has its Future
            raised.append(step_in(error))
            unknown.add(number)
        np.asarray(state["w"])[:] = 99.0
        state["value"] = 99.0
    try:
        store.close()
    except CommitError as error:
        raised.append(step_in(error))
    failed = set()
    for number, value, pending in pendings:
        error = pending.exception()
        if error is None:
            seen.acknowledge(number, value)
        else:
            failed.add(number)
            traced.tell_failure(told, number, value, error)
    assert len(raised) == len(set(raised)), f"raised twice: {raised}"
    assert failed <= set(raised) <= failed | unknown, f"{failed} failed, {raised} were raised, {unknown} have no Future"


def step_in(error: CommitError) -> int:
    """Of the snapshot that it names."""
    found = re.search(r"snapshot_(\d{8})", str(error))
    assert found is not None, f"names no snapshot: {error}"
    return int(found.group(1))


def part(kind: str, under: int, rest: int, seed: int, folder: str) -> tuple[Outcome, Outcome]:
    """One job of the campaign; see traced.shared_out."""
    faults = [*(f"error={errno.errorcode[number]}" for number in r04_errors.NUMBERS), *[traced.KILL] * KILLS]
    real = traced.saves(kind, unasked_saves, faults, r04_errors.STEPS, under, seed, folder)
    return real, failing(kind, rest, seed, folder)


def campaign(count: int, *, seed: int = 0, folder: Path) -> Outcome:
    """Every end of a program, and so many errors that there are `count` cases; some of them under strace."""
    ends = merge(campaigns.in_processes(ending, [(kind, os.fspath(folder)) for kind in BACKGROUND]))
    return merge([ends, traced.shared_out(part, BACKGROUND, max(0, count - ends.tried), seed, folder)])
