"""What test_campaigns.py has called in other processes; a test file cannot be imported there."""

from __future__ import annotations

import os
import signal
import sys


def twice(value: int) -> tuple[int, int, bool]:
    """The double, the process, and whether it has what the tests have imported."""
    return 2 * value, os.getpid(), "pytest" in sys.modules


def fails(value: int) -> int:
    if value == 1:
        raise KeyError(f"value {value}")
    return value


def cannot(value: int) -> None:
    from faults.campaigns import Unavailable

    raise Unavailable(f"no {value} here")


def dies() -> None:
    print("some last words", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def waits_or_fails(pipe: str) -> str:
    if pipe:
        with open(pipe) as file:
            return file.read()
    raise ValueError("at once")


def which_holdfast() -> str:
    import holdfast

    return str(holdfast.__file__)


def chatters() -> int:
    print("chatter")
    return 3
