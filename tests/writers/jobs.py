"""Jobs for the tests of writers: made up ones, and one that writes a real snapshot file, in whatever process."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np

from holdfast import lock
from holdfast.commit import commit
from holdfast.files import new_facts
from holdfast.snapshot import Snapshot
from holdfast.staging import Arena
from holdfast.state.capture import capture
from holdfast.storage.local import LocalStorage
from holdfast.writers import Handoff, Job
from snapshots import made_up

WRITERS = "SimpleWriter ThreadWriter ProcessWriter ThreadQueueWriter ProcessQueueWriter".split()
BACKGROUND = WRITERS[1:]
PROCESSES = ["ProcessWriter", "ProcessQueueWriter"]


class Full(OSError):
    """The disk is full."""


def good(number: int = 1, **more: object) -> Job:
    return Job(f"good_{number}", lambda: made_up(number), **more)


def bad(message: str = "bad", **more: object) -> Job:
    def fail():
        raise Full(message)

    return Job(message, fail, **more)


class Gate:
    """A job that has begun, and does not end before it is told to."""

    def __init__(self, name: str = "gated", job: Job | None = None) -> None:
        self.begun = threading.Event()
        self.open = threading.Event()
        self._then = job.commit if job is not None else lambda: made_up(1)
        self.job = Job(name, self._commit)

    def _commit(self) -> Snapshot:
        self.begun.set()
        assert self.open.wait(30)
        return self._then()


def file_job(directory: Path, name: str, value: float = 1.0, *, size: int = 1000, held: lock.Lock | None = None) -> Job:
    """A job that writes `{"w": [value, ...]}`; its `after` counts as `job_after`."""
    storage = LocalStorage(directory)
    arena = Arena(shared=True)
    staged = arena.stage(capture({"w": np.full(size, value)}))
    placed = staged.image(new_facts(name, step=int(value), role="store"))
    image = placed.image

    def write() -> Snapshot:
        commit(storage, name, image)
        return made_up(int(value))

    def handoff() -> Handoff:
        return Handoff(
            directory=str(directory),
            name=name,
            memory_fd=placed.memory.fd,
            memory_bytes=placed.memory.size_bytes,
            data_bytes=placed.data_bytes,
            header_at=placed.header_at,
            header_bytes=len(image.header),
            checksums_at=image.checksums_at,
            ends_at=placed.ends_at,
            leaf_count=len(image.ends),
            lock_fd=-1 if held is None else held.share(),
        )

    return Job(name, write, handoff=handoff, committed=lambda: made_up(int(value)), release=arena.memory.close)


def mapping(value: float = 1.0) -> dict[str, np.ndarray]:
    """What a savefun is given."""
    return {"w": np.full(3, value)}


def read(path: Path) -> object:
    """What a savefun of savefuns.py has written."""
    return json.loads(path.read_text())
