"""Looking at a store without a trace: what a readonly resume takes, what it says, and that it leaves nothing behind."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from faults.r02_uses import Store, Wrong, blank, tag_of
from holdfast.errors import DamagedError
from holdfast.snapshot import Snapshot
from holdfast.store import SnapshotStore

Photograph = dict[str, tuple[Any, ...]]


@dataclass(frozen=True)
class Seen:
    """What a resume did."""

    tag: int | None  # of the state that was taken; None: there was none
    is_refused: bool  # every snapshot is damaged, and that was raised
    lines: tuple[str, ...]  # warnings in the log


def look(folder: str, opened: Callable[[], Any]) -> Seen:
    """Resume from a store that is opened with readonly=True, and ask it everything else.

    Args:
        folder: what must not change: the store, or a folder above it.
        opened: opens it: a Store of r02_uses.py.
    Raises:
        Wrong: something was written, or what was taken is no state that was saved.
    """
    before = photograph(folder)
    with logged() as lines:
        use: Store = opened()
        target, snapshot, is_refused = blank(use.size), None, False
        try:
            target, snapshot = use.store.resume(target)
        except DamagedError:
            is_refused = True
        _ask(use.store)
        use.close()
    after = photograph(folder)
    if before != after:
        changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        raise Wrong(f"a readonly store changed {changed}")
    if snapshot is None and target["tag"] != 0:
        raise Wrong("nothing was resumed from, and the target has changed")
    tag = None if snapshot is None else tag_of(target)
    return Seen(tag, is_refused, tuple(lines))


def photograph(folder: str) -> Photograph:
    """Every name below a folder, with its inode, size, times and bytes; {} where there is no such folder."""
    found: Photograph = {}
    if not os.path.isdir(folder):
        return found
    found["."] = _facts(folder)
    for directory, names, files in os.walk(folder):
        for name in (*names, *files):
            path = os.path.join(directory, name)
            found[os.path.relpath(path, folder)] = _facts(path)
    return found


@contextmanager
def logged(level: int = logging.WARNING) -> Iterator[list[str]]:
    """The lines that holdfast logs in the block, from a level on, which then go nowhere else."""
    lines: list[str] = []
    handler = _Lines(lines, level)
    logger = logging.getLogger("holdfast")
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(min(level, logging.WARNING))
    logger.propagate = False
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


class _Lines(logging.Handler):
    def __init__(self, lines: list[str], level: int) -> None:
        super().__init__(level)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(record.getMessage())


def _ask(store: SnapshotStore) -> None:
    listed: list[Snapshot] = store.snapshots()
    latest = store.latest()
    if (latest is None) != (not listed):
        raise Wrong(f"{len(listed)} snapshots are listed, and the latest is {latest}")
    store.plan()


def _facts(path: str) -> tuple[Any, ...]:
    found = os.lstat(path)
    content: bytes | str = b""
    if os.path.islink(path):
        content = os.readlink(path)
    elif os.path.isfile(path):
        with open(path, "rb", buffering=0) as file:
            content = file.read()
    return found.st_ino, found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns, content
