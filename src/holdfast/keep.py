"""Retention policies: which snapshots of a store stay. `last`, `best` and `every` make them, `|` joins them.

A policy only says which ones it wants; retention.py adds what stays whatever a policy says. Nothing here asks a clock
or a disk, and the same snapshots always give the same answer.
"""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from holdfast.snapshot import Snapshot

Mode = Literal["min", "max"]


class Policy:
    """Which snapshots stay. `a | b` keeps what either keeps."""

    def choose(self, snapshots: Sequence[Snapshot]) -> list[Snapshot]:
        """Those that are to stay.

        Args:
            snapshots: oldest first, by sequence number.
        """
        raise NotImplementedError

    def parts(self) -> tuple[Policy, ...]:
        """The policies that were joined; `str` of each is the reason why a snapshot stays."""
        return (self,)

    def __or__(self, other: object) -> Policy:
        return Union(self.parts() + other.parts()) if isinstance(other, Policy) else NotImplemented


@dataclass(frozen=True, slots=True)
class Last(Policy):
    """The newest ones; `last` makes it."""

    n: int

    def choose(self, snapshots: Sequence[Snapshot]) -> list[Snapshot]:
        return list(snapshots[-self.n :])

    def __str__(self) -> str:
        return "the last one" if self.n == 1 else f"one of the last {self.n}"


@dataclass(frozen=True, slots=True)
class Best(Policy):
    """Those with the best values of a metric; `best` makes it."""

    n: int
    metric: str
    mode: Mode

    def choose(self, snapshots: Sequence[Snapshot]) -> list[Snapshot]:
        return ranked(snapshots, self.metric, self.mode)[: self.n]

    def __str__(self) -> str:
        which = "the best" if self.n == 1 else f"one of the best {self.n}"
        return f"{which} by {self.metric!r} ({self.mode})"


@dataclass(frozen=True, slots=True)
class Every(Policy):
    """The first one of each interval; `every` makes it. One of the two is set."""

    steps: int | None
    hours: float | None

    def choose(self, snapshots: Sequence[Snapshot]) -> list[Snapshot]:
        first: dict[float, Snapshot] = {}  # of each interval
        placed = [(place, snapshot) for snapshot in snapshots if (place := self._place(snapshot)) is not None]
        for (interval, _), snapshot in sorted(placed, key=lambda one: one[0]):  # of equal places the older comes first
            first.setdefault(interval, snapshot)
        return list(first.values())

    def _place(self, snapshot: Snapshot) -> tuple[float, float] | None:
        """The number of its interval, and how far in it; None where it has no step."""
        if self.hours is not None:
            return divmod(snapshot.created_at.timestamp(), 3600 * self.hours)
        assert self.steps is not None
        return None if snapshot.step is None else divmod(snapshot.step, self.steps)

    def __str__(self) -> str:
        return f"the first of each {self.steps} steps" if self.steps else f"the first of each {self.hours:g} hours"


@dataclass(frozen=True, slots=True)
class Union(Policy):
    """What any of several policies keeps; `|` makes it."""

    policies: tuple[Policy, ...]

    def choose(self, snapshots: Sequence[Snapshot]) -> list[Snapshot]:
        chosen = [snapshot for policy in self.policies for snapshot in policy.choose(snapshots)]
        return list({id(snapshot): snapshot for snapshot in chosen}.values())

    def parts(self) -> tuple[Policy, ...]:
        return self.policies

    def __str__(self) -> str:
        return ", or ".join(map(str, self.policies))


def last(n: int) -> Last:
    """Keep the newest `n` snapshots, by the order of their commits.

    Args:
        n: at least 1.
    Raises:
        TypeError, ValueError: it is not.
    """
    return Last(_count("last", n))


def best(n: int, metric: str, *, mode: Mode) -> Best:
    """Keep the `n` snapshots with the best values of a metric; of equal ones the older stays.

    The newest snapshot stays in any case. One without this metric, or whose value is NaN, never counts.

    Args:
        n: at least 1.
        metric: a name among the metrics that snapshots are saved with.
        mode: "min" where less is better, "max" where more is.
    Raises:
        TypeError, ValueError: `n` or `mode` is not so, or `metric` is no name.
    """
    if not isinstance(metric, str) or not metric:
        raise TypeError(f"keep.best: metric must be the name of a metric, not {metric!r}")
    return Best(_count("best", n), metric, check_mode("keep.best", mode))


def every(*, steps: int | None = None, hours: float | None = None) -> Every:
    """Keep one snapshot of every so many steps, or hours: the first of each interval. The others may go.

    The intervals begin at whole multiples: with steps=1000 the first snapshot at or after step 1000 stays, the first at
    or after 2000, and so on; hours are counted from the beginning of 1970 in UTC, by the time in a snapshot's header.

    Args:
        steps: at least 1.
        hours: more than 0; a fraction is fine.
    Raises:
        TypeError: none, or both, are given, or it is no number.
        ValueError: it is too small.
    """
    if (steps is None) == (hours is None):
        found = "nothing" if steps is None else "both"
        raise TypeError(f"keep.every takes exactly one of steps and hours, not {found}; join two policies with |")
    if hours is None:
        assert steps is not None
        return Every(_count("every", steps, "steps"), None)
    return Every(None, _hours(hours))


def ranked(snapshots: Sequence[Snapshot], metric: str, mode: Mode) -> list[Snapshot]:
    """The snapshots that have a metric, best first; of equal ones the older, by sequence number, comes first."""
    sign = 1.0 if mode == "min" else -1.0
    having = [s for s in snapshots if not math.isnan(s.metrics.get(metric, math.nan))]
    return sorted(having, key=lambda s: (sign * s.metrics[metric], s.sequence))


def check_mode(where: str, mode: str) -> Mode:
    """The mode, if it is one. Raises ValueError."""
    for known in get_args(Mode):
        if mode == known:
            return known  # type: ignore[no-any-return]
    raise ValueError(f"{where}: mode must be 'min' (less is better) or 'max' (more is), not {mode!r}")


def _hours(hours: Any) -> float:
    if isinstance(hours, bool) or not isinstance(hours, numbers.Real):
        raise TypeError(f"keep.every: hours must be a number, not {hours!r}")
    number = float(hours)
    if not 0 < number < math.inf:
        raise ValueError(f"keep.every: hours must be above 0 and finite, not {hours!r}")
    return number


def _count(function: str, value: int, name: str = "n") -> int:
    try:
        if isinstance(value, bool):
            raise TypeError
        count = operator.index(value)
    except TypeError:
        raise TypeError(f"keep.{function}: {name} must be an int, not {value!r}") from None
    if count < 1:
        raise ValueError(f"keep.{function}: {name} must be at least 1, not {count}; keep=None keeps every snapshot")
    return count
