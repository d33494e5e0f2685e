"""What lies in a store, read without its catalog; and which snapshots must stay, decided without its retention."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast import files, keep
from holdfast.errors import DamagedError, UnknownFormatError
from holdfast.keep import Policy

TEMPLATES = {  # format string: its series, and the names of that; a format spec makes no other series
    "snapshot_{step:08d}.safetensors": "snapshot",
    "snapshot_{step}.safetensors": "snapshot",
    "gen_{step}": "gen",
}
NAMES = {
    "snapshot": re.compile(r"snapshot_[0-9]+\.safetensors(\.error)?"),
    "gen": re.compile(r"gen_[0-9]+(\.error)?"),
}
TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.holdfast-tmp")
PIN = re.compile(r"\.(.+)\.holdfast-pin")

Part = tuple[str, int]

POLICIES: tuple[tuple[Part, ...], ...] = (
    (("last", 1),),
    (("last", 2),),
    (("last", 3),),
    (("best", 1),),
    (("last", 2), ("best", 2)),
    (("steps", 2), ("last", 1)),
    (("hours", 5), ("last", 1)),
)


def policy(parts: Sequence[Part]) -> Policy:
    """The policy that these parts mean."""
    made: dict[str, Callable[[int], Policy]] = {
        "last": keep.last,
        "best": lambda n: keep.best(n, "loss", mode="min"),
        "steps": lambda n: keep.every(steps=n),
        "hours": lambda n: keep.every(hours=n),
    }
    first, *others = [made[kind](n) for kind, n in parts]
    for other in others:
        first = first | other
    return first


@dataclass(frozen=True)
class Found:
    """One regular file of a store's directory.

    Attributes:
        series: whose snapshot it is; "" where it is none: a copy under another name, no sound header, another format.
        is_whole: whether every byte matches its checksum.
    """

    name: str
    series: str = ""
    is_whole: bool = False
    has_header: bool = False
    on_error: bool = False
    step: int = 0
    sequence: int = 0
    hours: float = 0.0  # when it was made, since 1970
    loss: float | None = None

    @property
    def order(self) -> tuple[int, int, str]:
        """Newer ones are greater."""
        return self.sequence, self.step, self.name


class Reader:
    """Reads a store's directory; each file once, until it is another one."""

    def __init__(self, location: Path) -> None:
        self._location = location
        self._known: dict[tuple[Any, ...], Found] = {}

    def read(self) -> list[Found]:
        """Every regular file that is not hidden."""
        found = []
        for entry in os.scandir(self._location):
            at = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(at.st_mode) and not entry.name.startswith("."):
                key = entry.name, at.st_ino, at.st_size, at.st_mtime_ns, at.st_ctime_ns
                if key not in self._known:
                    self._known[key] = _found(entry.path, entry.name)
                found.append(self._known[key])
        return found

    def series(self, series: str) -> list[Found]:
        """The snapshots of a series, oldest first, damaged ones too as long as their header is sound."""
        return sorted((one for one in self.read() if one.series == series), key=lambda one: one.order)

    def pinned(self) -> set[str]:
        """The names that have a pin beside them."""
        entries = [entry for entry in os.scandir(self._location) if entry.is_file(follow_symlinks=False)]
        return {match.group(1) for entry in entries if (match := PIN.fullmatch(entry.name))}


def _found(path: str, name: str) -> Found:
    try:
        with files.opened(path) as file:
            facts = file.facts
            is_whole = True
            try:
                file.verify()
            except DamagedError:
                is_whole = False
    except (DamagedError, UnknownFormatError):
        return Found(name)
    if facts is None:  # of another format
        return Found(name)
    is_own = facts.role == "store" and name == facts.name and facts.step is not None
    return Found(
        name,
        series=TEMPLATES.get(facts.template, "") if is_own else "",
        is_whole=is_whole,
        has_header=True,
        on_error=facts.reason == "error",
        step=facts.step or 0,
        sequence=facts.sequence,
        hours=facts.created_at.timestamp() / 3600,
        loss=facts.metrics.get("loss"),
    )


def good(snapshots: Iterable[Found]) -> list[Found]:
    """The whole ones, oldest first: those that were taken on an error only where there is nothing else."""
    whole = sorted((one for one in snapshots if one.is_whole), key=lambda one: one.order)
    return [one for one in whole if not one.on_error] or whole


def chosen(parts: Sequence[Part], snapshots: Sequence[Found]) -> set[str]:
    """The names that a policy wants of good snapshots, oldest first."""
    wanted: set[str] = set()
    for kind, n in parts:
        if kind == "last":
            wanted |= {one.name for one in snapshots[-n:]}
        elif kind == "best":
            having = [one for one in snapshots if one.loss is not None]
            wanted |= {one.name for one in sorted(having, key=lambda one: (one.loss, one.sequence))[:n]}
        else:
            intervals: dict[float, Found] = {}
            for one in snapshots:
                place = one.step if kind == "steps" else one.hours
                first = intervals.get(place // n)
                if first is None or place % n < (first.step if kind == "steps" else first.hours) % n:
                    intervals[place // n] = one
            wanted |= {one.name for one in intervals.values()}
    return wanted
