"""Forked processes that tell this one lines, are stopped or killed by it, and leave no process behind.

This process must have no threads of its own.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any

_PR_SET_CHILD_SUBREAPER = 36
HANG_S = 60.0

Tell = Callable[..., None]
"""Tells a line: any JSON values."""


class Hang(Exception):
    """A process has said nothing for too long."""


def adopt_orphans() -> None:
    """From here on, processes whose parent was killed become children of this one, which can wait for their end."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Fork:
    """A process that has begun with a function, and ends with it.

    Args:
        function: is given what tells a line. What it raises is told as `["failed", text]`.
    """

    def __init__(self, function: Callable[[Tell], object]) -> None:
        self._lines, write = os.pipe()
        self._rest = b""
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                os.close(self._lines)
                status = _carry_out(function, write)
            finally:
                os._exit(status)
        os.close(write)

    def line(self, timeout_s: float = HANG_S) -> list[Any] | None:
        """The next line; None once it can tell no more. Raises Hang where none comes in time."""
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._rest:
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self._lines], [], [], left)[0]:
                raise Hang(f"nothing was said for {timeout_s} s")
            found = os.read(self._lines, 1 << 16)
            if not found:
                return None
            self._rest += found
        line, _, self._rest = self._rest.partition(b"\n")
        told: list[Any] = json.loads(line)
        return told

    def is_silent(self, seconds: float) -> bool:
        """Whether it tells nothing for so long; what it tells is kept for line()."""
        return b"\n" not in self._rest and not select.select([self._lines], [], [], seconds)[0]

    def lines(self) -> list[list[Any]]:
        """All that it still tells, up to its end."""
        found = []
        while (line := self.line()) is not None:
            found.append(line)
        return found

    def wait_stopped(self) -> bool:
        """Wait until it has stopped itself; False where it has ended instead. Its end is then known here."""
        _, status = os.waitpid(self.pid, os.WUNTRACED)
        return os.WIFSTOPPED(status)

    def stop(self) -> None:
        """SIGSTOP, to it and to those whom it has started; on return all of them stand still, or have ended."""
        for pid in self._all():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
            while _state(pid) not in "TZ":  # in the middle of a system call
                os.sched_yield()

    def kill(self) -> list[list[Any]]:
        """SIGKILL, to it and to those whom it has started; returns what it has told, when all of them have ended."""
        for pid in self._all():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return self.end()

    def kill_alone(self) -> list[list[Any]]:
        """SIGKILL, to it alone; returns what it has told, when it has ended, whoever else goes on."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        try:
            return self.lines()
        finally:
            os.close(self._lines)
            os.waitpid(self.pid, 0)

    def _all(self) -> list[int]:
        children: list[int] = []
        with suppress(FileNotFoundError), open(f"/proc/{self.pid}/task/{self.pid}/children", encoding="ascii") as file:
            children = [int(pid) for pid in file.read().split()]
        return [self.pid, *children]

    def end(self) -> list[list[Any]]:
        """Wait for its end, and that of all whom it has started; returns what it has told meanwhile."""
        try:
            return self.lines()
        finally:
            os.close(self._lines)
            with suppress(ChildProcessError):
                while True:
                    os.waitpid(-1, 0)


def answer_of(function: Callable[[], Any]) -> Any:
    """What a function returns that is carried out in a process of its own. Raises RuntimeError for what it raises."""
    [told] = Fork(lambda tell: tell("answer", function())).end() or [["failed", "it died"]]
    if told[0] != "answer":
        raise RuntimeError(told[1])
    return told[1]


def import_what_is_used(function: Callable[[], object]) -> None:
    """Have every module loaded that a function uses, so that no fork has to; it is called in one."""

    def names() -> list[str]:
        function()
        return list(sys.modules)

    for name in answer_of(names):
        with suppress(ImportError):  # such as what a library keeps under a made-up name
            importlib.import_module(name)


def _state(pid: int) -> str:
    """The letter that the system has for it; Z where it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "Z"


def _carry_out(function: Callable[[Tell], object], fd: int) -> int:
    def tell(*words: Any) -> None:
        os.write(fd, json.dumps(words).encode() + b"\n")

    try:
        function(tell)
    except Exception as error:  # noqa: BLE001  whatever it is, the parent is to hear of it
        where = traceback.format_exc(limit=-4)
        tell("failed", f"{type(error).__name__}: {error}"[:1500], where[-1500:])
        return 1
    return 0
