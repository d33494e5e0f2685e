"""Files that somebody else's code writes: a savefun is given a path, and what it leaves there gets its name in the same
order as everything else: bytes durable, then the name, then the directory.

The path has the file's own last name, since some libraries look at its ending, in a folder of its own beside it. The
folder belongs to a temporary file that is locked while its writer lives, and is swept when that is gone.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from holdfast.errors import CommitError
from holdfast.storage import directories, syscalls, temporaries
from holdfast.storage.base import is_temporary
from holdfast.storage.local_upload import failing
from holdfast.storage.temporaries import Temporary

FOLDER_SUFFIX = ".d"


@contextmanager
def handed_over(path: str | os.PathLike[str]) -> Iterator[str]:
    """Gives a path to write to; when the block ends, what was written there is durable under `path`.

    An older file of that name stays whole until then, and for good where the block or the commit fails. A path that was
    itself given by this function is given back as it is: whoever has it commits it.
    Raises:
        CommitError: the block wrote nothing there, or it could not be made durable.
    """
    final = os.path.abspath(os.fspath(path))
    directory, name = os.path.split(final)
    if is_folder(os.path.basename(directory)):
        yield final
        return
    with failing(final, 0, "its temporary file could not be made"):
        directories.make(directory)
        directories.sync_upwards(directory)
        temporary = temporaries.create(directory)
    folder = temporary.path + FOLDER_SUFFIX
    try:
        with failing(final, 0, "its temporary folder could not be made"):
            syscalls.mkdir(folder)
        partial = os.path.join(folder, name)
        yield partial
        _commit(partial, final, folder)
    finally:
        _discard(folder, temporary)


def is_folder(name: str) -> bool:
    """Whether a directory's name is that of a folder which a savefun writes into, or did when it died."""
    return name.endswith(FOLDER_SUFFIX) and is_temporary(name.removesuffix(FOLDER_SUFFIX))


def sweep(entries: Iterable[os.DirEntry[str]]) -> list[str]:
    """Remove the folders whose temporary file is gone, with it their writer; returns their names."""
    swept = []
    for entry in entries:
        name = entry.name.removesuffix(FOLDER_SUFFIX)
        if name == entry.name or not temporaries.is_own_name(name) or not entry.is_dir(follow_symlinks=False):
            continue
        if not _stands(entry.path.removesuffix(FOLDER_SUFFIX)):
            _empty(entry.path)
            swept.append(entry.name)
    return swept


def _stands(path: str) -> bool:
    try:
        syscalls.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _commit(partial: str, final: str, folder: str) -> None:
    with failing(final, 0, "what was written cannot be looked at"):
        size_bytes = _size_of(partial, final, folder)
    with failing(final, size_bytes, "it could not be flushed to the disk"):
        fd = syscalls.open(partial, os.O_RDONLY | syscalls.NOFOLLOW)
        try:
            syscalls.fsync(fd)
        finally:
            syscalls.close(fd)
    with failing(final, size_bytes, "it could not be given its name"):
        syscalls.rename(partial, final)
    try:
        directories.sync(os.path.dirname(final))  # until this returns, a power cut can undo the rename
    except OSError as error:
        raise CommitError(
            error.errno,
            f"{final}: the outcome is unknown: the new file has its name, but the directory could not be synced "
            f"({error.strerror}), and a power cut may bring back what was there before; check the disk, then save "
            "again",
        ) from error


def _size_of(partial: str, final: str, folder: str) -> int:
    with suppress(FileNotFoundError):
        found = syscalls.stat(partial, follow_symlinks=False)
        if stat.S_ISREG(found.st_mode):
            return found.st_size
    left = ", ".join(repr(entry.name) for entry in syscalls.scandir(folder)) or "nothing"
    raise CommitError(
        errno.ENOENT,
        f"{final}: not committed: the savefun was to write the file {os.path.basename(partial)!r} and left {left}; "
        "it must write one regular file, under exactly the path that it is given",
    )


def _discard(folder: str, temporary: Temporary) -> None:
    with suppress(OSError):
        _empty(folder)
    temporary.discard()


def _empty(folder: str) -> None:
    """Remove a folder and all that is in it; what cannot be removed now is swept later."""
    with suppress(OSError):
        for entry in syscalls.scandir(folder):
            if entry.is_dir(follow_symlinks=False):
                _empty(entry.path)
                continue
            with suppress(OSError):
                syscalls.unlink(entry.path)
        syscalls.rmdir(folder)
