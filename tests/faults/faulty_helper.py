"""The writer process, with faults: a program that takes the place of helper_process.py. See helper_faults.py.

It runs without what tests are made with: no pytest, no numpy, nothing but holdfast and the standard library.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from types import FunctionType
from typing import Any

FOLDER, SOURCES = os.environ["HOLDFAST_TEST_FAULTS"], os.environ["HOLDFAST_TEST_SOURCES"]
sys.path.insert(0, SOURCES)

from holdfast.storage import syscalls  # noqa: E402  found only now

_guard = threading.Lock()
_counts: Counter[tuple[int, str]] = Counter()


def routed(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    """A call that first looks what it is to do: the fault that is armed by now, if any."""

    def call(*arguments: Any, **named: Any) -> Any:
        with _guard:
            fault = armed()
            if fault is None:
                return real(*arguments, **named)
            _counts[fault["id"], name] += 1
            ordinal = _counts[fault["id"], name]
            note(fault["id"], name, arguments[0])
        hit = name == fault["name"] and (ordinal == fault["nth"] or (fault["lasting"] and ordinal > fault["nth"]))
        if hit and fault["kind"] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if hit and fault["kind"] == "hold":
            with open(os.path.join(FOLDER, "held"), "rb") as file:  # a FIFO
                file.read()
            hit = False
        if hit:
            if name == "close":
                real(*arguments, **named)
            raise OSError(fault["errno"], os.strerror(fault["errno"]))
        return real(*arguments, **named)

    return call


def armed() -> Any:
    try:
        with open(os.path.join(FOLDER, "armed"), encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return None


def note(number: int, name: str, target: Any) -> None:
    with suppress(OSError):
        target = os.readlink(f"/proc/self/fd/{target}") if isinstance(target, int) else target
    with open(os.path.join(FOLDER, f"calls_{number}"), "a", encoding="utf-8") as file:
        file.write(f"{name} {target}\n")


for name, function in list(vars(syscalls).items()):
    if isinstance(function, FunctionType) and function.__module__ == syscalls.__name__ and not name.startswith("_"):
        setattr(syscalls, name, routed(name, function))

runpy.run_path(os.path.join(SOURCES, "holdfast", "writers", "helper_process.py"), run_name="__main__")
