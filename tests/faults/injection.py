"""Faults at a chosen system call, in this process.

Every function of holdfast/storage/syscalls.py goes through a Faults object for the length of a test. A block arms it:

    with faults.record() as calls:                        # what a block calls, in order
        save()
    for name, ordinal in calls:                           # and then each of these, one at a time
        with faults.error_at(name, errno.EIO, ordinal), pytest.raises(CommitError):
            save()
        with faults.crash_before(name, ordinal), pytest.raises(Crash):
            save()

A crash is the sudden death of the process: from that call to the end of the block every call through syscalls.py raises
Crash, so whatever is meant to clean up does nothing, as in a dead process. At the end of the block the process loses
what a dead one loses, its descriptors and its locks; what follows in the test is the next process.
"""

from __future__ import annotations

import errno
import inspect
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest

from holdfast import lock
from holdfast.storage import syscalls, temporaries

NAMES = tuple(
    name
    for name, function in inspect.getmembers(syscalls, inspect.isfunction)
    if function.__module__ == syscalls.__name__ and not name.startswith("_")
)
"""Every call that a fault can be put at."""

ERRORS = (errno.EIO, errno.ENOSPC, errno.EINTR, errno.EMFILE, errno.EDQUOT, errno.EACCES)
"""What the sweeps over every call let it fail with."""


class Crash(BaseException):
    """The process died here."""


@dataclass(frozen=True)
class Call:
    """One call of a block; unpacks into its name and how many of that name there were up to it."""

    name: str
    ordinal: int  # from 1
    path: str  # what it was about; "" where that has no path

    def __iter__(self) -> Iterator[Any]:
        return iter((self.name, self.ordinal))


Step = Callable[[Call, Callable[[], Any]], Any]
"""What happens instead of a call: given the call and a function that makes it."""


class Faults:
    """The blocks that a test can arm; one at a time."""

    def __init__(self) -> None:
        self._real = {name: getattr(syscalls, name) for name in NAMES}
        self._step: Step | None = None
        self._counts: Counter[str] = Counter()
        self._guard = threading.Lock()  # for the counts: threads call, too
        self._open: set[int] = set()  # descriptors that syscalls.py opened in this test

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Route every call through this object until `patch` is undone."""
        for name in NAMES:
            patch.setattr(syscalls, name, self._routed(name))

    @contextmanager
    def record(self) -> Iterator[list[Call]]:
        """List the calls of the block, in order."""
        calls: list[Call] = []

        def step(call: Call, make: Callable[[], Any]) -> Any:
            calls.append(call)
            return make()

        with self._armed(step):
            yield calls

    @contextmanager
    def crash_before(self, name: str, nth: int = 1) -> Iterator[None]:
        """Die right before the n-th call of `name`. It is an error of the test if the block never comes to it."""
        dead = threading.Event()

        def step(call: Call, make: Callable[[], Any]) -> Any:
            if (call.name, call.ordinal) == (name, nth):
                dead.set()
            if dead.is_set():
                raise Crash(f"before {name} {nth}" if call.name == name else f"{call.name} in a dead process")
            return make()

        try:
            with self._armed(step):
                yield
                assert dead.is_set(), f"there was no call {nth} of {name}"
        finally:
            if dead.is_set():
                self._bury()

    @contextmanager
    def error_at(self, name: str, number: int, nth: int = 1, *, lasting: bool = False) -> Iterator[None]:
        """Let the n-th call of `name` fail with the error `number`; with `lasting`, those after it as well.

        A call that fails does nothing, but a close() that fails closes, as it does on Linux.
        """
        failed = threading.Event()

        def step(call: Call, make: Callable[[], Any]) -> Any:
            if call.name == name and (call.ordinal == nth or (lasting and call.ordinal > nth)):
                failed.set()
                if name == "close":
                    make()
                raise OSError(number, os.strerror(number), call.path or None)
            return make()

        with self._armed(step):
            yield
            assert failed.is_set(), f"there was no call {nth} of {name}"

    @contextmanager
    def instead_of(self, name: str, function: Callable[..., Any]) -> Iterator[None]:
        """Call `function(real, *arguments)` in place of `name`, for what the others cannot do: a short write."""
        routed = getattr(syscalls, name)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(syscalls, name, lambda *arguments, **named: function(routed, *arguments, **named))
            yield

    @contextmanager
    def _armed(self, step: Step) -> Iterator[None]:
        assert self._step is None, "a block inside another one"
        self._counts.clear()
        self._step = step
        try:
            yield
        finally:
            self._step = None

    def _routed(self, name: str) -> Callable[..., Any]:
        real = self._real[name]

        def routed(*arguments: Any, **named: Any) -> Any:
            def make() -> Any:
                result = real(*arguments, **named)
                if name in ("open", "dup"):
                    self._open.add(result)
                return result

            if name == "close":
                self._open.discard(arguments[0])
            step = self._step
            if step is None:
                return make()
            with self._guard:
                self._counts[name] += 1
                call = Call(name, self._counts[name], _path(arguments[0]))
            try:
                return step(call, make)
            except Crash:
                if name == "close":
                    self._open.add(arguments[0])  # it never came to that
                raise

        return routed

    def _bury(self) -> None:
        temporaries.disown()
        lock._forget()
        for fd in self._open:
            with suppress(OSError):
                os.close(fd)
        self._open.clear()


def _path(target: Any) -> str:
    if not isinstance(target, int):
        return str(target)
    with suppress(OSError):
        return os.readlink(f"/proc/self/fd/{target}")
    return ""
