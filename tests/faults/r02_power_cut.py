"""R2: once acknowledged, a snapshot survives a power cut; before that, those before it do.

Each scenario of r02_programs.py is carried out on the power-loss file system, by programs of their own. Then the power
is cut after every operation that the file system was asked for, under every model and policy, and what is left is
looked at by those who would have to live with it: a resume, readonly and for writing, and the next save.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from faults.campaigns import Outcome, in_processes
from faults.powerloss.disk import MODELS, POLICIES
from faults.powerloss.explore import Check, Findings, explore, places_of
from faults.powerloss.logs import read_log
from faults.powerloss.operations import Operation
from faults.powerloss.recording import Mount, mounted
from faults.powerloss.savers import explore_saver
from faults.r02_programs import SCENARIOS, Scenario
from faults.r02_uses import SIZE, Store, Use
from faults.r12_looking import logged, look
from holdfast.catalog import catalog

__all__ = ["Recording", "campaign", "explore_saver", "explored", "record"]

NEXT = 100_000  # the tag of what is saved after the cut
ROUND_POINTS = 125_000  # crash points of one round; every round has states of other sizes
_PLACE = "run"


@dataclass(frozen=True)
class Recording:
    """One scenario as it was carried out.

    Attributes:
        logs: one, and one more for each time that its programs lost power.
        size: numbers in its states.
    """

    scenario: Scenario
    logs: list[list[Operation]]
    size: int

    @property
    def places(self) -> int:
        """At how many places of its logs the power can be cut, under either model."""
        return len(MODELS) * sum(len(places_of(log)) for log in self.logs)

    def explored(self, rand: int, seed: int) -> Findings:
        """Cut the power at each."""
        found = Findings()
        for log in self.logs:
            found.add(explore(log, self.check(), rand=rand, seed=seed))
        found.bad = [f"{self.scenario.name}: {complaint}" for complaint in found.bad]
        return found

    def check(self) -> Check:
        """What looks at a tree that is left."""
        return lambda folder, acks: _check(self.scenario, self.size, os.path.join(folder, _PLACE), acks)


def campaign(count: int, *, seed: int = 0, folder: Path) -> Outcome:
    """At least `count` crash points.

    Args:
        seed: of the random cuts, and of the sizes of states.
        folder: scratch.
    """
    halves = list(SCENARIOS)[0::2], list(SCENARIOS)[1::2]
    found = Findings()
    rounds = 0
    while found.points < count:
        jobs = []
        for number, half in enumerate(halves):
            scratch = folder / f"{rounds}.{number}"
            scratch.mkdir()
            points = min(count - found.points, ROUND_POINTS)
            jobs.append((half, -(-points // len(halves)), seed + rounds, scratch))
        for part in in_processes(explored, jobs):
            found.add(part)
        rounds += 1
    return found.outcome(f"{found.operations} operations of {len(SCENARIOS)} scenarios, {found.trees} distinct trees")


def explored(names: Sequence[str], points: int, seed: int, folder: Path, paths: Sequence[str] = ()) -> Findings:
    """Record some scenarios, and cut the power in them.

    Args:
        points: at least so many crash points in all.
        paths: where the programs look for holdfast first.
    """
    with mounted(folder) as mount:
        recordings = [record(mount, SCENARIOS[name], seed, folder, paths) for name in names]
    rand = max(1, math.ceil(points / sum(one.places for one in recordings)) - len(POLICIES))
    found = Findings()
    with logged():
        for recording in recordings:
            found.add(recording.explored(rand, seed))
    return found


def record(mount: Mount, scenario: Scenario, seed: int, folder: Path, paths: Sequence[str] = ()) -> Recording:
    """Carry a scenario out, from an empty disk on."""
    size = scenario.size or SIZE + 977 * (seed % 7)
    mount.tell("clear")
    logs = []
    for part in range(len(scenario.parts)):
        program = ["-m", "faults.r02_programs", scenario.name, str(part)]
        mount.run([*program, str(mount.path / _PLACE), mount.control, str(folder), str(size)], paths=paths)
        before_the_cut = folder / f"{part}.log"
        if before_the_cut.exists():
            logs.append(read_log(before_the_cut))
            before_the_cut.unlink()
    return Recording(scenario, [*logs, mount.log()], size)


def _check(scenario: Scenario, size: int, place: str, acks: Sequence[str]) -> str:
    """What is wrong with what a power cut has left; "" where nothing is."""
    catalog._highest.clear()  # the next process knows nothing
    tags = [int(word) for word in acks if word.isdigit()]
    newest = max(tags, default=0)
    seen: int | None = None
    if scenario.is_of_a_store:
        found = look(place, partial(scenario.opened, place, size, readonly=True))
        if found.lines or found.is_refused:
            return f"a readonly resume says that there is damage: {found.lines}"
        seen = found.tag
    use = scenario.opened(place, size)
    try:
        tag = use.resume()
        if scenario.is_of_a_store and tag != seen:
            return f"resumed from {tag}, but readonly from {seen}"
        if (tag or 0) < newest:
            return f"resumed from {tag}, though {newest} was acknowledged"
        complaint = _wrong_with_the_rest(scenario, use, tag, tags, acks) or _wrong_with_the_next_save(use, place)
        if complaint or scenario.is_of_a_store:
            return complaint or _wrong_with_the_next_resume(use)
    finally:
        use.close()
    again = scenario.opened(place, size)  # an extension resumes once in its life
    try:
        return _wrong_with_the_next_resume(again)
    finally:
        again.close()


def _wrong_with_the_rest(
    scenario: Scenario, use: Use, tag: int | None, tags: Sequence[int], acks: Sequence[str]
) -> str:
    whole = use.whole()  # raises where one is not
    if tag != max(whole, default=None):
        return f"resumed from {tag}, and whole are {whole}"
    if len(whole) < min(scenario.kept, len(tags)):
        return f"{tags} were acknowledged, {scenario.kept} should be left, and there are {whole}"
    if isinstance(use, Store):
        pinned = use.pinned()
        for word in acks:
            what, _, step = word.partition(":")
            if what == "pinned" and f"unpinning:{step}" not in acks and int(step) not in pinned:
                return f"{step} was pinned, and is not any more: pinned are {pinned}, whole {whole}"
            if what == "unpinned" and int(step) in pinned:
                return f"{step} was unpinned, and is pinned again"
    return ""


def _wrong_with_the_next_save(use: Use, place: str) -> str:
    left = _temporaries(place)
    if use.sweeps and left:
        return f"temporary files were not swept: {left}"
    use.save(NEXT, lambda: None)
    left = _temporaries(place)
    return f"the next save left {left}" if use.sweeps and left else ""


def _wrong_with_the_next_resume(use: Use) -> str:
    tag = use.resume()
    return "" if tag == NEXT else f"the next save was done, and then {tag} was resumed from"


def _temporaries(place: str) -> list[str]:
    return [
        os.path.join(directory, name)
        for directory, directories, files in os.walk(place)
        for name in (*directories, *files)
        if ".holdfast-tmp" in name
    ]
