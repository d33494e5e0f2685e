"""A lack of memory, however it shows: locks, files, ctypes and other C extensions report it as errors of their own.

And a condition that such a lack does not leave locked.
"""

from __future__ import annotations

import errno
import threading
from contextlib import ContextDecorator
from types import TracebackType


def is_lack_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory could not be had, in whatever words."""
    if isinstance(error, MemoryError) or (type(error) is OSError and error.errno == errno.ENOMEM):
        return True
    text = str(error)
    return (
        (isinstance(error, RuntimeError) and _is_of_a_lock(error, text))
        or ("MemoryError" in text and type(error).__name__ == "ArgumentError")  # ctypes, of a number it could not copy
        or (isinstance(error, SystemError) and _is_disguised(error, text))
    )


def _is_of_a_lock(error: RuntimeError, text: str) -> bool:
    """There was none to be had, for a thread or a file; or a wait for one ended half-way."""
    return "can't allocate" in text or ("un-acquired lock" in text and isinstance(error.__context__, MemoryError))


def _is_disguised(error: SystemError, text: str) -> bool:
    """A function in C came back without looking at its failure."""
    hidden = ("without setting an exception", "NULL object passed")
    return isinstance(error.__cause__, MemoryError) or any(words in text for words in hidden)


class _AsMemoryError(ContextDecorator):
    """Whatever says so inside is raised as the MemoryError that it is."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and not isinstance(error, MemoryError) and is_lack_of_memory(error):
            raise MemoryError(f"there is no memory left ({type(error).__name__}: {error})") from error


as_memory_error = _AsMemoryError()
"""A block, or a decorator, out of which every lack of memory comes as a MemoryError."""


class Condition(threading.Condition):
    """A condition whose lock is let go of without taking memory: the one of Python needs some for it, and stays locked
    for ever where there is none."""

    def __init__(self) -> None:
        self._its_lock = threading.RLock()
        super().__init__(self._its_lock)

    def __enter__(self) -> bool:
        return self._its_lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._its_lock.release()
