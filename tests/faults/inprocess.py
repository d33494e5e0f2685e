"""Faults at every system call of this process and of its writer process, for campaigns, which have no fixtures.

A job is one process: it has the patches of a test for its whole length, and power stays on, so that nothing waits for
the disk.
"""

from __future__ import annotations

import gc
import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from faults.helper_faults import HelperFaults
from faults.injection import Call, Faults
from faults.writing import IN_ANOTHER, IN_THIS_PROCESS, WRITERS, Writing, name_of

__all__ = [
    "IN_ANOTHER", "IN_THIS_PROCESS", "WRITERS", "attempt", "chosen", "name_of", "points", "shared_out", "shuffled",
    "writing_of",
]  # fmt: skip

T = TypeVar("T")


@contextmanager
def writing_of(kind: Callable[..., Any], folder: Path) -> Iterator[Writing]:
    """One kind of writer, and faults where it writes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda fd: None)  # calls fail and processes die here, but the power stays on
        here, there = Faults(), HelperFaults(folder)
        here.install(patch)
        if kind in IN_ANOTHER:
            there.install(patch)
        gc.collect()
        gc.freeze()
        try:
            yield Writing(kind, here, there)
        finally:
            gc.unfreeze()


def attempt(bad: list[str], what: str, case: Callable[..., Any], *arguments: Any) -> Any:
    """Carry out one case, and give what it returns; whatever it raises is one that is bad."""
    try:
        return case(*arguments)
    except Exception as error:  # noqa: BLE001  that is what bad means
        bad.append(f"{what}: {type(error).__name__}: {str(error)[:300]}")
        return True


def chosen(cases: Sequence[Any], count: int, seed: int) -> list[Any]:
    """So many of some cases, or all of them; the same for a seed, and in their order."""
    if count >= len(cases):
        return list(cases)
    numbers = sorted(random.Random(seed).sample(range(len(cases)), count))
    return [cases[number] for number in numbers]


def shuffled(cases: Sequence[T], seed: int) -> list[T]:
    """Some cases in an order that a seed decides."""
    return random.Random(seed).sample(cases, len(cases))


def shared_out(count: int, kinds: Sequence[Callable[..., Any]]) -> dict[Callable[..., Any], int]:
    """So many cases, or a few more, among kinds of writers, about as each has: another process makes fewer calls."""
    weights = {kind: 1 if kind in IN_ANOTHER else 3 for kind in kinds}
    return {kind: -(-count * weight // sum(weights.values())) for kind, weight in weights.items()}


def points(calls: Sequence[Call]) -> list[tuple[str, int]]:
    """The names and ordinals of calls."""
    return [(call.name, call.ordinal) for call in calls]
