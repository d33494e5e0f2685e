"""R9: loading runs no code.

The files of R8, whose campaign tells of both, archives with pickles among them, are loaded while an audit hook of
Python's looks on: at a pickle's class, at anything that is compiled or executed, at programs, sockets and modules that
are imported. What holdfast itself loads at its first use is loaded before.
"""

from __future__ import annotations

from pathlib import Path

from faults import r08_hostile
from faults.campaigns import Outcome


def campaign(count: int, *, seed: int = 0, folder: Path) -> Outcome:
    """`count` files, where R8 is not tried."""
    return r08_hostile.both(count, seed, folder)[1]
