"""What tests of every room use."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from faults.injection import Faults
from faults.writing import writing
from locks import ask, held

__all__ = ["ask", "held", "writing"]

pytest.register_assert_rewrite("storage.conformance")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in what a shell starts in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    """Lets system calls fail, or the process die before them; see faults/injection.py."""
    found = Faults()
    found.install(monkeypatch)
    return found


class Program:
    """A Python program in a process of its own, which prints a line where the test waits for it, and reads one where it
    waits for the test."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.pid = process.pid

    def line(self) -> str:
        """The next line that it prints; "" at its end."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().rstrip("\n")

    def go_on(self) -> None:
        """Give it the line that it waits for."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def end(self) -> str:
        """Wait for its end, which must be a good one; returns what else it printed."""
        output, errors = self._process.communicate()
        assert self._process.returncode == 0, errors
        return output

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        self._process.kill()
        self._process.wait()


@pytest.fixture
def program() -> Iterator[Callable[..., Program]]:
    """Starts `program(text, *arguments)`; what still runs at the end of the test is killed."""
    with ExitStack() as started:

        def start(text: str, *arguments: object) -> Program:
            process = started.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", text, *map(str, arguments)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            started.callback(process.kill)
            return Program(process)

        yield start
