"""Leaves against their checksums, in several threads: each brings bytes into memory and hashes them."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import xxhash

from holdfast import crew
from holdfast.errors import DamagedError
from holdfast.format.source import BLOCK_BYTES, Source
from holdfast.state.tree import Leaf

GROUP_BYTES = 8 << 20  # hashed by one thread before it takes the next group
SMALL_BYTES = 16 << 10  # hashing leaves no longer than this keeps the interpreter busy, and threads in each other's way
_UNREADABLE = "cannot be read from the disk"

Task = Callable[[], object]


DIGEST_BYTES = 16  # xxh3-128


@dataclass(frozen=True, slots=True)
class Sums:
    """What the bytes of leaves must hash to; the leaves stand one behind the other.

    Columns, and no object for each: tens of thousands would scatter in memory.
    """

    start: int  # of the first leaf, in bytes from the start of the file
    leaves: Sequence[Leaf]
    digests: bytes  # DIGEST_BYTES a leaf


NO_SUMS = Sums(0, (), b"")


@dataclass(frozen=True, slots=True)
class _Group:
    """Leaves of some Sums that are checked by one thread, one behind the other."""

    first: int  # their numbers
    last: int
    start: int  # bytes from the start of the file
    stop: int


def check(source: Source, sums: Sums, wanted: Container[Leaf] | None, where: str) -> None:
    """Compare every byte of some leaves with their checksums; all of them are in memory then.

    Args:
        source: the file; the leaves look into its memory.
        sums: of all leaves of the file.
        wanted: the leaves to look at; None: all.
        where: what messages call the file.
    Raises:
        DamagedError: a leaf does not match or cannot be read; named, with its byte range.
    """
    groups = list(_groups(sums, wanted))
    tasks: list[Task] = [partial(_check_group, source, sums, group, where) for group in groups]
    total = sum([group.stop - group.start for group in groups])
    count = sum([group.last - group.first for group in groups])
    threads = source.threads
    if total < GROUP_BYTES or (total < SMALL_BYTES * count and not source.is_slow):
        threads = 1
    elif source.is_slow:
        tasks += _ahead(source, sums, groups)
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


def _groups(sums: Sums, wanted: Container[Leaf] | None) -> Iterator[_Group]:
    """Leaves that stand together in the file, so many that each group is worth a thread's while."""
    first, start, at = 0, sums.start, sums.start
    number = -1
    for number, leaf in enumerate(sums.leaves):
        skipped = wanted is not None and leaf not in wanted
        if number > first and (skipped or at - start >= GROUP_BYTES):
            yield _Group(first, number, start, at)
            first, start = number, at
        at += leaf.nbytes
        if skipped:
            first, start = number + 1, at
    if first <= number:
        yield _Group(first, number + 1, start, at)


def _ahead(source: Source, sums: Sums, groups: list[_Group]) -> Iterator[Task]:
    """For threads that find nothing to hash: one large leaf alone must not be read by one thread."""
    for group in groups:
        start = group.start
        for leaf in sums.leaves[group.first : group.last]:
            for at in range(start, start + leaf.nbytes, BLOCK_BYTES) if leaf.nbytes > BLOCK_BYTES else ():
                yield partial(_bring_ahead, source, at, min(at + BLOCK_BYTES, start + leaf.nbytes))
            start += leaf.nbytes


def _bring_ahead(source: Source, start: int, stop: int) -> None:
    with suppress(OSError):  # whoever hashes these bytes says which leaf they are of
        source.bring(start, stop)


def _check_group(source: Source, sums: Sums, group: _Group, where: str) -> None:
    there = group.stop - group.start <= max(BLOCK_BYTES, 2 * GROUP_BYTES)
    if there:
        try:
            source.bring(group.start, group.stop)
        except OSError:
            there = False  # of which leaf it is, is found out below
    memory, digests, digest_of = source.memory.data, sums.digests, xxhash.xxh3_128_digest
    start, at = group.start, group.first * DIGEST_BYTES
    for leaf in sums.leaves[group.first : group.last]:
        stop = start + leaf.nbytes
        if there:
            found = digest_of(memory[start:stop])
        else:
            try:
                found = _hash(source, start, stop)
            except OSError:
                raise leaf_damage(where, leaf, start, _UNREADABLE) from None
        digest = digests[at : at + DIGEST_BYTES]
        if found != digest:
            raise leaf_damage(where, leaf, start)
        start, at = stop, at + DIGEST_BYTES


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
