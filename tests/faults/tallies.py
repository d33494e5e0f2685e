"""Lines of counts, such as "12 saved, 3 killed", which notes of outcomes are made of."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

from faults.campaigns import Outcome, merge


def told(counts: Mapping[str, int]) -> str:
    """The line that tells some counts."""
    return ", ".join(f"{count} {what}" for what, count in counts.items())


def added_up(outcomes: Iterable[Outcome]) -> Outcome:
    """One outcome of several whose notes are such lines: these are added up, too."""
    found = list(outcomes)
    total: Counter[str] = Counter()
    for one in found:
        for count, what in re.findall(r"(\d+) (\w+)", one.notes):
            total[what] += int(count)
    return replace(merge(found), notes=told(total))
