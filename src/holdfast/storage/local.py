"""Files in a directory of a local or mounted file system.

What stands under a name is whole, and on the disk: storage/local_upload.py has the order of the steps that see to it.
A committed file is never opened for writing again; replacing a name replaces the file behind it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress

from holdfast.errors import CommitError
from holdfast.storage import directories, handover, syscalls, temporaries
from holdfast.storage.base import Entry, check_name, is_reserved
from holdfast.storage.local_upload import LocalUpload, check_room, failing
from holdfast.storage.temporaries import Temporary

_NO_FILE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.ENXIO})
"""What a name answers where there is nothing, or something else than a regular file."""


class LocalStorage:
    """A directory as a storage; its sub-directories are made as names need them.

    Symbolic links inside it are no names: they are neither listed nor read, a commit replaces the link and not what it
    points to, and a name that leads through one is refused. The directory itself may be one.
    """

    def __init__(self, directory: str | os.PathLike[str], *, create: bool = True) -> None:
        """Nothing is written, unless the directory is missing and to be made.

        Args:
            directory: relative to the working directory of this moment.
            create: make it, and those above it, where it is missing; False for a place that is only read.
        Raises:
            FileNotFoundError: it is missing, and `create` is False.
            NotADirectoryError: something else stands there.
        """
        self._directory = os.path.abspath(directory)
        self._durable: set[str] = set()  # directories that this object has synced, with all above them
        if create:
            directories.make(self._directory)
        elif not stat.S_ISDIR(syscalls.stat(self._directory).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), self._directory)

    @property
    def location(self) -> str:
        """The directory's absolute path."""
        return self._directory

    def create(self, name: str, size_bytes: int) -> LocalUpload:
        """Begin to write a file, which may exist already and stays whole until commit().

        Args:
            name: relative, components joined by "/"; missing directories are made, with the umask's mode.
            size_bytes: the whole file; commit() insists on it.
        Raises:
            ValueError: `name` leads out of the directory or through a symbolic link, or the size is negative.
            CommitError: it could not be begun, or there is no room for it; no file is left behind.
        """
        path = self._path(name)
        if size_bytes < 0:
            raise ValueError(f"{path}: cannot have {size_bytes} bytes; give the size of the whole file")
        with failing(path, size_bytes, "and nothing of it was written"):
            check_room(path, size_bytes)
        temporary: Temporary | None = None
        try:
            with failing(path, size_bytes, "its temporary file could not be made"):
                directory = os.path.dirname(path)
                # One that is there already may still be unsynced: whoever made it may have been killed right after.
                if directories.make(directory) or directory not in self._durable:
                    directories.sync_upwards(directory)
                    self._durable.add(directory)
                _check_free(path)
                temporary = temporaries.create(directory)
            return LocalUpload(path, size_bytes, temporary)
        except BaseException:
            if temporary is not None:
                temporary.discard()
            raise

    def read(self, name: str, offset: int, size_bytes: int) -> bytes:
        """At most `size_bytes` bytes from `offset` on; fewer only at the end of the file.

        Raises:
            FileNotFoundError: there is no such file.
        """
        path = self._path(name)
        try:
            fd = syscalls.open(path, os.O_RDONLY | syscalls.NOFOLLOW | syscalls.NONBLOCK)
        except OSError as error:
            raise (_absent(path) if error.errno in _NO_FILE else error) from None
        try:
            found = syscalls.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise _absent(path)
            # The size bounds what is allocated, whatever a damaged header asks for.
            return _read(fd, offset, max(0, min(size_bytes, found.st_size - offset)))
        finally:
            syscalls.close(fd)

    def stat(self, name: str) -> Entry:
        """What is under `name`. Raises FileNotFoundError where there is no regular file."""
        path = self._path(name)
        try:
            found = syscalls.stat(path, follow_symlinks=False)
        except OSError as error:
            raise (_absent(path) if error.errno in _NO_FILE else error) from None
        if not stat.S_ISREG(found.st_mode):
            raise _absent(path)
        return Entry(name, found.st_size)

    def list(self, depth: int = 1) -> Iterator[Entry]:
        """Every regular file whose name has `depth` components, in no order; holdfast's own files are left out.

        What is removed or added meanwhile may be in it or not.

        Raises:
            FileNotFoundError: the storage's directory is gone.
        """
        entries = []
        for above in self._at_depth(depth - 1):
            for file in self._scan(above):
                if file.is_file(follow_symlinks=False) and not is_reserved(file.name):
                    with suppress(FileNotFoundError):  # removed meanwhile
                        entries.append(Entry(above + file.name, file.stat(follow_symlinks=False).st_size))
        return iter(entries)

    def remove(self, name: str) -> None:
        """Remove a file durably; a missing one is no error.

        Raises:
            CommitError: it is still there; or it is gone, but the message says that a power cut may bring it back.
        """
        path = self._path(name)
        outcome = "could not be removed, and is as it was"
        try:
            with suppress(FileNotFoundError):
                syscalls.unlink(path)
            outcome = "is removed, but a power cut may bring it back: its directory could not be synced"
            with suppress(FileNotFoundError):  # then there is no such directory
                directories.sync(os.path.dirname(path))
        except OSError as error:
            raise CommitError(
                error.errno, f"{path}: {outcome} ({error.strerror}); check the disk, then remove it again"
            ) from error

    def sweep(self, depth: int = 1) -> Sequence[str]:
        """Remove the temporary files that dead writers left for names with up to `depth` components.

        Returns:
            The names of those files. What a living writer is writing stays; what cannot be removed is logged.
        """
        return [
            above + name
            for level in range(depth)
            for above in self._at_depth(level)
            for sweep in (temporaries.sweep, handover.sweep)  # a folder goes once its temporary file is gone
            for name in sweep(self._scan(above))
        ]

    def _path(self, name: str) -> str:
        check_name(name)
        *above, last = name.split("/")
        path = self._directory
        for component in above:
            path = os.path.join(path, component)
            with suppress(FileNotFoundError, NotADirectoryError):
                if stat.S_ISLNK(syscalls.stat(path, follow_symlinks=False).st_mode):
                    raise ValueError(
                        f"{name!r} leads out of {self._directory}: {path} is a symbolic link; "
                        "open the directory that it points to instead"
                    )
        return os.path.join(path, last)

    def _at_depth(self, depth: int) -> Sequence[str]:
        """The directories `depth` levels down, as beginnings of names: "" or "model/"."""
        if depth == 0:
            return [""]
        return [
            f"{above}{entry.name}/"
            for above in self._at_depth(depth - 1)
            for entry in self._scan(above)
            if entry.is_dir(follow_symlinks=False) and not handover.is_folder(entry.name)
        ]

    def _scan(self, above: str) -> Sequence[os.DirEntry[str]]:
        try:
            return syscalls.scandir(os.path.join(self._directory, above))
        except (FileNotFoundError, NotADirectoryError):
            if above:  # removed or replaced meanwhile
                return []
            raise


def _check_free(path: str) -> None:
    """Fail before anything is written, not at the rename: where a directory has this name, or it is too long."""
    with suppress(FileNotFoundError):
        if stat.S_ISDIR(syscalls.stat(path, follow_symlinks=False).st_mode):
            raise IsADirectoryError(errno.EISDIR, "a directory has this name")


def _read(fd: int, offset: int, size_bytes: int) -> bytes:
    data = syscalls.pread(fd, size_bytes, offset)
    parts = [data]
    while data and (size_bytes := size_bytes - len(data)) > 0:  # one call reads 2 GiB at most
        offset += len(data)
        data = syscalls.pread(fd, size_bytes, offset)
        parts.append(data)
    return b"".join(parts) if len(parts) > 1 else data


def _absent(path: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, "there is no such file in this storage", path)
