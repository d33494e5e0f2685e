"""Snapshots for the tests of catalog, retention and store: made up, or real files with facts of the test's choice."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from holdfast.commit import commit
from holdfast.files import new_facts
from holdfast.format.prefix import Facts
from holdfast.format.reader import as_snapshot
from holdfast.snapshot import Snapshot
from holdfast.staging import Arena, Staged
from holdfast.state.capture import capture
from holdfast.storage.base import LOCK_NAME, Storage
from holdfast.storage.local import LocalStorage
from holdfast.storage.memory import MemoryStorage
from holdfast.store import SnapshotStore
from holdfast.writers import Pending

TEMPLATE = "snapshot_{step:08d}.safetensors"
RUN = "a" * 32
NOON = datetime(2030, 1, 1, 12, tzinfo=timezone.utc)


def made_up(
    sequence: int,
    step: int | None = None,
    metrics: Mapping[str, float] | None = None,
    reason: str = "save",
    created_at: datetime = NOON,
) -> Snapshot:
    """A snapshot without a file; its step is its sequence number, unless told otherwise."""
    return Snapshot(
        name=f"snapshot_{sequence}",
        location="nowhere",
        step=sequence if step is None else step,
        epoch=None,
        metrics=metrics or {},
        reason=reason,
        created_at=created_at,
        size_bytes=4096,
        run_id=RUN,
        sequence=sequence,
    )


def written(
    where: Storage | Path,
    step: int,
    *,
    sequence: int | None = None,
    name: str | None = None,
    file: str | None = None,
    template: str = TEMPLATE,
    role: str = "store",
    reason: str = "save",
    metrics: Mapping[str, float] | None = None,
    created_at: datetime | None = None,
    target: object | None = None,
) -> Snapshot:
    """A real snapshot file: of this step, with these facts; in the file `file`, where that is not the name in them."""
    storage = LocalStorage(where) if isinstance(where, Path) else where
    facts = new_facts(
        template.format(step=step) if name is None else name,
        step=step,
        metrics=metrics,
        reason=reason,
        run_id=RUN,
        sequence=step if sequence is None else sequence,
        role=role,
        template=template,
    )
    if created_at is not None:
        facts = replace(facts, created_at=created_at)
    state = {"w": np.full(4, step, np.float32)} if target is None else target
    return put(storage, file or facts.name, Arena().stage(capture(state)), facts)


def state(value: float = 0.0) -> dict[str, object]:
    """A small state with one value."""
    return {"w": np.full(8, value, np.float32)}


def steps(store: SnapshotStore) -> list[int | None]:
    """Of the snapshots that are in a store."""
    return [snapshot.step for snapshot in store.snapshots()]


def names(folder: Path) -> list[str]:
    """What is in the folder of a store, but for its lock file."""
    return sorted(name for name in os.listdir(folder) if name != LOCK_NAME)


def saved(store: SnapshotStore, step: int, target: object, **arguments: Any) -> Snapshot:
    """Save, and wait until nothing is left to do for it: older ones are removed, too."""
    return finished(store.save(step, target, **arguments)).result()


def finished(pending: Pending) -> Pending:
    """One of which nothing is left to do, whatever came of it."""
    assert pending.wait_finished(60), f"{pending.name} hangs"
    return pending


def put(storage: Any, name: str, staged: Staged, facts: Facts, metadata: Any = None) -> Snapshot:
    """Commit a staged state under a name, whatever the facts call it."""
    placed = staged.image(facts, metadata)
    commit(storage, name, placed.image)
    return as_snapshot(facts, storage.location, name, placed.size_bytes)


def file_of(staged: Staged, facts: Facts, metadata: Any = None) -> bytes:
    """The file of a staged state, in memory."""
    storage = MemoryStorage()
    put(storage, "it", staged, facts, metadata)
    return storage.read("it", 0, storage.stat("it").size_bytes)


def damage(snapshot: Snapshot | Path, *, header: bool = False) -> Path:
    """Flip one bit of a snapshot file: of the last leaf, or in the middle of the facts."""
    path = Path(snapshot)
    data = bytearray(path.read_bytes())
    data[120 if header else -1] ^= 4
    path.unlink()  # another inode, as whoever reads the old one must not see it change
    path.write_bytes(data)
    return path
