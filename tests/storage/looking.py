"""What tests look at: the files of a directory, the descriptors of this process, the calls of a save."""

from __future__ import annotations

import os
import re

from storage.conformance import NEW, put


def files(directory):
    """Every name below a directory, temporary and hidden ones too."""
    return sorted(
        str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_symlink() or not path.is_dir()
    )


def descriptors():
    """The descriptors that this process has open, and on what."""
    return {fd: _target(fd) for fd in os.listdir("/proc/self/fd")} | {"count": len(os.listdir("/proc/self/fd"))}


def _target(fd):
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except FileNotFoundError:  # the one that listdir itself had open
        return ""


def told(calls, directory):
    """The recorded calls that a commit's order is about, with TEMPORARY for the temporary file; none outside."""
    lines = []
    for call in calls:
        place = os.path.relpath(call.path, directory) if call.path.startswith(str(directory)) else None
        if place is not None and call.name in ("mkdir", "pwrite", "fsync", "close", "rename", "unlink"):
            place = re.sub(r"\.[0-9a-f]{16}\.holdfast-tmp", "TEMPORARY", place)
            lines.append(f"{call.name} {place}")
    return lines


def save(storage, name="model", data=NEW):
    """A commit in two pieces, as the sweeps below repeat it."""
    put(storage, name, data)


def calls_of_a_save(faults, storage):
    with faults.record() as calls:
        save(storage)
    return [tuple(call) for call in calls]
