"""Snapshots that are damaged on purpose, in every way, and what a resume makes of a store or an extension's files."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from faults.campaigns import Outcome, merge
from faults.r02_uses import Extension, Files, Store, Use, hdf5, npz, retained
from faults.r12_looking import Seen, logged, look
from holdfast.catalog import catalog
from holdfast.errors import DamagedError
from snapshots import TEMPLATE

SIZE = 600  # numbers in a state
NAMES = {tag: TEMPLATE.format(step=tag) for tag in (1, 2, 3, 4)}
Case = Mapping[int, str]  # which snapshots are damaged, by their tags, and how


def _flip(place: int) -> Callable[[bytes], bytes]:
    def damage(data: bytes) -> bytes:
        changed = bytearray(data)
        changed[place] ^= 4
        return bytes(changed)

    return damage


COPY = "a copy of another"
WAYS: dict[str, Callable[[bytes], bytes]] = {
    COPY: lambda data: data,  # of the other one
    "a bit of the first byte": _flip(0),
    "a bit in the middle": lambda data: _flip(len(data) // 2)(data),
    "a bit of the last leaf": _flip(-1),
    "a bit of the first leaf": _flip(4096),
    "a bit of the facts": _flip(130),
    "a bit of the length": _flip(1),
    "a bit of what makes it a snapshot file": _flip(20),
    "a bit of the tree": _flip(1500),
    "a bit of the padding": _flip(4090),
    "nothing is left": lambda data: b"",
    "half is left": lambda data: data[: len(data) // 2],
    "the last byte is gone": lambda data: data[:-1],
    "one byte more": lambda data: data + b"\0",
    "only zeroes": lambda data: bytes(len(data)),
    "the first block is zero": lambda data: bytes(4096) + data[4096:],
    "the last block is zero": lambda data: data[:-1024] + bytes(1024),
    "a text": lambda data: b"these are not the bytes that were here before\n" * 200,
}

OF_ANY_FORMAT = (
    "a bit in the middle", "a bit of the first byte", "nothing is left", "half is left", "only zeroes",
    "the first block is zero", "a text",
)  # fmt: skip
"""Those that are seen in a file of any format, whatever checksums it has."""


def damaged(ways: Sequence[str] = tuple(WAYS)) -> Outcome:
    """Resume from a store in which every subset of four snapshots is damaged, each way by itself."""
    return _of_a_store(dict.fromkeys(subset, way) for way, subset in itertools.product(ways, _subsets(NAMES)))


def mixed(seed: str, count: int) -> Outcome:
    """At least `count` resumes from a store in which snapshots are damaged in several ways at once."""
    chance = random.Random(seed)
    subsets, ways = _subsets(NAMES), list(WAYS)
    return _of_a_store({tag: chance.choice(ways) for tag in chance.choice(subsets)} for _ in range(-(-count // 2)))


def of_extensions() -> Outcome:
    """Resume as extensions do, from snapshot files, npz files and HDF5 files."""
    return merge(
        [
            _of_an_extension(retained, "", tuple(WAYS)),
            _of_an_extension(npz, ".npz", OF_ANY_FORMAT),
            _of_an_extension(hdf5, ".h5", OF_ANY_FORMAT),
        ]
    )


def _of_a_store(cases: Iterable[Case]) -> Outcome:
    def resumed(place: Path, case: Case) -> str:
        seen = look(str(place), partial(Store, str(place), SIZE, readonly=True))
        return judged(seen, place, case) or judged(_resumed(partial(Store, str(place), SIZE)), place, case)

    with scratch() as folder:
        save(Store(str(folder / "original"), SIZE), NAMES)
        return _tried(cases, folder, NAMES, resumed, resumes=2)


def _of_an_extension(files: Files, suffix: str, ways: Sequence[str]) -> Outcome:
    names = {tag: f"model_{tag}{suffix}" for tag in (1, 2)}

    def resumed(place: Path, case: Case) -> str:
        seen = _resumed(partial(Extension, str(place), SIZE, files=files))
        return judged(seen, place, case, names)

    cases = (dict.fromkeys(subset, way) for way, subset in itertools.product(ways, _subsets(names)))
    with scratch() as folder:
        save(Extension(str(folder / "original"), SIZE, files=files), names)
        return _tried(cases, folder, names, resumed)


def _tried(
    cases: Iterable[Case],
    folder: Path,
    names: Mapping[int, str],
    resumed: Callable[[Path, Case], str],
    resumes: int = 1,
) -> Outcome:
    """Damage a copy of what lies in `original`, for each case, and have it resumed from, `resumes` times."""
    tried, bad = 0, []
    for case in cases:
        catalog._highest.clear()
        place = folder / "damaged"
        damage(folder / "original", place, case, names)
        try:
            complaint = resumed(place, case)
        except Exception as error:  # noqa: BLE001  no resume may raise
            complaint = f"{type(error).__name__}: {error}"
        shutil.rmtree(place)
        tried += resumes
        if complaint:
            bad.append(f"{names[1]}...: {dict(case)}: {complaint}")
    return Outcome(tried, tuple(bad), len(bad))


def save(use: Use, tags: Iterable[int]) -> None:
    """Save a state of each tag."""
    try:
        for tag in tags:
            use.save(tag, lambda: None)
    finally:
        use.close()


def damage(original: Path, place: Path, case: Case, names: Mapping[int, str] = NAMES) -> None:
    """Copy files to a new folder, some of them damaged."""
    place.mkdir()
    tags = list(names)
    for tag, other in zip(tags, [*tags[1:], tags[0]], strict=True):
        way = case.get(tag)
        data = (original / names[other if way == COPY else tag]).read_bytes()
        (place / names[tag]).write_bytes(data if way is None else WAYS[way](data))


def judged(seen: Seen, place: Path, case: Case, names: Mapping[int, str] = NAMES) -> str:
    """What is wrong with a resume: "" where it took the newest whole one, and told of each that it passed over."""
    wanted = max(names.keys() - case.keys(), default=None)
    if (seen.tag, seen.is_refused) != (wanted, wanted is None):
        return f"{wanted} was to be taken, and this was done: {seen}"
    left = list(seen.lines)
    for tag in case:
        path = place / names[tag]
        lines = [line for line in seen.lines if line.startswith(f"passed over: {path}: ") and len(line.split(": ")) > 2]
        if len(lines) > 1 or (not lines and tag > (wanted or 0)):
            return f"{path.name} was passed over, and is told of in {lines}; all lines: {seen.lines}"
        left = [line for line in left if line not in lines]
    return f"lines about nothing that was passed over: {left}" if left else ""


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder in memory, where there is one."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


def _resumed(opened: Callable[[], Use]) -> Seen:
    """Resume, to go on from there."""
    tag, is_refused = None, False
    with logged() as lines:
        use = opened()
        try:
            tag = use.resume()
        except DamagedError:
            is_refused = True
        finally:
            use.close()
    return Seen(tag, is_refused, tuple(lines))


def _subsets(tags: Iterable[int]) -> list[tuple[int, ...]]:
    known = tuple(tags)
    return [subset for count in range(len(known) + 1) for subset in itertools.combinations(known, count)]
