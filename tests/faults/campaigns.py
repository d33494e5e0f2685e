"""What every campaign of faults speaks: how it tells its outcome, and how its work is shared out among processes.

A campaign carries out many cases of one promise of docs/reliability.md, and counts those that broke it. promises.py
lists all of them, run.py runs them. Only the standard library is imported here, so that a campaign can be run by an
interpreter that has nothing else.
"""

from __future__ import annotations

import importlib
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]

KEPT = 100
"""How many bad cases an outcome has sentences for."""

_CHILD = """
import sys

sys.path[:] = [one for one in sys.path if one]
from faults import campaigns

campaigns.carry_out()
"""


class Unavailable(Exception):
    """This machine cannot do it; str() says why. A test then skips, with that reason."""


@dataclass(frozen=True)
class Outcome:
    """What became of a campaign."""

    tried: int  # cases that were carried out
    bad: tuple[str, ...] = ()  # a sentence for each bad case, the first KEPT of them
    bad_count: int = 0  # all bad cases; at least as many as have sentences
    notes: str = ""  # one line for the table
    others: Mapping[str, Outcome] = field(default_factory=dict)  # by their ids: what the cases say of other promises

    def __post_init__(self) -> None:
        object.__setattr__(self, "bad_count", max(self.bad_count, len(self.bad)))
        object.__setattr__(self, "bad", tuple(self.bad[:KEPT]))


def merge(outcomes: Iterable[Outcome]) -> Outcome:
    """One outcome of several, for one promise: counts are added, and each note stands there once."""
    found = list(outcomes)
    return Outcome(
        tried=sum(one.tried for one in found),
        bad=tuple(sentence for one in found for sentence in one.bad)[:KEPT],
        bad_count=sum(one.bad_count for one in found),
        notes="; ".join(dict.fromkeys(one.notes for one in found if one.notes)),
    )


def in_processes(function: Callable[..., Any], jobs: Sequence[tuple[Any, ...]], processes: int = 2) -> list[Any]:
    """Call `function(*job)` for every job, `processes` of them at a time, each in a new interpreter, never in a fork.

    An interpreter and its imports cost a second or more: make few jobs, of many cases each.

    Args:
        function, jobs: as for Call.
    Returns:
        The results in the order of the jobs.
    Raises:
        Unavailable, RuntimeError: as Call.result(). What still runs is killed, and the rest is not begun.
    """
    running: set[Call] = set()
    over = False

    def one(job: tuple[Any, ...]) -> Any:
        if over:
            return None
        call = Call(function, job)
        running.add(call)
        try:
            if over:  # since before it was in the set
                call.kill()
            return call.result()
        finally:
            running.discard(call)

    with ThreadPoolExecutor(processes) as threads:
        futures = [threads.submit(one, job) for job in jobs]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in futures:
                if future in done and future.exception() is not None:
                    future.result()
            return [future.result() for future in futures]
        finally:
            over = True
            for call in list(running):
                call.kill()


class Call:
    """A call of a function in a new interpreter, which has begun; end it with result().

    The environment is this process's, so that a copy of the package that stands on PYTHONPATH is what it imports.

    Args:
        function: of a module that can be imported; `tests/` is where one is looked for last.
        arguments: they and what is returned are pickled.
        session: give it a session of its own; then kill() also kills what it has started itself.
    Raises:
        ValueError: another process cannot import the function.
    """

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...], *, session: bool = False) -> None:
        if function.__module__ == "__main__" or "<" in function.__qualname__:
            raise ValueError(f"another process cannot import {function.__qualname__} of {function.__module__}")
        self._message: bytes | None = pickle.dumps((function.__module__, function.__qualname__, arguments))
        self._what = f"{function.__module__}.{function.__qualname__}({', '.join(map(_short, arguments))})"
        self._session = session
        inherited = [one for one in [os.environ.get("PYTHONPATH")] if one]
        self._told = tempfile.NamedTemporaryFile()  # noqa: SIM115  result() closes it
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CHILD, self._told.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([*inherited, str(TESTS)])},
            start_new_session=session,
        )

    def result(self, timeout: float | None = None) -> Any:
        """What the function returned.

        Raises:
            subprocess.TimeoutExpired: it has not, after `timeout` seconds; ask again, or kill it.
            Unavailable: it raised that.
            RuntimeError: it raised anything else, which the text names, with its traceback; or the process died, and
                the text has what it wrote to stderr.
        """
        message, self._message = self._message, None
        _, errors = self._process.communicate(message, timeout)
        with self._told:
            told = self._told.read()
        if self._process.returncode != 0 or not told:
            said = errors.decode(errors="replace").strip()
            raise RuntimeError(f"the process of {self._what} ended with {self._process.returncode}: {said}")
        succeeded, value = pickle.loads(told)
        if succeeded:
            return value
        kind, text, where = value
        if kind == f"{Unavailable.__module__}.{Unavailable.__qualname__}":
            raise Unavailable(text)
        raise RuntimeError(f"{kind} in {self._what}: {text}\n{where}")

    def kill(self) -> None:
        """SIGKILL; result() then raises RuntimeError."""
        with suppress(ProcessLookupError):
            if self._session:
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()


def carry_out() -> None:
    """In the new interpreter: make the one call that stdin has, and leave in the file argv[1] what came of it."""
    module, name, arguments = pickle.load(sys.stdin.buffer)
    try:
        function: Any = importlib.import_module(module)
        for part in name.split("."):
            function = getattr(function, part)
        told = pickle.dumps((True, function(*arguments)))
    except Exception as error:  # noqa: BLE001  every one goes to the other process
        kind = f"{type(error).__module__}.{type(error).__qualname__}"
        told = pickle.dumps((False, (kind, str(error), traceback.format_exc())))
    with open(sys.argv[1], "wb") as result:
        result.write(told)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def campaign_of(module: str, count: int, seed: int, folder: str) -> Outcome:
    """The campaign of a module of this folder; for a Call."""
    campaign: Callable[..., Outcome] = importlib.import_module(f"faults.{module}").campaign
    return campaign(count, seed=seed, folder=Path(folder))
