"""What the tests of holdfast.files share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from holdfast.state import dtypes


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """`absent(name)` makes a package one that is not installed."""

    def make_absent(name: str) -> None:
        monkeypatch.setitem(sys.modules, name, None)
        dtypes.to_numpy.cache_clear()

    yield make_absent
    monkeypatch.undo()
    dtypes.to_numpy.cache_clear()


@pytest.fixture
def maps_of() -> Callable[[str | os.PathLike[str]], list[tuple[int, int, str]]]:
    """`maps_of(path)` lists this process's memory that maps a file: first address, one above the last, rights."""

    def found(path: str | os.PathLike[str]) -> list[tuple[int, int, str]]:
        lines = []
        for line in Path("/proc/self/maps").read_text().splitlines():
            span, rights, *_, name = line.split(maxsplit=5)
            if name == str(path):
                low, high = (int(end, 16) for end in span.split("-"))
                lines.append((low, high, rights))
        return lines

    return found
