"""R8: a hostile file costs one of holdfast's errors, and little else. And R9, while it is at it: no code runs.

Each file goes through the reader as a whole: format, tree, metadata, every checksum. Some go through the public
functions as well, from a file on the disk: load, restore, verify, info, and a store in which it lies. Memory is traced
for some; and what the process has grown by in the end is held against what the largest may take.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import resource
import shutil
import tracemalloc
from collections.abc import Callable
from contextlib import nullcontext, suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from faults import campaigns, fuzz_reader, hostile_files
from faults.audit import Watch
from faults.campaigns import Outcome, merge
from holdfast import HoldfastError, SnapshotStore, files
from holdfast.format import reader

PUBLIC, TRACED = 50, 50  # every so many files; not the same ones
WARM_UP = 300  # files, until everything of holdfast's is loaded
HEADER_TIMES, ROOM = 24, 16 << 20  # what reading may take beside the file
OWN = 32 << 20  # what the test itself may take beside it, for tracing above all
PROCESSES = 2
FUZZED_FROM = 100_000  # files; for fewer the fuzzer begins too slowly


def read(content: bytes) -> None:
    """All that a reader makes of a file."""
    with reader.parse(memoryview(content), "hostile") as opened:
        opened.tree()
        opened.metadata()
        if opened.format == "snapshot":
            opened.verify()


def use(content: bytes, folder: Path) -> None:
    """What the public functions make of it; the first error of holdfast's own ends that call and no other."""
    path = folder / "snapshot_00000007.safetensors"
    path.write_bytes(content)
    target: dict[str, Any] = {"w": np.zeros((3, 4), np.float32), "n": 0}
    calls: tuple[Callable[[], object], ...] = (
        lambda: files.load(path),
        lambda: files.restore(path, target, strict=False),
        lambda: files.verify(path),
        lambda: files.info(path),
        lambda: listed(folder),
    )
    for call in calls:
        with suppress(HoldfastError):
            call()


def listed(folder: Path) -> None:
    """What a store makes of it."""
    with SnapshotStore(folder, readonly=True) as store:
        store.snapshots()
        store.resume({"w": np.zeros((3, 4), np.float32)}, strict=False)


def allowed_bytes(content: bytes) -> int:
    """What reading it may take."""
    length = min(int.from_bytes(content[:8], "little"), len(content))
    return len(content) + HEADER_TIMES * length + ROOM


def attack(
    count: int, seed: int, folder: str, kinds: tuple[str, ...] | None = None, traced: int = TRACED
) -> tuple[Outcome, Outcome]:
    """So many files, in this process: what R8 and R9 say of them.

    Args:
        kinds: the names of those that are drawn; None: all.
        traced: memory is, for every so many files.
    """
    bad, ran, largest = [], [], 0.0
    place = Path(folder) / f"hostile-{seed}"
    place.mkdir()
    logging.getLogger("holdfast").setLevel(logging.CRITICAL)  # each resume says what it passes over
    watch = Watch()
    drawn = hostile_files.files(seed, kinds)
    resident, most = _resident_bytes(), 0
    for number in range(-WARM_UP, count):
        if number == 0:
            resident, most = _resident_bytes(), 0
        kind, content = next(drawn)
        most = max(most, allowed_bytes(content))
        what = f"{kind} (file {number} of seed {seed})"
        is_traced = number % traced == 0
        if is_traced:
            tracemalloc.start()
        try:
            with watch if number >= 0 else nullcontext():
                _load(content, place if number < 0 or number % PUBLIC == PUBLIC // 2 else None)
        except Exception as error:  # noqa: BLE001  every other kind is what this looks for
            bad.append(f"{what}: {type(error).__name__}: {error}")
        if is_traced:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            largest = max(largest, peak / allowed_bytes(content))
            if peak > allowed_bytes(content):
                bad.append(f"{what}: {peak} bytes of memory for {len(content)}")
        if watch.seen:
            ran.append(f"{what}: {', '.join(watch.seen)}")
            watch.seen.clear()
    shutil.rmtree(place)
    grown = _resident_bytes() - resident
    if grown > most + OWN:
        bad.append(f"the process of seed {seed} grew by {grown} bytes, and no file may take more than {most}")
    notes = f"at most {largest:.2f} of the memory allowed; the process grew by {grown >> 20} MiB"
    return Outcome(count, tuple(bad), notes=notes), Outcome(count, tuple(ran))


def _resident_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def _load(content: bytes, folder: Path | None) -> None:
    with suppress(HoldfastError):
        read(content)
    if folder is not None:
        use(content, folder)


@cache  # the suite asks for each of the two
def both(count: int, seed: int, folder: Path) -> tuple[Outcome, Outcome]:
    """What R8 and R9 say of `count` files."""
    share = -(-count // PROCESSES)
    jobs = [(share, PROCESSES * seed + number, os.fspath(folder)) for number in range(PROCESSES)]
    of_8, of_9 = zip(*campaigns.in_processes(attack, jobs), strict=True)
    return merge(of_8), merge(of_9)


def campaign(count: int, *, seed: int = 0, folder: Path) -> Outcome:
    """`count` files, and where there is atheris, and they are many, a fifth more that it draws."""
    of_8, of_9 = both(count, seed, folder)
    found = [of_8]
    if count >= FUZZED_FROM and fuzz_reader.is_available():
        found += campaigns.in_processes(
            fuzz_reader.fuzz, [(count // 10, 2 * seed + number, folder) for number in (0, 1)]
        )
    return dataclasses.replace(merge(found), others={"R9": of_9})
