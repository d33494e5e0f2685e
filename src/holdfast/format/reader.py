"""Opens the files that holdfast reads: snapshot files, plain safetensors files, npz archives. Recognised by content.

A file is mapped and never written to; what it says is checked before it is believed, and nothing of it is ever run. The
bytes of a snapshot file's leaves are believed once verify() returned.
"""

from __future__ import annotations

import errno
import mmap
import os
import platform
import stat
import sys
from collections.abc import Iterable
from functools import partial
from types import TracebackType
from typing import Any, BinaryIO, Union

import numpy as np
import xxhash

from holdfast.errors import UnknownFormatError
from holdfast.format import safetensors_file, snapshot_file
from holdfast.format.prefix import (
    PAGE,
    PREFIX,
    Facts,
    header_damage,
    header_length,
    is_snapshot,
    read_facts,
    resembles_snapshot,
)
from holdfast.snapshot import Json, Snapshot
from holdfast.state.arrays import Bytes
from holdfast.state.tree import Leaf, StateTree

StrPath = Union[str, "os.PathLike[str]"]

_NO_RESERVE: int = getattr(  # Python has it from 3.13 on
    mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64") else 0
)
_POPULATE_READ = 22  # madvise(2); Python has no name for it
_UNREADABLE = "cannot be read from the disk"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # the second begins an empty archive


class SnapshotFile:
    """One file, opened for reading; its header is read when it is asked for.

    A context manager: leaving it drops its reference to the file's memory. Arrays that still look into that keep it.
    """

    def __init__(self, memory: Bytes, where: str, mapped: Any = None) -> None:
        """
        Args:
            memory: the whole file; read-only.
            where: what messages call it.
            mapped: the mmap that the memory is of, where it is of one.
        Raises:
            DamagedError: it is, or may have been, a snapshot file, and its first 4 KiB are not whole.
            UnknownFormatError: it is of no format that holdfast reads.
        """
        self._mapped = mapped
        if not self._is_readable(0, PAGE):
            raise header_damage(where, PAGE, _UNREADABLE)
        page = memory[:PAGE].tobytes()
        self.where = where
        self.size_bytes = len(memory)
        self.format = _recognise(page, where)  # "snapshot", "safetensors" or "npz"
        self.facts: Facts | None = read_facts(page, len(memory), where) if self.format == "snapshot" else None
        self._memory: Bytes | None = memory
        self._header: snapshot_file.Header | None = None
        self._tree: StateTree | None = None
        self._places: dict[Leaf, snapshot_file.Place] = {}
        self._metadata: dict[str, Json] = {}

    def __enter__(self) -> SnapshotFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._memory = self._mapped = self._header = self._tree = None
        self._places = {}

    def metadata(self) -> dict[str, Json]:
        """What the user stored beside the state; a safetensors file's own metadata; nothing in an npz archive.

        Raises:
            DamagedError: the header does not match its checksum, or is no header.
        """
        if self.format == "snapshot":
            return snapshot_file.read_metadata(self._checked_header())
        self.tree()
        return dict(self._metadata)

    def tree(self) -> StateTree:
        """The state tree, read once. Each leaf's source is uint8 memory of shape (nbytes,), read-only, in C order.

        The header's sum is verified here, whether or not the caller verifies the leaves. Of a file without a tree of
        its own (safetensors, npz) the root is a branch "untyped" with every stored name as a key. An npz archive is
        unpacked, and its own checksums are compared.

        Raises:
            DamagedError: the header does not match its checksum, or is no header; an npz archive is not whole.
            UnknownFormatError: it holds a dtype, or a kind of member, that holdfast does not read.
        """
        if self._tree is None:
            self._tree = self._read()
        return self._tree

    def verify(self, leaves: Iterable[Leaf] | None = None) -> None:
        """Compare every byte of some leaves with their checksums; only snapshot files have them.

        Args:
            leaves: of this file's tree; all, where None.
        Raises:
            DamagedError: one does not match or cannot be read (named, with its byte range in the file), or the header.
        """
        self.tree()
        if self.format != "snapshot":
            return
        for leaf in self._places if leaves is None else leaves:
            place = self._places[leaf]
            if not self._is_readable(place.start, leaf.nbytes):
                raise snapshot_file.leaf_damage(self.where, leaf, place.start, _UNREADABLE)
            if xxhash.xxh3_128_digest(leaf.source) != place.digest:
                raise snapshot_file.leaf_damage(self.where, leaf, place.start)

    def _read(self) -> StateTree:
        if self.format == "snapshot":
            tree, self._places = snapshot_file.read_tree(self._checked_header(), self._open_memory())
        elif self.format == "safetensors":
            tree, self._metadata = safetensors_file.parse(self._open_memory(), self.where)
        else:
            from holdfast.format import npz  # zipfile takes longer to import than all of holdfast

            tree = npz.parse(self._open_memory(), self.where)
        return tree

    def _checked_header(self) -> snapshot_file.Header:
        if self._header is None:
            memory = self._open_memory()
            length = header_length(memory[:PAGE].tobytes(), self.size_bytes, self.where)
            if not self._is_readable(0, length):
                raise header_damage(self.where, length, _UNREADABLE)
            self._header = snapshot_file.read_header(memory, self.where)
        return self._header

    def _is_readable(self, start: int, size_bytes: int) -> bool:
        """Whether the disk gives these bytes of the file; touching those that it does not give kills the process."""
        if not hasattr(self._mapped, "madvise") or sys.platform != "linux" or not size_bytes:
            return True  # of other systems nothing is known
        begin = start - start % mmap.PAGESIZE
        try:
            self._mapped.madvise(_POPULATE_READ, begin, start + size_bytes - begin)
        except OSError as error:
            return error.errno == errno.EINVAL  # before Linux 5.14 nothing is known either
        return True

    def _open_memory(self) -> Bytes:
        if self._memory is None:
            raise ValueError(f"{self.where}: was read after its `with` block was left; open it again")
        return self._memory


def open_file(path: StrPath, *, writable: bool = False) -> SnapshotFile:
    """Map a local file of any of the three formats.

    Args:
        writable: others than numpy may write to the memory behind its leaves, and keep what they write; the file never
            changes.
    Raises:
        DamagedError: it is, or may have been, a snapshot file, and its first 4 KiB are not whole.
        UnknownFormatError: it is of no format that holdfast reads.
        OSError: it cannot be opened.
    """
    with _open(path) as file:
        size = os.fstat(file.fileno()).st_size
        memory = _map(file.fileno(), writable) if size else memoryview(b"")  # nothing cannot be mapped
    return SnapshotFile(_bytes(memory), os.fspath(path), memory.obj)


def parse(buffer: memoryview, where: str) -> SnapshotFile:
    """The same over memory, which is looked into and not copied.

    Args:
        buffer: the whole file; it must not change while arrays look into it.
        where: what messages call it.
    """
    return SnapshotFile(_bytes(buffer), where)


def _bytes(buffer: memoryview) -> Bytes:
    return np.frombuffer(buffer.toreadonly(), np.uint8)


def info(path: StrPath) -> Snapshot:
    """What the header of a snapshot file says of it; only the first 4 KiB are read.

    Raises:
        DamagedError: these are not whole, or the file is not as long as they say.
        UnknownFormatError: it is no snapshot file, or of a newer version.
        OSError: it cannot be opened.
    """
    with _open(path) as file:
        page, size = file.read(PAGE), os.fstat(file.fileno()).st_size
    facts = read_facts(page, size, os.fspath(path))
    location, name = os.path.split(os.path.abspath(path))
    return as_snapshot(facts, location, name, size)


def as_snapshot(facts: Facts, location: str, name: str, size_bytes: int) -> Snapshot:
    """The public face of a file's facts; its metadata is read from the file when it is asked for.

    Args:
        location: the directory that holds the file.
        name: the file's name there, whatever the facts say.
    """
    return Snapshot(
        name=name,
        location=location,
        step=facts.step,
        epoch=facts.epoch,
        metrics=facts.metrics,
        reason=facts.reason,
        created_at=facts.created_at,
        size_bytes=size_bytes,
        run_id=facts.run_id,
        sequence=facts.sequence,
        role=facts.role,
        template=facts.template,
        library=facts.library,
        _read_metadata=partial(_metadata_of, os.path.join(location, name), facts),
    )


def _metadata_of(path: str, facts: Facts) -> dict[str, Json]:
    with open_file(path) as file:
        found = file.facts
        if found is None or (found.run_id, found.sequence, found.created_at) != (
            facts.run_id,
            facts.sequence,
            facts.created_at,
        ):
            raise FileNotFoundError(f"{path}: is another snapshot by now; this one was replaced")
        return file.metadata()


def _recognise(page: bytes, where: str) -> str:
    if is_snapshot(page):
        return "snapshot"
    if page.startswith(_ZIP):
        return "npz"
    if not resembles_snapshot(page) and safetensors_file.is_safetensors(page):
        return "safetensors"
    if resembles_snapshot(page) or len(page) < 2 * PREFIX.size:
        return "snapshot"  # whatever is left of one: reading its facts says what is wrong
    raise UnknownFormatError(
        f"{where}: is of no format that holdfast reads: snapshot files, safetensors files, npz archives of arrays. It "
        f"begins with {page[:16]!r}; read it with the library that wrote it"
    )


def _open(path: StrPath) -> BinaryIO:
    where = os.fspath(path)
    mode = os.stat(where).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # opening a pipe would wait for ever
        raise UnknownFormatError(f"{where}: is no regular file; copy what it holds into one")
    return open(where, "rb", buffering=PAGE)


def _map(descriptor: int, writable: bool) -> memoryview:
    """The whole file, private (FUSE refuses shared maps)."""
    if not hasattr(mmap, "MAP_PRIVATE"):
        return memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY if writable else mmap.ACCESS_READ))
    if not writable:
        return memoryview(mmap.mmap(descriptor, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ))
    # Linux would keep memory free for a write to every page, and refuse to map a file that is larger than memory.
    flags = mmap.MAP_PRIVATE | _NO_RESERVE
    return memoryview(mmap.mmap(descriptor, 0, flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE))
