"""What must be finished before the interpreter ends, though nobody has closed it: writers register here while they have
something under way. A forked child has nothing of it: its parent does it all."""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Callable

_logger = logging.getLogger("holdfast")

_flushes: dict[int, tuple[object, Callable[[], object]]] = {}
"""By the identity of what they belong to, which is kept as long."""
_is_ending = False


def before_exit(owner: object, flush: Callable[[], object]) -> None:
    """Have `flush()` called when the interpreter is about to end, once; threads still run then, but none can be
    started. What it raises is logged."""
    _flushes[id(owner)] = (owner, flush)


def forget(owner: object) -> None:
    """There is nothing left to do for `owner`."""
    _flushes.pop(id(owner), None)


def is_ending() -> bool:
    """Whether it was all done: nobody waits any more for what comes now."""
    return _is_ending


def _flush_all() -> None:
    global _is_ending
    while _flushes:
        for key in list(_flushes):
            entry = _flushes.pop(key, None)
            if entry is None:
                continue
            try:
                entry[1]()
            except Exception as error:  # noqa: BLE001  whatever it is, nobody is left who could take it
                _logger.error("not kept, and nobody was told: %s", str(error))
    _is_ending = True


atexit.register(_flush_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_flushes.clear)
