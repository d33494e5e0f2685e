"""Leaves against their checksums, in several threads: each brings bytes into memory and hashes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple

import xxhash

from holdfast import crew
from holdfast.errors import DamagedError
from holdfast.format.source import BLOCK_BYTES, Source
from holdfast.state.tree import Leaf

GROUP_BYTES = 8 << 20  # hashed by one thread before it takes the next group
SMALL_BYTES = 16 << 10  # hashing leaves no longer than this keeps the interpreter busy, and threads in each other's way
_UNREADABLE = "cannot be read from the disk"

Task = Callable[[], object]


class Sum(NamedTuple):
    """What the bytes of a leaf must hash to."""

    start: int  # bytes from the start of the file
    leaf: Leaf
    digest: bytes  # xxh3-128


def check(source: Source, sums: Sequence[Sum], where: str) -> None:
    """Compare every byte of some leaves with their checksums; all of them are in memory then.

    Args:
        source: the file; the leaves look into its memory.
        sums: in the order in which the leaves stand in the file.
        where: what messages call the file.
    Raises:
        DamagedError: a leaf does not match or cannot be read; named, with its byte range.
    """
    groups = list(_groups(sums))
    tasks: list[Task] = [partial(_check_group, source, group, where) for group in groups]
    total = sum([one.leaf.nbytes for one in sums])
    threads = source.threads
    if total < GROUP_BYTES or (total < SMALL_BYTES * len(sums) and not source.is_slow):
        threads = 1
    elif source.is_slow:
        tasks += _ahead(source, groups)
    crew.run(tasks, threads)


def bring_all(source: Source, where: str) -> None:
    """Have a file in memory that has no checksums.

    Raises:
        DamagedError: the disk does not give all of it.
    """
    size = len(source.memory)
    try:
        crew.run(
            [partial(source.bring, at, min(at + BLOCK_BYTES, size)) for at in range(0, size, BLOCK_BYTES)],
            source.threads,
        )
    except OSError as error:
        raise DamagedError(f"{where}: {_UNREADABLE} ({error}); use another copy of the file") from None


def _groups(sums: Sequence[Sum]) -> Iterator[list[Sum]]:
    """Leaves that stand together in the file, so many that each group is worth a thread's while."""
    first, start, stop = 0, 0, 0
    for number, (begin, leaf, _) in enumerate(sums):
        if number > first and (begin - start >= GROUP_BYTES or begin != stop):
            yield list(sums[first:number])
            first = number
        if number == first:
            start = begin
        stop = begin + leaf.nbytes
    if sums:
        yield list(sums[first:])


def _ahead(source: Source, groups: list[list[Sum]]) -> Iterator[Task]:
    """For threads that find nothing to hash: one large leaf alone must not be read by one thread."""
    for group in groups:
        for start, leaf, _ in group:
            for at in range(start, start + leaf.nbytes, BLOCK_BYTES) if leaf.nbytes > BLOCK_BYTES else ():
                yield partial(_bring_ahead, source, at, min(at + BLOCK_BYTES, start + leaf.nbytes))


def _bring_ahead(source: Source, start: int, stop: int) -> None:
    with suppress(OSError):  # whoever hashes these bytes says which leaf they are of
        source.bring(start, stop)


def _check_group(source: Source, group: list[Sum], where: str) -> None:
    start, _, _ = group[0]
    last, leaf, _ = group[-1]
    there = last + leaf.nbytes - start <= max(BLOCK_BYTES, 2 * GROUP_BYTES)
    if there:
        try:
            source.bring(start, last + leaf.nbytes)
        except OSError:
            there = False  # of which leaf it is, is found out below
    digest_of = xxhash.xxh3_128_digest
    for start, leaf, digest in group:
        if there:
            found = digest_of(leaf.source)
        else:
            try:
                found = _hash(source, start, start + leaf.nbytes)
            except OSError:
                raise leaf_damage(where, leaf, start, _UNREADABLE) from None
        if found != digest:
            raise leaf_damage(where, leaf, start)


def _hash(source: Source, start: int, stop: int) -> bytes:
    """Of a long stretch, block by block as they come."""
    hasher = xxhash.xxh3_128()
    while start < stop:
        end = min(start - start % BLOCK_BYTES + BLOCK_BYTES, stop)
        source.bring(start, end)
        hasher.update(source.memory[start:end].data)
        start = end
    return hasher.digest()


def leaf_damage(where: str, leaf: Leaf, start: int, what: str = "does not match its checksum") -> DamagedError:
    """The error for a leaf whose bytes are not those that were written."""
    return DamagedError(
        f"{where}: the leaf {leaf.path!r} (bytes {start}-{start + leaf.nbytes - 1}) {what}; the file is damaged, use "
        "an older snapshot"
    )
