"""Where bytes go: what every storage offers. It knows nothing of trees, snapshots or formats."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, Union

Buffer = Union[bytes, bytearray, memoryview]

LOCK_NAME = ".holdfast-lock"
TEMPORARY_SUFFIX = ".holdfast-tmp"


@dataclass(frozen=True, slots=True)
class Entry:
    """One committed name of a storage."""

    name: str  # relative to the storage, components joined by "/"
    size_bytes: int


class Upload(Protocol):
    """One name being written. Nothing is visible under the name before commit() returned, and nothing of it ever is
    where commit() was not reached. After either end only abort() may be called again, and does nothing."""

    def write(self, offset: int, buffer: Buffer) -> None:
        """Put the whole of `buffer` at `offset` bytes; from any thread; every byte must be written exactly once.

        Args:
            buffer: C-contiguous; it is not copied, and may be changed again once this returns.
        Raises:
            ValueError: it reaches beyond the size that the upload was created with.
            CommitError: the bytes could not be taken; the upload is aborted.
        """

    def commit(self) -> None:
        """Make the bytes durable, then the name; once this returns neither can be lost. An older name is replaced.

        Raises:
            CommitError: the name is as it was before (where that is unknown, the message says so); nothing is left
                behind.
        """

    def abort(self) -> None:
        """Drop what was written. Never raises for what a failing disk does."""


class Storage(Protocol):
    """A flat map from names to bytes; any method may be called from any thread.

    A name is one or more components joined by "/"; check_name() says which are refused, with a ValueError, everywhere.
    A new storage is finished when tests/storage/conformance.py passes for it.
    """

    @property
    def location(self) -> str:
        """What a user calls this place: a directory's path, a bucket's URL."""

    def create(self, name: str, size_bytes: int) -> Upload:
        """Begin to write `size_bytes` bytes under `name`, which may exist already and stays whole until commit().

        Raises:
            ValueError: `name` is absolute, empty, or leads out of the storage.
            CommitError: it could not be begun; no file is left behind.
        """

    def read(self, name: str, offset: int, size_bytes: int) -> bytes:
        """At most `size_bytes` bytes from `offset` on; fewer only at the end of the file.

        Raises:
            FileNotFoundError: there is no such name.
        """

    def stat(self, name: str) -> Entry:
        """What is under `name`. Raises FileNotFoundError where there is nothing."""

    def list(self, depth: int = 1) -> Iterator[Entry]:
        """Every regular file whose name has `depth` components, in no order; holdfast's own files are left out."""

    def remove(self, name: str) -> None:
        """Remove a name durably; a missing one is no error. Raises CommitError where it cannot be removed."""

    def sweep(self, depth: int = 1) -> Sequence[str]:
        """Remove what dead writers left of names with up to `depth` components; never what a living one is writing.

        Returns:
            The names of what was removed. What cannot be removed is logged, and no error.
        """


def is_reserved(name: str) -> bool:
    """Whether holdfast keeps a file name (a last component) for its locks and for what is still being written.

    Reading one would do harm: a process loses its record lock when it closes any descriptor of the locked file. Some
    file systems take names that differ in case for the same.
    """
    return name.casefold() == LOCK_NAME or is_temporary(name)


def is_temporary(name: str) -> bool:
    """Whether a file name is that of a file which is still being written, or whose writer died."""
    return name.startswith(".") and name.casefold().endswith(TEMPORARY_SUFFIX)


def check_name(name: str) -> None:
    """Refuse what is no name of a storage.

    Raises:
        ValueError: it is empty or absolute, has an empty, "." or ".." component or a NUL, or is kept for holdfast.
    """
    components = name.split("/")
    if not {"", ".", ".."}.isdisjoint(components):
        why = "it must be relative, and none of its components empty, '.' or '..'"
    elif "\0" in name:
        why = "it holds a NUL"
    elif os.name == "nt" and not {"\\", ":"}.isdisjoint(name):
        why = "on Windows it must hold neither a backslash nor a colon"
    elif is_reserved(components[-1]) or any(is_reserved(one.casefold().removesuffix(".d")) for one in components[:-1]):
        why = "holdfast keeps this name for a file of its own"
    else:
        return
    raise ValueError(f"{name!r} is no name inside a storage: {why}; name the file by its place below the storage")
