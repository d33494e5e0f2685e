"""The writer process: a program of its own, started as `python -I helper_process.py SOCKET PARENT`, never imported.

It writes what comes through the socket: snapshot files out of shared memory, without numpy; or, told so at the start,
mappings through a savefun of the user's. When its parent is gone, however that ended, it writes what is already in the
socket, and then leaves. An end of the file would not tell: forked workers of the parent's may hold the socket open.
"""

from __future__ import annotations

import errno
import gc
import json
import mmap
import os
import select
import signal
import socket
import sys
import time
import traceback
from array import array
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

MESSAGE_BYTES = 1 << 18  # more than a socket's buffer takes
_TEXT_CHARACTERS = 20_000  # of a traceback, at most
_LOOK_MS = 1000  # how often to look for the parent where the system does not tell

Write = Callable[[dict[str, Any], Sequence[int]], None]


class Source:
    """Where the orders come from, and whether anybody is left who gives them."""

    def __init__(self, channel: socket.socket, parent: int) -> None:
        self.channel = channel
        self._parent = parent
        self._gone = False
        self._pidfd = -1
        try:
            self._pidfd = os.pidfd_open(parent)
        except ProcessLookupError:
            self._gone = True
        except (AttributeError, OSError):  # an older kernel, or a sandbox: look now and then
            pass
        self._look()
        self._poll = select.poll()
        self._poll.register(channel, select.POLLIN)
        if self._pidfd >= 0:
            self._poll.register(self._pidfd, select.POLLIN)

    def next(self) -> tuple[dict[str, Any], list[int]] | None:
        """The next order and its descriptors; None when there will be no more."""
        while True:
            if not self._gone:
                ready = [fd for fd, _ in self._poll.poll(None if self._pidfd >= 0 else _LOOK_MS)]
                self._gone = self._pidfd in ready
                self._look()
                if self.channel.fileno() not in ready and not self._gone:
                    continue
            try:
                text, fds, is_whole = _received(self.channel)
            except BlockingIOError:
                if self._gone:
                    return None
                continue
            except ConnectionResetError:  # an answer was not read; what is in the socket is still there
                continue
            if not text:
                return None
            message = json.loads(text)
            message["is_whole"] = is_whole
            return message, fds

    def answer(self, **values: Any) -> None:
        """Tell the parent, if there is one."""
        with suppress(OSError):
            self.channel.send(json.dumps(values).encode())

    def _look(self) -> None:
        self._gone = self._gone or os.getppid() != self._parent


def _received(channel: socket.socket) -> tuple[bytes, list[int], bool]:
    """One message that is there, its descriptors, and whether they are all; raises BlockingIOError where there is none.

    Python's own recv_fds() takes flags and leaves them out.
    """
    numbers = array("i")
    flags = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
    text, parts, found, _ = channel.recvmsg(MESSAGE_BYTES, socket.CMSG_SPACE(2 * numbers.itemsize), flags)
    for level, kind, data in parts:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
    return text, list(numbers), not found & socket.MSG_CTRUNC


def main(channel_fd: int, parent: int) -> None:
    """Carry out orders until there are no more."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda *_: None)  # they are for the trainer; this leaves when that is gone
    source = Source(socket.socket(fileno=channel_fd), parent)
    first = source.next()
    if first is None:
        return
    setup = first[0]
    sys.path[:0] = setup["paths"]
    write = _savefun_writer(setup["savefun"]) if setup["savefun"] else _file_writer()
    source.answer(ready=True)
    last = 0
    while (order := source.next()) is not None:
        message, fds = order
        is_new = message["id"] > last  # one whose sending was interrupted comes twice
        outcome = _outcome(write, message, fds) if is_new else {}
        for fd in fds:
            os.close(fd)  # the lock among them: from here on a later process need not wait for this snapshot
        if is_new:
            last = message["id"]
            source.answer(id=last, **outcome)


def _outcome(write: Write, message: dict[str, Any], fds: Sequence[int]) -> dict[str, Any]:
    began = time.perf_counter()
    try:
        if not message["is_whole"]:
            raise OSError(errno.EMFILE, "this process can open no more files")
        write(message, fds)
    except BaseException as error:  # noqa: BLE001  whatever it is, the parent tells its caller
        found = _described(error)
        if os.getppid() != message["parent"]:
            traceback.print_exc()  # nobody is left who could
        del error
        gc.collect()  # what its frames hold: views of the memory
        return found
    return {"seconds": time.perf_counter() - began}


def _described(error: BaseException) -> dict[str, Any]:
    number = error.errno if isinstance(error, OSError) else None
    return {
        "kind": type(error).__name__,
        "errno": number,
        "of_the_machine": isinstance(error, OSError | MemoryError),
        "message": str(error.strerror if isinstance(error, OSError) and number else error)[:_TEXT_CHARACTERS],
        "trace": "".join(traceback.format_exception(error))[-_TEXT_CHARACTERS:],
    }


def _file_writer() -> Write:
    """Writes snapshot files: see holdfast.writers.base.Handoff for the orders."""
    from holdfast.commit import commit
    from holdfast.image import Image
    from holdfast.storage.local import LocalStorage

    storages: dict[str, LocalStorage] = {}
    mapped: dict[int, memoryview] = {}  # by the inode: a new mapping has to find every page again

    def write(order: dict[str, Any], fds: Sequence[int]) -> None:
        directory = order["directory"]
        storage = storages.get(directory) or storages.setdefault(directory, LocalStorage(directory))
        header_at, ends_at = order["header_at"], order["ends_at"]
        inode = os.fstat(fds[0]).st_ino
        for gone in mapped.keys() - set(order["memories"]):
            del mapped[gone]
        memory = mapped.get(inode)
        if memory is None or len(memory) < order["memory_bytes"]:
            memory = memoryview(mmap.mmap(fds[0], order["memory_bytes"], flags=mmap.MAP_SHARED))
            mapped[inode] = memory
        image = Image(
            memory[header_at : header_at + order["header_bytes"]],
            order["checksums_at"],
            memory[: order["data_bytes"]],
            memory[ends_at : ends_at + 8 * order["leaf_count"]].cast("Q"),
        )
        commit(storage, order["name"], image)

    return write


def _savefun_writer(setup: dict[str, Any]) -> Write:
    """Calls a function of the user's, which it finds by its name."""
    from holdfast.storage.handover import handed_over
    from holdfast.writers.calls import found, unpacked

    function = found(setup["module"], setup["name"])

    def write(order: dict[str, Any], fds: Sequence[int]) -> None:
        mapping = unpacked(fds[0], order)
        if setup["is_task"]:
            function(order["filename"], order["outdir"], mapping)
            return
        with handed_over(os.path.join(order["outdir"], order["filename"])) as path:
            function(path, mapping, **setup["kwds"])

    return write


if __name__ == "__main__":
    while (spare := os.open(os.devnull, os.O_RDWR)) <= 2:  # a stray message must not end in a file that is written
        pass
    os.close(spare)
    try:
        main(int(sys.argv[1]), int(sys.argv[2]))
    except BaseException:  # noqa: BLE001  whatever it is, it must be seen
        traceback.print_exc()
        os._exit(1)
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(0)  # whatever threads a savefun has left
