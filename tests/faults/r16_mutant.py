"""What a seeded fault is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """One fault."""

    name: str  # what is broken, in words
    file: str  # of the package
    old: str
    new: str
    caught_by: str  # the test, relative to tests/
