"""Opens the files that holdfast reads: snapshot files, plain safetensors files, npz archives. Recognised by content.

A file is never written to; what it says is checked before it is believed, and nothing of it is ever run. The
bytes of a snapshot file's leaves are believed once verify() returned.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from functools import partial
from types import TracebackType
from typing import BinaryIO, Union

import numpy as np

from holdfast.errors import UnknownFormatError
from holdfast.format import safetensors_file, snapshot_file
from holdfast.format.checking import NO_SUMS, bring_all, check
from holdfast.format.prefix import Facts, header_damage, header_length, is_snapshot, read_facts, resembles_snapshot
from holdfast.format.source import Source, open_source
from holdfast.format.sums import PAGE, PREFIX
from holdfast.memory import Memory
from holdfast.snapshot import Json, Snapshot
from holdfast.state.tree import Leaf, StateTree

StrPath = Union[str, "os.PathLike[str]"]

_UNREADABLE = "cannot be read from the disk"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # the second begins an empty archive
_HDF5 = b"\x89HDF\r\n\x1a\n"


class SnapshotFile:
    """One file, opened for reading; its header is read when it is asked for.

    A context manager: leaving it drops its reference to the file's memory. Arrays that still look into that keep it.
    """

    def __init__(self, source: Source, where: str) -> None:
        """
        Args:
            source: the file.
            where: what messages call it.
        Raises:
            DamagedError: it is, or may have been, a snapshot file, and its first 4 KiB are not whole.
            UnknownFormatError: it is of no format that holdfast reads.
        """
        size = len(source.memory)
        try:
            source.bring(0, min(PAGE, size))
        except OSError:
            raise header_damage(where, PAGE, _UNREADABLE) from None
        page = source.memory[:PAGE].tobytes()
        self.where = where
        self.size_bytes = size
        self.format = _recognise(page, where)  # "snapshot", "safetensors" or "npz"
        self.facts: Facts | None = read_facts(page, size, where) if self.format == "snapshot" else None
        self._source: Source | None = source
        self._header: snapshot_file.Header | None = None
        self._tree: StateTree | None = None
        self._sums = NO_SUMS
        self._metadata: dict[str, Json] = {}

    def __enter__(self) -> SnapshotFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        source, self._source = self._source, None
        self._header = self._tree = None
        self._sums = NO_SUMS
        if source is not None:
            source.close()

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
        wanted = None if leaves is None else set(leaves)
        check(self._open_source(), self._sums, wanted, self.where)

    def _read(self) -> StateTree:
        source = self._open_source()
        if self.format == "snapshot":
            tree, self._sums = snapshot_file.read_tree(self._checked_header(), source.memory)
            return tree
        if source.is_slow or self.format == "npz":  # all of an archive is read now
            bring_all(source, self.where)
        if self.format == "safetensors":
            tree, self._metadata = safetensors_file.parse(source.memory, self.where)
        else:
            from holdfast.format import npz  # zipfile takes longer to import than all of holdfast

            tree = npz.parse(source.memory, self.where)
        return tree

    def _checked_header(self) -> snapshot_file.Header:
        if self._header is None:
            source = self._open_source()
            length = header_length(source.memory[:PAGE].tobytes(), self.size_bytes, self.where)
            try:
                source.bring(0, length)
            except OSError:
                raise header_damage(self.where, length, _UNREADABLE) from None
            self._header = snapshot_file.read_header(source.memory, self.where)
        return self._header

    def _open_source(self) -> Source:
        if self._source is None:
            raise ValueError(f"{self.where}: was read after its `with` block was left; open it again")
        return self._source


def open_file(
    path: StrPath, *, writable: bool = False, whole: bool = False, room: Memory | None = None
) -> SnapshotFile:
    """Open a local file of any of the three formats: mapped, unless `whole` allows better.

    Args:
        writable: others than numpy may write to the memory behind its leaves, and keep what they write; the file never
            changes.
        whole: all of it is going to be read and verified, and nothing looks into its memory after the `with` block:
            what is not in the page cache is then read past it.
        room: memory for that; it grows where it is too small. None: some is taken for as long as the file is open.
    Raises:
        DamagedError: it is, or may have been, a snapshot file, and its first 4 KiB are not whole.
        UnknownFormatError: it is of no format that holdfast reads.
        OSError: it cannot be opened.
    """
    where = os.fspath(path)
    with _open(where) as file:
        source = open_source(where, file.fileno(), whole=whole, writable=writable, room=room)
    try:
        return SnapshotFile(source, where)
    except BaseException:
        source.close()
        raise


def parse(buffer: memoryview, where: str) -> SnapshotFile:
    """The same over memory, which is looked into and not copied.

    Args:
        buffer: the whole file; it must not change while arrays look into it.
        where: what messages call it.
    """
    return SnapshotFile(Source(np.frombuffer(buffer.toreadonly(), np.uint8)), where)


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
    way_out = "read it with the library that wrote it"
    if page.startswith(_HDF5):
        way_out = "it is an HDF5 file, which holdfast.serializers.load_hdf5 reads if Chainer or save_hdf5 wrote it"
    raise UnknownFormatError(
        f"{where}: is of no format that holdfast reads: snapshot files, safetensors files, npz archives of arrays. It "
        f"begins with {page[:16]!r}; {way_out}"
    )


def _open(path: StrPath) -> BinaryIO:
    where = os.fspath(path)
    mode = os.stat(where).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # opening a pipe would wait for ever
        raise UnknownFormatError(f"{where}: is no regular file; copy what it holds into one")
    return open(where, "rb", buffering=PAGE)
