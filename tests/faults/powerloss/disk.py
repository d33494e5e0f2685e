"""A disk that forgets: what was asked of a file system, and what of it a power cut leaves.

A log lists operations in order: changes of names and of data, barriers (fsync), and what the program acknowledged.
A Moment walks along a log, and can say at any place what would be on the disk after a cut there.

Models say what a barrier promises:

    strict     the least that POSIX allows: fsync of a file makes its data durable, fsync of a directory its names, and
               whatever no barrier covers survives in any combination
    journal    as ext4 and XFS do: any fsync also commits every earlier change of names, and these survive as a prefix

Policies say what becomes of the changes that no barrier covers:

    none       all are lost
    meta       names survive and data does not: the classic empty file
    sizes      names and sizes survive, and the new bytes are zeroes, as where room was given out before it was written
    data       data survives and names do not
    all        all survive: the process was killed, and the power stayed on
    rand:SEED  a random part survives; data is torn at blocks of 4 KiB

A rename is never seen half done. Modes, times and extended attributes are not kept.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Union

from faults.powerloss.operations import (
    ROOT,
    Ack,
    Change,
    FailedSync,
    Kind,
    Link,
    Mark,
    Operation,
    Rename,
    Sync,
    SyncDirectory,
    Truncate,
    Unlink,
    Write,
)

BLOCK_BYTES = 4096
MODELS = ("strict", "journal")
POLICIES = ("none", "meta", "sizes", "data", "all")

_OF_DATA = (Write, Truncate)
_BARRIERS = (Sync, SyncDirectory, FailedSync)


class File:
    """What a file holds; never changed, so that disks share it."""

    __slots__ = ("_digest", "data")

    def __init__(self, data: bytes = b"") -> None:
        self.data = data
        self._digest = b""

    @property
    def digest(self) -> bytes:
        """Tells contents apart."""
        if not self._digest:
            self._digest = blake2b(self.data, digest_size=16).digest()
        return self._digest


Directory = dict[str, int]
Node = Union[Directory, File, str]  # a str is where a symlink points


class Disk:
    """Inodes, and names that lead to them. A change is applied whatever was lost before it: missing inodes are made."""

    def __init__(self) -> None:
        self.nodes: dict[int, Node] = {ROOT: {}}

    def copy(self) -> Disk:
        """Another one that is the same, for now."""
        other = Disk()
        other.nodes = {inode: node.copy() if type(node) is dict else node for inode, node in self.nodes.items()}
        return other

    def apply(self, change: Change) -> None:
        """Carry out a change."""
        if isinstance(change, Write):
            self.put(change.inode, change.offset, change.data)
        elif isinstance(change, Truncate):
            data = self._file(change.inode).data[: change.size_bytes]
            self.nodes[change.inode] = File(data.ljust(change.size_bytes, b"\0"))
        elif isinstance(change, Link):
            self._make(change.inode, change.kind, change.target)
            self._directory(change.directory)[change.name] = change.inode
        elif isinstance(change, Unlink):
            self._directory(change.directory).pop(change.name, None)
        else:
            self._make(change.inode, change.kind)
            old = self._directory(change.old_directory)
            if old.get(change.old_name) == change.inode:
                del old[change.old_name]
            self._directory(change.directory)[change.name] = change.inode

    def put(self, inode: int, offset: int, data: bytes) -> None:
        """Write bytes into a file; what lies between its end and `offset` is zero."""
        old = self._file(inode).data
        self.nodes[inode] = File(b"".join((old[:offset].ljust(offset, b"\0"), data, old[offset + len(data) :])))

    def put_some(self, write: Write, chance: random.Random, most: float) -> None:
        """Write some of the blocks of a write, a part `most` of them; of others only the size is known."""
        data = bytearray(self._file(write.inode).data)
        for start, piece in _torn(write):
            fate = chance.random()
            if fate < most or fate > (1 + most) / 2:
                data.extend(bytes(max(0, start + len(piece) - len(data))))
            if fate < most:
                data[start : start + len(piece)] = piece
        self.nodes[write.inode] = File(bytes(data))

    def lengthen(self, inode: int, size_bytes: int) -> None:
        """Give a file at least this size, with zeroes."""
        data = self._file(inode).data
        if len(data) < size_bytes:
            self.nodes[inode] = File(data.ljust(size_bytes, b"\0"))

    def find(self, path: str) -> int | None:
        """The inode of a path; None where there is none."""
        inode = ROOT
        for name in path.split("/"):
            node = self.nodes[inode]
            if name:
                if not isinstance(node, dict) or name not in node:
                    return None
                inode = node[name]
        return inode

    def walk(self, inode: int = ROOT, path: str = "") -> Iterator[tuple[str, Node]]:
        """Everything that a name leads to, with its path, such as "/model/weights"; directories before what they hold,
        names in order."""
        directory = self._directory(inode)
        for name in sorted(directory):
            node = self.nodes[directory[name]]
            yield f"{path}/{name}", node
            if isinstance(node, dict):
                yield from self.walk(directory[name], f"{path}/{name}")

    def digest(self) -> bytes:
        """Tells trees apart: the same for the same names and contents."""
        found = blake2b(digest_size=16)
        for path, node in self.walk():
            what = node.digest if isinstance(node, File) else b"d" if isinstance(node, dict) else b"l" + node.encode()
            found.update(b"%s\0%d\0%s" % (path.encode("utf-8", "surrogateescape"), len(what), what))
        return found.digest()

    def _make(self, inode: int, kind: Kind, target: str = "") -> None:
        if inode not in self.nodes:
            self.nodes[inode] = {} if kind == "directory" else target if kind == "symlink" else File()

    def _directory(self, inode: int) -> Directory:
        node = self.nodes.setdefault(inode, {})
        assert isinstance(node, dict), f"inode {inode} is no directory"
        return node

    def _file(self, inode: int) -> File:
        node = self.nodes.setdefault(inode, File())
        assert isinstance(node, File), f"inode {inode} is no file"
        return node


class Moment:
    """One place of a log: what is durable there, and what no barrier covers.

    Attributes:
        acks: what was acknowledged up to here, in order.
    """

    def __init__(self, model: str) -> None:
        if model not in MODELS:
            raise ValueError(f"{model!r} is no model; there are {MODELS}")
        self.acks: list[str] = []
        self._has_journal = model == "journal"
        self._durable = Disk()
        self._pending: list[Change] = []

    def advance(self, operation: Operation) -> None:
        """Go beyond the next operation of the log."""
        if isinstance(operation, Ack):
            self.acks.append(operation.name)
        elif isinstance(operation, _BARRIERS):
            self._sync(operation)
        elif not isinstance(operation, Mark):
            self._pending.append(operation)

    def after_cut(self, policy: str) -> Disk:
        """What is on the disk once the power was cut here."""
        disk = self._durable.copy()
        if policy.startswith("rand:"):
            self._apply_some(disk, random.Random(policy))
            return disk
        if policy not in POLICIES:
            raise ValueError(f"{policy!r} is no policy; there are {POLICIES} and rand:SEED")
        for change in self._pending:
            if policy == "all" or policy == ("meta" if _is_of_names(change) else "data"):
                disk.apply(change)
            elif policy == "sizes":
                if isinstance(change, Write):
                    disk.lengthen(change.inode, change.offset + len(change.data))
                else:
                    disk.apply(change)
        return disk

    def _sync(self, barrier: Sync | SyncDirectory | FailedSync) -> None:
        left = []
        for change in self._pending:
            if not self._covers(barrier, change):
                left.append(change)
            elif not isinstance(barrier, FailedSync):
                self._durable.apply(change)
        self._pending = left

    def _covers(self, barrier: Sync | SyncDirectory | FailedSync, change: Change) -> bool:
        if isinstance(change, _OF_DATA):
            return not isinstance(barrier, SyncDirectory) and change.inode == barrier.inode
        if isinstance(barrier, FailedSync):
            return False
        if self._has_journal:
            return True
        directories = {change.directory, change.old_directory} if isinstance(change, Rename) else {change.directory}
        return isinstance(barrier, SyncDirectory) and barrier.inode in directories

    def _apply_some(self, disk: Disk, chance: random.Random) -> None:
        of_names, of_data = chance.random(), chance.random()  # how much of each survives
        last_name = chance.randint(0, sum(map(_is_of_names, self._pending)))  # in a journal
        names = 0
        for change in self._pending:
            if _is_of_names(change):
                names += 1
                survives = names <= last_name if self._has_journal else chance.random() < of_names
            else:
                survives = chance.random() < of_data
            if isinstance(change, Write):
                disk.put_some(change, chance, of_data)
            elif survives:
                disk.apply(change)


def survive(log: Iterable[Operation], model: str, policy: str) -> tuple[Disk, Sequence[str]]:
    """What a power cut after a log leaves, and what was acknowledged."""
    moment = Moment(model)
    for operation in log:
        moment.advance(operation)
    return moment.after_cut(policy), moment.acks


def _is_of_names(change: Change) -> bool:
    return not isinstance(change, _OF_DATA)


def _torn(write: Write) -> Iterator[tuple[int, bytes]]:
    """The parts of a write that lie in different blocks of the file."""
    end = write.offset + len(write.data)
    start = write.offset
    while start < end:
        stop = min(start - start % BLOCK_BYTES + BLOCK_BYTES, end)
        yield start, write.data[start - write.offset : stop - write.offset]
        start = stop
