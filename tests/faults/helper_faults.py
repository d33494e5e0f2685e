"""Faults at a chosen system call of the writer process, which no patch of this process reaches.

In place of helper_process.py a program is started that looks before each call of syscalls.py whether a fault is armed:
the blocks are those of injection.py, and a crash is the death of that process by SIGKILL.
"""

from __future__ import annotations

import itertools
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import holdfast
from faults.injection import Call
from holdfast.writers import helper

PROGRAM = Path(__file__).with_name("faulty_helper.py")


class HelperFaults:
    """The blocks that a test can arm, one at a time, for every writer process that is started from now on."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count(1)

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Start that program until `patch` is undone."""
        patch.setattr(helper, "_PROGRAM", str(PROGRAM))
        patch.setenv("HOLDFAST_TEST_PROGRAM", str(PROGRAM))  # for programs of the test, to do the same
        patch.setenv("HOLDFAST_TEST_FAULTS", str(self._folder))
        patch.setenv("HOLDFAST_TEST_SOURCES", str(Path(holdfast.__file__).parent.parent))

    @contextmanager
    def record(self) -> Iterator[Sequence[Call]]:
        """List the calls of the block, in order."""
        with self._armed("none", "", 0, 0, lasting=False) as number:
            yield _Calls(self._folder / f"calls_{number}")

    @contextmanager
    def crash_before(self, name: str, nth: int = 1) -> Iterator[None]:
        """Kill the writer process right before its n-th call of `name`."""
        with self._hit("kill", name, 0, nth, lasting=False):
            yield

    @contextmanager
    def hold_before(self, name: str, nth: int = 1) -> Iterator[Callable[[], None]]:
        """Let it wait right before its n-th call of `name` until the function is called, which waits for it, too."""
        fifo = self._folder / "held"
        os.mkfifo(fifo)
        try:
            with self._hit("hold", name, 0, nth, lasting=False):
                yield lambda: os.close(os.open(fifo, os.O_WRONLY))
        finally:
            with suppress(OSError):  # nobody waits there, unless the test has failed
                os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
            fifo.unlink()

    @contextmanager
    def error_at(self, name: str, number: int, nth: int = 1, *, lasting: bool = False) -> Iterator[Sequence[Call]]:
        """Let its n-th call of `name` fail with the error `number`; with `lasting`, those after it as well. Lists the
        calls of the block."""
        with self._hit("error", name, number, nth, lasting=lasting) as calls:
            yield calls

    @contextmanager
    def _hit(self, kind: str, name: str, error: int, nth: int, *, lasting: bool) -> Iterator[Sequence[Call]]:
        with self._armed(kind, name, error, nth, lasting=lasting) as number:
            calls = _Calls(self._folder / f"calls_{number}")
            yield calls
        count = sum(call.name == name for call in calls)
        assert count >= nth, f"there was no call {nth} of {name}"

    @contextmanager
    def _armed(self, kind: str, name: str, error: int, nth: int, *, lasting: bool) -> Iterator[int]:
        number = next(self._numbers)
        fault = {"id": number, "kind": kind, "name": name, "errno": error, "nth": nth, "lasting": lasting}
        armed = self._folder / "armed"
        assert not armed.exists(), "a block inside another one"
        (self._folder / "new").write_text(json.dumps(fault))
        os.rename(self._folder / "new", armed)
        try:
            yield number
        finally:
            armed.unlink()


class _Calls(Sequence[Call]):
    """What that process has noted by now."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __len__(self) -> int:
        return len(self._read())

    def __getitem__(self, index: Any) -> Any:
        return self._read()[index]

    def _read(self) -> list[Call]:
        counts: Counter[str] = Counter()
        calls = []
        for line in self._path.read_text().splitlines() if self._path.exists() else ():
            name, _, path = line.partition(" ")
            counts[name] += 1
            calls.append(Call(name, counts[name], path))
        return calls
