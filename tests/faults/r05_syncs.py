"""R5: a sync that failed is never tried again on that file, and never acknowledged.

After EIO a second fsync returns success while the disk holds the old bytes. A directory's sync that fails after the
rename leaves the outcome unknown, and the error says so.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faults import campaigns, sweeps
from faults.campaigns import Outcome, merge
from faults.injection import Call
from faults.inprocess import WRITERS, attempt, name_of, writing_of
from faults.writing import Writing
from holdfast import writers
from holdfast.errors import CommitError
from holdfast.storage.base import TEMPORARY_SUFFIX
from snapshots import finished


def save(writing: Writing, location: Path, ordinal: int, file_at: int) -> None:
    """One save of which a sync fails.

    Args:
        ordinal: of the sync, from 1.
        file_at: that of the snapshot's file; the next is that of its directory, and what follows is retention's.
    """
    seen = sweeps.prepare(location, sweeps.save_with_retention, writing.kind)
    synced = list[tuple[int, str]]()
    with seen.store(location, keep=sweeps.POLICY) as store:
        store.resume(sweeps.state(0))
        if writing.is_elsewhere:
            seen.save(store, 4, 4.0)
        seen.begin(5, 5.0)
        with writing.faults.error_at("fsync", errno.EIO, ordinal) as calls:
            if not writing.is_elsewhere:
                _note(writing, synced)
            error = finished(store.save(5, sweeps.state(5.0))).exception()
            if ordinal <= file_at + 1:
                assert isinstance(error, CommitError), "acknowledged although a sync had failed"
                assert ("the outcome is unknown" in str(error)) == (ordinal == file_at + 1), str(error)
            else:
                assert error is None, f"it was durable before: {error}"
                seen.acknowledge(5, 5.0)
            seen.save(store, 6, 6.0)
        synced += [(0, call.path) for call in calls or () if call.name == "fsync"]  # no temporary file shares its name
        if ordinal == file_at:
            assert synced[ordinal - 1][1].endswith(TEMPORARY_SUFFIX)
            assert synced[ordinal - 1] not in synced[ordinal:], f"{synced[ordinal - 1][1]} was synced again"
    sweeps.forget_everything()
    sweeps.check(location, seen)


def _note(writing: Writing, synced: list[tuple[int, str]]) -> None:
    """Have every sync noted, by inode and path, in the block that is armed."""
    step = writing.here._step
    assert step is not None

    def noting(call: Call, make: Callable[[], Any]) -> Any:
        if call.name == "fsync":
            found = os.stat(call.path)
            synced.append((found.st_ino, call.path))
        return step(call, make)

    writing.here._step = noting


def sweep(kind: str, folder: str) -> Outcome:
    """Every sync of a save of one writer, in this process."""
    place, bad = Path(folder) / f"syncs-{kind}", list[str]()
    place.mkdir()
    logging.getLogger("holdfast").setLevel(logging.CRITICAL)  # what could not be removed is told each time
    with writing_of(getattr(writers, kind), place) as writing:
        calls = sweeps.save_with(place / "calm", writing.kind, 5, 0, writing.faults.record())
        syncs = [call for call in calls if call.name == "fsync"]
        ordinals = [call.ordinal for call in syncs]
        of_files = [call.ordinal for call in syncs if call.path.endswith(TEMPORARY_SUFFIX)]
        (file_at,) = of_files
        for ordinal in ordinals:
            attempt(bad, f"{kind}, EIO at fsync {ordinal}", save, writing, place / "s", ordinal, file_at)
            shutil.rmtree(place / "s", ignore_errors=True)
    return Outcome(len(ordinals), tuple(bad))


def campaign(count: int, *, seed: int = 0, folder: Path) -> Outcome:
    """Every sync of every writer, whatever the count."""
    return merge(campaigns.in_processes(sweep, [(name_of(kind), os.fspath(folder)) for kind in WRITERS]))
