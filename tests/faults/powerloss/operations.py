"""What a log consists of: changes of names and of data, barriers (fsync), and what the program acknowledged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Union

ROOT = 1  # the inode of the topmost directory

Kind = Literal["file", "directory", "symlink"]


@dataclass(frozen=True, slots=True)
class Link:
    """A name appears: of something new, or (a hard link) of a file that has one."""

    directory: int
    name: str
    inode: int
    kind: Kind
    target: str = ""  # of a symlink


@dataclass(frozen=True, slots=True)
class Unlink:
    """A name goes."""

    directory: int
    name: str


@dataclass(frozen=True, slots=True)
class Rename:
    """A name moves, and replaces what has the new one."""

    old_directory: int
    old_name: str
    directory: int
    name: str
    inode: int
    kind: Kind


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes of a file, from `offset` on."""

    inode: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Truncate:
    """A file is cut, or made longer by zeroes."""

    inode: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Sync:
    """A barrier: fsync of a file."""

    inode: int


@dataclass(frozen=True, slots=True)
class SyncDirectory:
    """A barrier: fsync of a directory."""

    inode: int


@dataclass(frozen=True, slots=True)
class FailedSync:
    """An fsync that returned an error: the file's data that was not yet durable never will be, whatever comes later."""

    inode: int


@dataclass(frozen=True, slots=True)
class Ack:
    """The program says that something is committed: from here on it must survive."""

    name: str


@dataclass(frozen=True, slots=True)
class Mark:
    """What is before it built the disk that the log begins with; cuts are made after it."""


Change = Union[Link, Unlink, Rename, Write, Truncate]
Operation = Union[Change, Sync, SyncDirectory, FailedSync, Ack, Mark]
