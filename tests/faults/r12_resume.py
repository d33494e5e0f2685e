"""R12: a resume never fails on damage while a good snapshot exists, says of each that it passes over why, and leaves no
trace where the store is opened with readonly=True.

Looked at are: what power cuts leave of a few scenarios (those of R2 look at every tree of theirs in the same way);
snapshots that are damaged in every way; a store on a mount that cannot be written to; a long list.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from faults.campaigns import Outcome, Unavailable, in_processes, merge
from faults.powerloss.explore import Findings, explore
from faults.powerloss.recording import mounted
from faults.r02_power_cut import record
from faults.r02_programs import SCENARIOS
from faults.r02_uses import Store, state
from faults.r12_damage import NAMES, SIZE, Case, damage, damaged, judged, mixed, of_extensions, save, scratch
from faults.r12_looking import look
from holdfast.catalog import catalog
from holdfast.files import new_facts
from holdfast.staging import Arena
from holdfast.state.capture import capture
from holdfast.store import SnapshotStore
from snapshots import TEMPLATE, file_of

LONG = 1000  # snapshots in a long list
LISTED_WITHIN_S = 0.2
TRIES = 5  # and more where the machine has other things to do
MOST_TRIES = 50
SHARED_FROM = 2000  # resumes; fewer are not worth another process
LEFT_OUT = "left out:"
CUT = ("resumed",)  # scenarios whose trees are looked at here


def campaign(count: int, *, seed: int = 0, folder: Path) -> Outcome:
    """At least `count` resumes.

    Args:
        seed: of the ways in which several snapshots are damaged at once.
        folder: scratch.
    """
    outcomes = [damaged(), of_extensions(), long_list()]
    for part in (on_a_readonly_mount, after_power_cuts):
        try:
            outcomes.append(part(seed, folder))
        except Unavailable as reason:
            outcomes.append(Outcome(0, notes=f"{LEFT_OUT} {reason}"))
    left = count - sum(one.tried for one in outcomes)
    if left > SHARED_FROM:
        outcomes += in_processes(mixed, [(f"{seed}.{half}", -(-left // 2)) for half in range(2)])
    elif left > 0:
        outcomes.append(mixed(str(seed), left))
    return merge(outcomes)


def after_power_cuts(seed: int, folder: Path) -> Outcome:
    """Look at what power cuts leave."""
    found = Findings()
    with mounted(folder) as mount:
        recordings = [record(mount, SCENARIOS[name], seed, folder) for name in CUT]
    for recording in recordings:
        scenario, size = recording.scenario, recording.size

        def check(tree: str, acks: Sequence[str]) -> str:
            catalog._highest.clear()
            seen = look(tree, partial(scenario.opened, os.path.join(tree, "run"), size, readonly=True))  # noqa: B023
            newest = max((int(word) for word in acks if word.isdigit()), default=0)
            if seen.lines or seen.is_refused or (seen.tag or 0) < newest:
                return f"{newest} was acknowledged, and this was seen: {seen}"
            return ""

        for log in recording.logs:
            found.add(explore(log, check, rand=1, seed=seed))
    return Outcome(found.trees, tuple(found.bad), found.bad_count)


def on_a_readonly_mount(seed: int, folder: Path) -> Outcome:
    """Look at stores that are mounted read-only: a sound one, one with damage, one with none that is whole."""
    bad = []
    cases: list[Case] = [{}, {4: "half is left"}, dict.fromkeys(NAMES, "only zeroes")]
    for number, case in enumerate(cases):
        original, place, point = (folder / f"{name}_{number}" for name in ("original", "damaged", "point"))
        save(Store(str(original), SIZE), NAMES)
        point.mkdir()
        damage(original, place, case)
        with _mounted_readonly(place, point):
            seen = look(str(point), partial(Store, str(point), SIZE, readonly=True))
            complaint = judged(seen, point, case)
        if complaint:
            bad.append(f"on a read-only mount: {case}: {complaint}")
    return Outcome(len(cases), tuple(bad), len(bad))


def long_list() -> Outcome:
    """How long it takes to list a thousand snapshots, which is a case, too."""
    with scratch() as folder:
        staged = Arena().stage(capture(state(1, 1)))
        for step in range(LONG):
            facts = new_facts(TEMPLATE.format(step=step), step=step, sequence=step + 1, role="store", template=TEMPLATE)
            (folder / facts.name).write_bytes(file_of(staged, facts))
        with SnapshotStore(folder, readonly=True) as store:
            seconds = [_seconds(store) for _ in range(TRIES)]
            while min(seconds) >= LISTED_WITHIN_S and len(seconds) < MOST_TRIES:
                seconds.append(_seconds(store))
    best = min(seconds)
    bad = () if best < LISTED_WITHIN_S else (f"{LONG} snapshots were listed in {best:.3f} s at best",)
    return Outcome(1, bad, len(bad), f"{LONG} listed in {1000 * best:.0f} ms")


def _seconds(store: SnapshotStore) -> float:
    began = time.perf_counter()
    listed = len(store.snapshots())
    seconds = time.perf_counter() - began
    assert listed == LONG, f"{listed} of {LONG} are listed"
    return seconds


@contextmanager
def _mounted_readonly(place: Path, point: Path) -> Iterator[None]:
    done = subprocess.run(["mount", "--bind", str(place), str(point)], check=False, capture_output=True, text=True)
    if done.returncode:
        raise Unavailable(f"nothing can be mounted here: {done.stderr.strip()}")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(point)], check=True)
        if os.access(point, os.W_OK):  # root may do everything else
            raise Unavailable(f"{point} is not mounted read-only")
        yield
    finally:
        subprocess.run(["umount", str(point)], check=True)
