"""Medians of paired ratios, and whether they hold. Pure: no clock, no disk, no framework."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Spread:
    """A figure that was measured several times."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def least(self) -> float:
        return min(self.values)

    @property
    def most(self) -> float:
        return max(self.values)

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Row:
    """A goal, and what was found.

    Attributes:
        what: in words.
        found: None: it was not measured; `note` says why.
        limit: the most that the median may be; None: only stated.
        unit: of the figures; "" for ratios.
    """

    what: str
    found: Spread | None
    limit: float | None
    unit: str = ""
    note: str = ""

    @property
    def verdict(self) -> str:
        """In words, for a table."""
        if self.found is None:
            return "not measured"
        if self.limit is None:
            return "stated"
        return "holds" if self.found.median <= self.limit else "does not hold"


def spread(values: Iterable[float]) -> Spread | None:
    """None where there are no values."""
    found = tuple(values)
    return Spread(found) if found else None


def paired(tops: Mapping[int, float], bottoms: Mapping[int, float]) -> Spread | None:
    """The ratios of what was measured in the same round; rounds that only one has are left out."""
    return spread(tops[number] / bottoms[number] for number in sorted(tops) if number in bottoms)


def fastest(contestants: Iterable[Mapping[int, float]]) -> dict[int, float]:
    """The least of each round, whoever it was."""
    found: dict[int, float] = {}
    for rounds in contestants:
        for number, seconds in rounds.items():
            found[number] = min(seconds, found.get(number, seconds))
    return found


def flatness(cost_by_size: Mapping[int, Sequence[float]]) -> float:
    """The dearest size's median cost, divided by the cheapest one's: 1 is flat."""
    medians = [median(values) for values in cost_by_size.values() if values]
    return max(medians) / min(medians)
