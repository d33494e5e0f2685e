"""Small disks that fill up, and a limit on the size of files, with every writer.

A full disk fails with an error that says what is needed and what is free. Older snapshots are good, no temporary file
is left, and once there is room the next save works. `full_disks` is part of the campaign of R3.
"""

from __future__ import annotations

import errno
import itertools
import logging
import os
import random
import re
import resource
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import holdfast
from faults import realfs
from faults.campaigns import Outcome
from faults.forks import adopt_orphans, answer_of, import_what_is_used
from faults.r02_uses import blank, state, tag_of
from holdfast import writers
from holdfast.storage import syscalls
from holdfast.storage.base import TEMPORARY_SUFFIX

IN_THIS_PROCESS = ("SimpleWriter", "ThreadWriter", "ThreadQueueWriter")
WRITERS = (*IN_THIS_PROCESS, "ProcessWriter", "ProcessQueueWriter")
KIB = {"tmpfs 64K": 64, "tmpfs 256K": 256, "tmpfs 1M": 1024, "ext4 4M": 4096, "ext4 16M": 16384}
HEADER = 4096  # bytes of a file beside its arrays, at least


def full_disks(seed: int, folder: str, writer_names: tuple[str, ...] = WRITERS) -> Outcome:
    """Every small disk with every writer; in a process of its own, which forks."""
    logging.disable(logging.CRITICAL)
    adopt_orphans()
    import_what_is_used(partial(_limit, Path(folder) / "warm", "ThreadWriter", 100_000))
    room = realfs.private_mounts(Path(folder))
    chance = random.Random(seed)
    bad = []
    tried = 0
    for disk, writer, asks in itertools.product(KIB, writer_names, (True, False)):
        if not asks and writer not in IN_THIS_PROCESS:
            continue
        with _mounted(room, disk) as place:
            numbers = int(KIB[disk] * chance.uniform(0.12, 0.3)) * 256 - HEADER // 4
            case = partial(_fill, place, writer, numbers, asks, chance.choice(("raise", "warn")))
            bad += _complaints(f"{disk}, {writer}, {'' if asks else 'not '}asked for its room", case)
        tried += 1
    for writer, numbers in itertools.product(writer_names, (5_000, 300_000)):
        place = room / f"limited {writer} {numbers}"
        bad += _complaints(f"limited to less, {writer}, {numbers} numbers", partial(_limit, place, writer, numbers))
        tried += 1
    return Outcome(tried=tried, bad=tuple(bad))


def _complaints(name: str, case: Any) -> Iterator[str]:
    try:
        complaint = answer_of(case)
    except RuntimeError as error:
        complaint = str(error)
    if complaint:
        yield f"{name}: {complaint}"


def _mounted(room: Path, disk: str) -> AbstractContextManager[Path]:
    if disk.startswith("tmpfs"):
        return realfs.tmpfs(room, disk, KIB[disk])
    return realfs.small_ext4(room, disk, KIB[disk] // 1024)


def _fill(place: Path, writer: str, numbers: int, asks: bool, on_failure: Any) -> str:
    """Save until the disk is full, free some room, and go on; returns what is wrong."""
    says_it_all = "tmpfs" in place.name  # ext4 keeps some blocks for itself, of those that it says are free
    if not asks:
        syscalls.free_bytes = lambda path: None
    location = place / "run"
    store = holdfast.SnapshotStore(location, writer=getattr(writers, writer)(), on_failure=on_failure)
    tags, failure = [], None
    for tag in range(1, 1000):
        before = len(os.listdir("/proc/self/fd"))
        pending = store.save(tag, state(tag, numbers))
        failure = pending.exception(60)
        if failure is not None:
            break
        tags.append(tag)
    if not tags:
        return f"not even one fits: {failure}"
    room = rf", (\d+) are free in {re.escape(str(location))}" if asks else f"()? in {re.escape(str(location))}"
    found = re.search(rf"needs (\d+) bytes{room}", str(failure))
    if not isinstance(failure, holdfast.CommitError) or failure.errno != errno.ENOSPC or found is None:
        return f"a full disk is told as {failure!r}"
    begun, fits = "nothing of it was written" not in str(failure), int(found.group(1)) <= int(found.group(2) or 0)
    if asks and ((begun and not fits and says_it_all) or (fits and not begun)):
        return f"it was begun though there was no room, or not begun though there was: {failure}"
    pending.wait_finished(60)
    if writer in IN_THIS_PROCESS and len(os.listdir("/proc/self/fd")) > before + 2:  # a thread's first may open some
        return "descriptors are left open"
    complaint = _wrong(store, location, tags)
    if complaint:
        return complaint
    os.unlink(store.at(tags[0]))  # as a user does
    if len(tags) > 1:
        os.unlink(store.at(tags[1]))
    store.save(1000, state(1000, numbers)).result(60)
    complaint = _wrong(store, location, [*tags[2:], 1000])
    store.close()
    return complaint


def _limit(place: Path, writer: str, numbers: int) -> str:
    """Save more than this process may write to one file, then have the limit raised."""
    with holdfast.SnapshotStore(place, writer=getattr(writers, writer)()) as store:
        store.save(1, state(1, 100)).result(60)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 * numbers, before[1]))
    with holdfast.SnapshotStore(place, writer=getattr(writers, writer)()) as store:
        complaint = _wrong_with_too_large(store, writer, numbers)
        if complaint:
            return complaint
        complaint = _wrong(store, place, [1], 100)
        if complaint or writer not in IN_THIS_PROCESS:
            return complaint
        store.save(3, state(3, 100)).result(60)
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    with holdfast.SnapshotStore(place, writer=getattr(writers, writer)()) as store:
        store.save(4, state(4, numbers)).result(60)
        return _wrong(store, place, [1, 3, 4], numbers)


def _wrong_with_too_large(store: Any, writer: str, numbers: int) -> str:
    if writer not in IN_THIS_PROCESS:  # memory that another process shares is a file as well
        try:
            store.save(2, state(2, numbers))
        except holdfast.StagingError as error:
            return "" if "File too large" in str(error) else f"memory that is too large is told as {error}"
        return "it was saved"
    failure = store.save(2, state(2, numbers)).exception(60)
    if not isinstance(failure, holdfast.CommitError) or failure.errno != errno.EFBIG:
        return f"a file that is too large is told as {failure!r}"
    return "" if "ulimit -f" in str(failure) else f"not what to do: {failure}"


def _wrong(store: Any, location: Path, tags: list[int], numbers: int | None = None) -> str:
    """What is wrong with a store that is to hold these states, and nothing else."""
    found = [tag_of(holdfast.load(snapshot)) for snapshot in store.snapshots()]  # reads each in full
    if found != tags:
        return f"there are {found}, and {tags} were acknowledged"
    left = [name for name in os.listdir(location) if TEMPORARY_SUFFIX in name]
    if left:
        return f"temporary files are left: {left}"
    size = holdfast.load(store.latest())["weights"].size if numbers is None else numbers
    target, snapshot = store.resume(blank(size))
    return "" if snapshot is not None and tag_of(target) == tags[-1] else f"resumed from {snapshot}"
