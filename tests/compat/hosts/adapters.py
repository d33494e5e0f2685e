"""What a case asks of a host, and how the hosts are found.

Nothing here, or in the cases, imports a host's library or pytest: Chainer runs in an interpreter that has neither of
the others.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

HOSTS = {"holdfast": "holdfast_host", "pytorch-pfn-extras": "pfn_extras_host", "chainer": "chainer_host"}


class Run(Protocol):
    """One training, of 4 iterations an epoch.

    What it ends with depends on every iteration, on moments that its optimizer keeps, and on numbers that it draws from
    global random generators.

    Attributes:
        host: the trainer or manager.
        model: what is trained.
        parts: this, and whatever else a snapshot of the host restores, each an object of its own.
    """

    host: Any
    model: Any
    parts: list[Any]

    @property
    def iteration(self) -> int:
        """Finished iterations."""

    def extend(self, extension: Any, trigger: Any = (1, "iteration"), **options: Any) -> None:
        """Register an extension."""

    def run(self) -> None:
        """Train until the stop, and finalize, whatever happens. The first error comes out."""

    def weights(self) -> np.ndarray[Any, Any]:
        """A copy of everything that is trained, as one array."""


class Host(Protocol):
    """A host, and what its library has that the cases need."""

    name: str

    def new(self, out: Path, stop: int, *, seed: int = 0, fails_at: int | None = None) -> Run:
        """A run that stops at the end of an iteration.

        Args:
            seed: of the global random generators, and so of the first weights.
            fails_at: the iteration in which ZeroDivisionError is raised, once the weights have changed.
        """

    def log_report(self) -> Any:
        """The library's own LogReport, an extension with a state; it makes a row every second iteration."""


def host_named(name: str) -> Host:
    """The host; imports its library."""
    host: Host = importlib.import_module(f"compat.hosts.{HOSTS[name]}").HOST
    return host


def started(host: Host, out: Path, stop: int, *extensions: Any, trigger: Any = (1, "iteration"), **options: Any) -> Run:
    """A run with these extensions, at its end."""
    run = host.new(out, stop, **options)
    for extension in extensions:
        run.extend(extension, trigger)
    run.run()
    return run


def raised(kind: type[BaseException], function: Callable[..., Any], *arguments: Any, **options: Any) -> str:
    """The message of the error that a call must raise."""
    try:
        function(*arguments, **options)
    except kind as error:
        return str(error)
    raise AssertionError(f"no {kind.__name__} was raised")


@contextmanager
def logged() -> Iterator[list[str]]:
    """What holdfast logs meanwhile, from INFO on."""
    messages: list[str] = []

    class Collecting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    log, handler = logging.getLogger("holdfast"), Collecting()
    before = log.level
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    try:
        yield messages
    finally:
        log.removeHandler(handler)
        log.setLevel(before)


def damage(path: Path) -> None:
    """Change one bit."""
    data = bytearray(path.read_bytes())
    data[-3] ^= 4
    path.write_bytes(data)
