"""Files in the memory of this process: for tests, and for what need not outlive it."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator, Sequence

from holdfast.errors import CommitError
from holdfast.storage.base import Buffer, Entry, check_name


class MemoryStorage:
    """A dictionary as a storage. A committed name holds bytes that never change; replacing it replaces them."""

    def __init__(self) -> None:
        self._files: dict[str, bytes] = {}

    @property
    def location(self) -> str:
        """Always "memory:"."""
        return "memory:"

    def create(self, name: str, size_bytes: int) -> MemoryUpload:
        """Begin to write `size_bytes` bytes under `name`, which may exist already and stays whole until commit()."""
        check_name(name)
        if size_bytes < 0:
            raise ValueError(f"{name}: cannot have {size_bytes} bytes; give the size of the whole file")
        return MemoryUpload(self._files, name, size_bytes)

    def read(self, name: str, offset: int, size_bytes: int) -> bytes:
        """At most `size_bytes` bytes from `offset` on; fewer only at the end of the file."""
        return self._at(name)[offset : offset + size_bytes]

    def stat(self, name: str) -> Entry:
        """What is under `name`. Raises FileNotFoundError where there is nothing."""
        return Entry(name, len(self._at(name)))

    def list(self, depth: int = 1) -> Iterator[Entry]:
        """Every name that has `depth` components, in no order."""
        files = self._files.copy()  # others may commit while the caller iterates
        return (Entry(name, len(data)) for name, data in files.items() if name.count("/") == depth - 1)

    def remove(self, name: str) -> None:
        """Remove a name; a missing one is no error."""
        check_name(name)
        self._files.pop(name, None)

    def sweep(self, depth: int = 1) -> Sequence[str]:
        """Nothing: what a writer left unfinished went with it."""
        return []

    def _at(self, name: str) -> bytes:
        check_name(name)
        try:
            return self._files[name]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, "there is no such name in this storage", name) from None


class MemoryUpload:
    """One name being written; MemoryStorage.create() makes it."""

    def __init__(self, files: dict[str, bytes], name: str, size_bytes: int) -> None:
        self._files = files
        self._name = name
        self._data: bytearray | None = bytearray(size_bytes)  # None once the upload has ended
        self._written_bytes = 0
        self._lock = threading.Lock()

    def write(self, offset: int, buffer: Buffer) -> None:
        """Put the whole of `buffer` at `offset` bytes; from any thread."""
        view = memoryview(buffer)
        with self._lock:
            data = self._usable()
            if not 0 <= offset <= len(data) - view.nbytes:
                raise ValueError(
                    f"{self._name}: bytes {offset} to {offset + view.nbytes} lie outside the {len(data)} bytes that "
                    "the upload was created with; create it with the size of the whole file"
                )
            if view.nbytes:
                data[offset : offset + view.nbytes] = view.cast("B")
                self._written_bytes += view.nbytes

    def commit(self) -> None:
        """Put the bytes under the name. Raises CommitError where some were not written."""
        with self._lock:
            data, self._data = self._usable(), None
            if self._written_bytes != len(data):
                raise CommitError(
                    errno.EIO,
                    f"{self._name}: not committed, {self._written_bytes} bytes were written instead of {len(data)}; "
                    "write every byte exactly once",
                )
            self._files[self._name] = bytes(data)

    def abort(self) -> None:
        """Drop what was written."""
        with self._lock:
            self._data = None

    def _usable(self) -> bytearray:
        if self._data is None:
            raise CommitError(
                errno.EBADF, f"{self._name}: this upload was committed, aborted or has failed; create another"
            )
        return self._data
