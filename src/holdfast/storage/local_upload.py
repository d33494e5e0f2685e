"""One file on its way to the disk, and to its name.

The order is fixed: temporary file in the same directory, bytes (storage/direct_io.py has their way to the disk), fsync,
close, rename, fsync of the directory. A reader sees the whole file or none of it, and once commit() has returned a
power cut cannot take it away. After an error the temporary file is dropped and never synced again: a second fsync would
return success, and lie.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from holdfast.errors import CommitError
from holdfast.scarcity import Condition
from holdfast.storage import directories, syscalls
from holdfast.storage.base import Buffer
from holdfast.storage.direct_io import Content
from holdfast.storage.temporaries import Temporary

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
"""What a full file system answers, and one whose user has no more room."""

_REMEDY = {
    errno.ENOSPC: "free some space, or keep fewer snapshots, then save again",
    errno.EDQUOT: "free some of your quota, or keep fewer snapshots, then save again",
    errno.EMFILE: "close some files, or allow more (ulimit -n), then save again",
    errno.ENFILE: "close some files of this machine's, then save again",
    errno.EACCES: "make the directory writable, then save again",
    errno.EROFS: "make the directory writable, then save again",
    errno.EFBIG: "raise the limit of this process (ulimit -f), or save to a file system that takes larger files",
    errno.EISDIR: "choose another name",
    errno.ENAMETOOLONG: "choose a shorter name",
}


class LocalUpload:
    """One file being written; LocalStorage.create() makes it.

    It takes the temporary file over; where there is no room for so many bytes, it drops it and raises a CommitError.
    A forked child cannot use its parent's: write() and commit() raise there, and abort() does nothing.
    """

    def __init__(self, path: str, size_bytes: int, temporary: Temporary) -> None:
        self._path = path
        self._size_bytes = size_bytes
        self._temporary = temporary
        self._state = Condition()  # guards what follows
        self._ended = False
        self._committing = False  # once commit() drops the temporary file itself
        self._writing: set[int] = set()  # threads: the descriptor must not be closed, and its number reused, under them
        self._written_bytes = 0
        try:
            with failing(path, size_bytes, "room for it could not be reserved"):
                self._content = Content(temporary.fd, os.path.dirname(path), size_bytes)
        except BaseException:
            temporary.discard()
            raise

    def write(self, offset: int, buffer: Buffer) -> None:
        """Put the whole of `buffer` at `offset` bytes, without copying it; from any thread.

        Args:
            buffer: C-contiguous, of any item type.
        Raises:
            ValueError: it reaches beyond the file's size.
            CommitError: the bytes could not be taken; the upload is aborted, its temporary file gone.
        """
        view = memoryview(buffer)
        if not 0 <= offset <= self._size_bytes - view.nbytes:
            raise ValueError(
                f"{self._path}: bytes {offset} to {offset + view.nbytes} lie outside the {self._size_bytes} bytes that "
                "the upload was created with; create it with the size of the whole file"
            )
        self._check_usable()
        try:
            fd = self._begin_writing()
        except BaseException:
            self._finish_writing(0)
            raise
        try:
            with failing(self._path, self._size_bytes, "it could not be written"):
                if view.nbytes:
                    self._content.write(fd, view.cast("B"), offset)
            self._finish_writing(view.nbytes)
        except BaseException:
            self._finish_writing(0)
            self.abort()
            raise

    def commit(self) -> None:
        """Make the bytes durable, then the name; an older file of that name is replaced.

        Raises:
            CommitError: the name is as it was before, and nothing is left behind; or, where the directory could not be
                synced after the rename, the message says that the outcome is unknown.
        """
        self._check_usable()
        with self._state:
            self._check_usable()
            self._ended = True
        try:
            self._committing = True
            self._wait_for_writes()
            self._give_name()
        except BaseException:
            self._temporary.discard()
            raise
        self._sync_directory()

    def _give_name(self) -> None:
        file, where = self._temporary, (self._path, self._size_bytes)
        with failing(*where, "it could not be cut to its size"):
            self._content.finish(file.fd)
        with failing(*where, "its size is wrong"):
            self._check_size()
        with failing(*where, "it could not be flushed to the disk"):
            syscalls.fsync(file.fd)
        with failing(*where, "it could not be closed"):
            file.close()
        with failing(*where, "it could not be given its name"):
            syscalls.rename(file.path, self._path)
        file.release()

    def abort(self) -> None:
        """Remove the temporary file, once writes under way have returned. Never raises for what a failing disk does.
        Where it was interrupted, it may be called again."""
        if self._temporary.fd < 0 or self._committing:  # ended, or the parent's; or dropped by commit() if need be
            return
        with self._state:
            self._ended = True
        self._wait_for_writes()
        self._temporary.discard()

    def _wait_for_writes(self) -> None:
        with self._state:
            self._state.wait_for(lambda: not self._writing)

    def _begin_writing(self) -> int:
        """The descriptor, which stays open until _finish_writing()."""
        with self._state:
            self._check_usable()
            self._writing.add(threading.get_ident())
            return self._temporary.fd

    def _finish_writing(self, size_bytes: int) -> None:
        """This thread has written so many bytes. Called again, it does nothing."""
        me = threading.get_ident()
        with self._state:
            if me in self._writing:
                self._written_bytes += size_bytes
                self._writing.remove(me)
                self._state.notify_all()

    def _check_usable(self) -> None:
        # Called before the lock is taken as well: in a forked child it may be locked for ever.
        if self._ended or self._temporary.fd < 0:
            raise CommitError(
                errno.EBADF,
                f"{self._path}: this upload was committed, aborted or has failed, or it belongs to the process that "
                "forked this one; create another",
            )

    def _check_size(self) -> None:
        found = syscalls.fstat(self._temporary.fd).st_size
        if found != self._size_bytes or self._written_bytes != self._size_bytes:
            raise OSError(
                errno.EIO,
                f"{self._written_bytes} bytes were written and the file has {found}, instead of {self._size_bytes}",
            )

    def _sync_directory(self) -> None:
        try:
            directories.sync(os.path.dirname(self._path))  # until this returns, a power cut can undo the rename
        except OSError as error:
            raise CommitError(
                error.errno,
                f"{self._path}: the outcome is unknown: the new file has its name, but the directory could not be "
                f"synced ({error.strerror}), and a power cut may bring back what was there before; check the disk, "
                "then save again",
            ) from error


@contextmanager
def failing(path: str, size_bytes: int, what: str) -> Iterator[None]:
    """An OSError inside becomes a CommitError that says where, what failed, and what to do."""
    try:
        yield
    except OSError as error:
        room = ""
        if error.errno in NO_ROOM:
            room = "; the file " + needed_and_free(path, size_bytes)
        remedy = _REMEDY.get(error.errno or 0, "check the disk, then save again")
        raise CommitError(
            error.errno,
            f"{path}: not committed, {what} ({error.strerror}{room}); what had this name before is untouched; {remedy}",
        ) from error


def check_room(path: str, size_bytes: int) -> None:
    """Raise OSError(ENOSPC) where the file system says that it has no room for a file, so that nothing is written.

    What it replaces gives no room: both exist at once. A file system that does not say what is free is believed to have
    room; what the check cannot know, the writing tells.
    """
    free = _free_near(path)
    if free is not None and free < size_bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def needed_and_free(path: str, size_bytes: int) -> str:
    """What a message says where a file has no room: "needs 5000 bytes, 4096 are free in /run"."""
    free, directory = _free_near(path), os.path.dirname(path)
    if free is None:
        return f"needs {size_bytes} bytes in {directory}"
    text = f"needs {size_bytes} bytes, {free} are free in {directory}"
    mib = 1 << 20
    return text if size_bytes < mib else f"{text} ({size_bytes / mib:.1f} MiB and {free / mib:.1f} MiB)"


def _free_near(path: str) -> int | None:
    """What is free where a file is to lie, whose directory may be missing as yet; None where nobody knows."""
    directory = os.path.dirname(path)
    while True:
        try:
            return syscalls.free_bytes(directory)
        except FileNotFoundError:
            above = os.path.dirname(directory)
            if above == directory:
                return None
            directory = above
        except OSError:
            return None
