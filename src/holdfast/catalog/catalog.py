"""Lists, removes and pins the snapshots of one template and role in a storage.

Only a file whose header holds this very template and role, and the file's own name, is ever removed. A file under a
name that the template can make, but without a sound header, is damaged: it is reported, and left where it is.

Beside a pinned snapshot lies a small hidden file. It goes with the snapshot; one whose snapshot is gone means nothing.
"""

from __future__ import annotations

import errno
import os
import threading

from holdfast.catalog.listing import Listing
from holdfast.catalog.templates import (
    ERROR_SUFFIX,
    depth_of,
    pin_name,
    pinned_by,
    same_template,
    template_pattern,
)
from holdfast.errors import DamagedError, NotFoundError, UnknownFormatError
from holdfast.format.prefix import Facts, read_facts
from holdfast.format.reader import as_snapshot
from holdfast.format.sums import PAGE
from holdfast.retention import by_sequence, identity
from holdfast.snapshot import Snapshot
from holdfast.storage import syscalls
from holdfast.storage.base import Entry, Storage

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""What this process or machine is short of: it says nothing about a file."""

_ATTEMPTS = 5  # to list what a writer elsewhere changes meanwhile

Stamp = tuple[int, ...] | None

_registry = threading.Lock()
_highest: dict[str, int] = {}
"""The highest sequence number that this process has seen or given out, by place: several catalogs may share one."""
_changing: dict[str, threading.RLock] = {}
"""By place, too: held by whoever removes snapshots there, and by whoever pins one, from the look to the deed."""


class Catalog:
    """The snapshots of one template and role in a storage.

    Args:
        storage: where they lie; others may lie there as well.
        template: the format string that their names are made with.
        role: "store", "object" or "trainer".
    Raises:
        ValueError: `template` is no format string.
    """

    def __init__(self, storage: Storage, *, template: str, role: str) -> None:
        self._storage = storage
        self.template = template
        self._role = role
        self._pattern = template_pattern(template)
        self.depth = depth_of(template)  # how many components the names have
        self._place = os.path.realpath(storage.location)
        with _registry:
            self.changing = _changing.setdefault(self._place, threading.RLock())

    @property
    def location(self) -> str:
        """The storage's."""
        return self._storage.location

    def path(self, name: str) -> str:
        """Where the file of a name lies."""
        return os.path.join(self._storage.location, name)

    def read(self) -> Listing:
        """List the storage; 4 KiB of each file are read, and nothing is remembered from the last time.

        Raises:
            OSError: the storage cannot be listed, or there are no descriptors or memory to do so.
        """
        entries = list(self._storage.list(self.depth))
        for _ in range(_ATTEMPTS):
            listing = self._read(entries)
            # A writer elsewhere may have added a name and removed another one meanwhile, and neither was met.
            before, entries = entries, list(self._storage.list(self.depth))
            if {entry.name for entry in entries} == {entry.name for entry in before}:
                break
        self._note(listing)
        return listing

    def _read(self, entries: list[Entry]) -> Listing:
        snapshots: list[Snapshot] = []
        others: list[Snapshot] = []
        damaged, pinned = [], set()
        for entry in entries:
            if (name := pinned_by(entry.name)) is not None:
                pinned.add(name)
                continue
            try:
                facts, size_bytes = self._facts(entry.name, entry.size_bytes)
            except FileNotFoundError:  # removed meanwhile
                continue
            except (DamagedError, UnknownFormatError, OSError) as error:
                if is_exhaustion(error):
                    raise
                if self._pattern.fullmatch(entry.name.removesuffix(ERROR_SUFFIX)):
                    damaged.append((self.path(entry.name), _reason(error, self.path(entry.name))))
                continue
            snapshot = as_snapshot(facts, self._storage.location, entry.name, size_bytes)
            (snapshots if self._owns(entry.name, facts) else others).append(snapshot)
        snapshots.sort(key=by_sequence)
        return Listing(
            location=self.location,
            snapshots=tuple(snapshots),
            damaged=tuple(sorted(damaged)),
            others=tuple(sorted(others, key=by_sequence)),
            pinned=tuple(snapshot for snapshot in snapshots if snapshot.name in pinned),
        )

    def misnamed(self, listing: Listing) -> list[str]:
        """The paths of snapshots of this template and role that stand under a name of another one."""
        return [
            self.path(other.name)
            for other in listing.others
            if other.role == self._role
            and same_template(other.template, self.template)
            and self._pattern.fullmatch(other.name.removesuffix(ERROR_SUFFIX))
        ]

    def may_be(self, path: str, step: int) -> bool:
        """Whether a file's name has the number `step`; for those whose header cannot say it."""
        name = path.removeprefix(os.path.join(self.location, ""))
        found = self._pattern.fullmatch(name.removesuffix(ERROR_SUFFIX))
        return found is not None and any(number.isdigit() and int(number) == step for number in found.groups())

    def next_sequence(self) -> int:
        """A sequence number above all that read() has met here, and all that this process has given out here."""
        with _registry:
            _highest[self._place] = _highest.get(self._place, 0) + 1
            return _highest[self._place]

    def stamp(self, name: str) -> Stamp:
        """What is another one once the file was written to or replaced; None where there is no such file.

        Raises:
            OSError: the file system does not tell.
        """
        try:
            found = syscalls.stat(self.path(name), follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):  # or the storage has no files
            return None
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns

    def links(self) -> list[str]:
        """The symbolic links under names that the template can make; they are no snapshots, whatever they point to."""
        found = [""]
        for level in range(self.depth):
            entries = [(above, entry) for above in found for entry in self._entries(above)]
            if level < self.depth - 1:
                found = [f"{above}{entry.name}/" for above, entry in entries if entry.is_dir(follow_symlinks=False)]
        names = [above + entry.name for above, entry in entries if entry.is_symlink()]
        return sorted(name for name in names if self._pattern.fullmatch(name.removesuffix(ERROR_SUFFIX)))

    def _entries(self, above: str) -> list[os.DirEntry[str]]:
        try:
            return syscalls.scandir(self.path(above))
        except (FileNotFoundError, NotADirectoryError):  # gone meanwhile, or the storage has no directories
            return []

    def remove(self, snapshot: Snapshot) -> bool:
        """Remove a snapshot and its pin, durably; its header is read again first.

        Returns:
            False, with nothing removed, where that file is not this snapshot (any more), or is damaged.
        Raises:
            CommitError: it cannot be removed.
            OSError: its header cannot be read.
        """
        if not self._is_there(snapshot):
            return False
        self._storage.remove(snapshot.name)
        self.unpin(snapshot)
        return True

    def pin(self, snapshot: Snapshot) -> None:
        """Keep a snapshot, and whatever replaces it under its name, whatever a policy says; durable on return.

        Raises:
            NotFoundError: it is gone.
            CommitError: the pin cannot be written.
        """
        text = f"holdfast keeps the snapshot {snapshot.name!r} for as long as this file lies beside it.\n".encode()
        with self.changing:  # a removal that has begun comes first
            if not self._is_there(snapshot):
                where = snapshot.__fspath__()
                raise NotFoundError(f"{where}: is gone, or another snapshot by now; list the store again")
            upload = self._storage.create(pin_name(snapshot.name), len(text))
            try:
                upload.write(0, text)
                upload.commit()
            except BaseException:
                upload.abort()
                raise

    def unpin(self, snapshot: Snapshot) -> None:
        """Let policies decide again; nothing happens where it is not pinned.

        Raises:
            CommitError: the pin cannot be removed.
        """
        name = pin_name(snapshot.name)
        try:
            self._storage.stat(name)
        except FileNotFoundError:
            return
        self._storage.remove(name)

    def _is_there(self, snapshot: Snapshot) -> bool:
        try:
            facts, size_bytes = self._facts(snapshot.name, self._storage.stat(snapshot.name).size_bytes)
        except (FileNotFoundError, DamagedError, UnknownFormatError):
            return False
        found = as_snapshot(facts, self._storage.location, snapshot.name, size_bytes)
        return self._owns(snapshot.name, facts) and identity(found) == identity(snapshot)

    def _facts(self, name: str, size_bytes: int) -> tuple[Facts, int]:
        """The facts of a file, and its size; the size that was listed may be that of a file since replaced."""
        while True:
            page = self._storage.read(name, 0, PAGE)
            try:
                return read_facts(page, size_bytes, self.path(name)), size_bytes
            except DamagedError:
                found = self._storage.stat(name).size_bytes
                if found == size_bytes:
                    raise
                size_bytes = found

    def _owns(self, name: str, facts: Facts) -> bool:
        return (
            facts.role == self._role
            and (name == facts.name or (facts.reason == "error" and name == facts.name + ERROR_SUFFIX))
            and same_template(facts.template, self.template)
        )

    def _note(self, listing: Listing) -> None:
        with _registry:
            found = (snapshot.sequence for snapshot in (*listing.snapshots, *listing.others))
            _highest[self._place] = max(_highest.get(self._place, 0), *found, 0)


def _renew_registry() -> None:
    """In a forked child: another thread of the parent's may have had these locks."""
    global _registry
    _registry = threading.Lock()
    _changing.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_registry)


def is_exhaustion(error: Exception) -> bool:
    """Whether an error says that this process or machine is short of something, and nothing about a file."""
    return isinstance(error, OSError) and error.errno in _EXHAUSTED


def _reason(error: Exception, path: str) -> str:
    if isinstance(error, OSError):
        return f"cannot be read ({error.strerror})"
    return str(error).removeprefix(f"{path}: ")
