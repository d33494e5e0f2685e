"""Logs as files: a line of JSON for each operation, such as ["Write", 5, 0, "aGVsbG8="]."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from dataclasses import fields
from os import PathLike
from typing import Any

from faults.powerloss.disk import Disk, File
from faults.powerloss.operations import (
    ROOT,
    Ack,
    FailedSync,
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

_KINDS: dict[str, type] = {
    kind.__name__: kind for kind in (Link, Unlink, Rename, Write, Truncate, Sync, SyncDirectory, FailedSync, Ack, Mark)
}


def write_log(path: str | PathLike[str], log: Iterable[Operation]) -> None:
    """Write a log into a file."""
    with open(path, "w", encoding="ascii") as file:
        for operation in log:
            values = [getattr(operation, field.name) for field in fields(operation)]
            file.write(json.dumps([type(operation).__name__, *map(_packed, values)]) + "\n")


def read_log(path: str | PathLike[str]) -> list[Operation]:
    """The log of a file that write_log() made."""
    log: list[Operation] = []
    with open(path, encoding="ascii") as file:
        for line in file:
            name, *values = json.loads(line)
            if name == Write.__name__:
                values[-1] = base64.b64decode(values[-1])
            log.append(_KINDS[name](*values))
    return log


def founded_on(disk: Disk, acks: Iterable[str]) -> list[Operation]:
    """A log that begins with a disk, all of it durable, and with what was acknowledged before."""
    log: list[Operation] = []
    directories = [ROOT]
    while directories:
        directory = directories.pop()
        names = disk.nodes[directory]
        assert isinstance(names, dict)
        for name, inode in names.items():
            node = disk.nodes[inode]
            if isinstance(node, dict):
                log.append(Link(directory, name, inode, "directory"))
                directories.append(inode)
            elif isinstance(node, File):
                log += [Link(directory, name, inode, "file"), Write(inode, 0, node.data), Sync(inode)]
            else:
                log.append(Link(directory, name, inode, "symlink", node))
        log.append(SyncDirectory(directory))
    return [*log, *map(Ack, acks), Mark()]


def _packed(value: Any) -> Any:
    return base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else value
