"""A FUSE file system in memory, which records every operation with its barriers, and forgets what was not synced.

It needs Linux, /dev/fuse, the package fuse3 and `pip install mfusepy`. From a shell, in the folder tests/:

    python -m faults.powerloss.filesystem MNT &    mount it on an empty directory; `fusermount3 -u MNT` ends it
    echo ack NAME  > MNT/.ctl                      the program says "NAME is committed": from here on it must survive
    echo crash     > MNT/.ctl                      cut the power now: what no fsync covers is lost, open files are dead
    echo crash rand:7 journal > MNT/.ctl           the same under another policy and model of disk.py
    echo eio 2     > MNT/.ctl                      the next 2 fsyncs fail with EIO, and lose their data; 0: none
    echo wfail 2   > MNT/.ctl                      the next 2 writes fail with EIO; 0: none
    echo dump FILE > MNT/.ctl                      write the log into a file elsewhere; its path must be absolute
    echo clear     > MNT/.ctl                      an empty disk, and an empty log

    python -m faults.powerloss.explore FILE CHECK.py       cut the power after every operation of that log

Contents live in memory, and the log has them once more: keep it under 100 MB. Locks are the kernel's own. There is no
writing through a shared map, no modes and owners, no extended attributes, no O_TMPFILE; an open file that has lost its
name can only be closed. sync(2) of the whole system is not seen.
"""

from __future__ import annotations

import argparse
import errno
import os
import stat
from collections.abc import Sequence
from typing import Any

from faults.powerloss.disk import Disk, File, survive
from faults.powerloss.logs import founded_on, write_log
from faults.powerloss.operations import (
    ROOT,
    Ack,
    Change,
    FailedSync,
    Kind,
    Link,
    Operation,
    Rename,
    Sync,
    SyncDirectory,
    Truncate,
    Unlink,
    Write,
)

CONTROL = ".ctl"
_CONTROL_PATH = f"/{CONTROL}"
_CONTROL_HANDLE = 0
_INODE_BITS = 40  # of a handle; above them stands how many power cuts there were before it was made


def error(number: int) -> OSError:
    """What the kernel is answered with."""
    return OSError(number, os.strerror(number))


class PowerLoss:
    """What FUSE asks for, by path or by handle; one request at a time."""

    use_ns = True  # for mfusepy: times are whole nanoseconds; none are kept

    def __init__(self, *, allocates: bool = True) -> None:
        self._allocates = allocates
        self._disk = Disk()
        self._log: list[Operation] = []
        self._last_inode = ROOT
        self._cuts = 0
        self._failing_syncs = 0
        self._failing_writes = 0

    def init_with_config(self, connection: Any, config: Any) -> None:
        """The kernel is to keep no copies of its own, so that a read after a cut sees what survived."""
        if config is not None:  # libfuse 3; for libfuse 2 these are options of the mount
            config.direct_io = config.hard_remove = 1
            config.entry_timeout = config.negative_timeout = config.attr_timeout = 0
        print("mounted", flush=True)

    # names

    def getattr(self, path: str, handle: int | None = None) -> dict[str, int]:
        if path == _CONTROL_PATH:
            return {"st_mode": stat.S_IFREG | 0o666, "st_nlink": 1}
        node = self._disk.nodes[self._inode(path, handle)]
        size_bytes = len(node.data) if isinstance(node, File) else len(node)
        return {
            "st_mode": _mode(node),
            "st_nlink": 1,
            "st_size": size_bytes,
            "st_blocks": -(-size_bytes // 512),
            "st_uid": os.getuid(),
            "st_gid": os.getgid(),
        }

    def readdir(self, path: str, handle: int) -> list[tuple[str, dict[str, int], int]]:
        nodes = self._disk.nodes
        directory = nodes[self._inode(path, handle)]
        assert isinstance(directory, dict)
        found = [(name, _mode(nodes[inode])) for name, inode in directory.items()]
        return [(name, {"st_mode": mode}, 0) for name, mode in [(".", stat.S_IFDIR), ("..", stat.S_IFDIR), *found]]

    def create(self, path: str, mode: int) -> int:
        return self._handle(self._add(path, "file"))

    def mkdir(self, path: str, mode: int) -> None:
        self._add(path, "directory")

    def symlink(self, path: str, target: str) -> None:
        self._add(path, "symlink", target)

    def readlink(self, path: str) -> str:
        target = self._disk.nodes[self._inode(path)]
        assert isinstance(target, str)
        return target

    def link(self, path: str, existing: str) -> None:
        directory, name = self._place(path)
        self._do(Link(directory, name, self._inode(existing), "file"))

    def unlink(self, path: str) -> None:
        self._inode(path)
        self._do(Unlink(*self._place(path)))

    def rmdir(self, path: str) -> None:
        if self._disk.nodes[self._inode(path)]:
            raise error(errno.ENOTEMPTY)
        self.unlink(path)

    def rename(self, old: str, new: str) -> None:
        inode, replaced = self._inode(old), self._disk.find(new)
        moved = self._disk.nodes[inode]
        if replaced == inode:
            return
        if replaced is not None:
            there = self._disk.nodes[replaced]
            if isinstance(moved, dict) != isinstance(there, dict):
                raise error(errno.EISDIR if isinstance(there, dict) else errno.ENOTDIR)
            if isinstance(there, dict) and there:
                raise error(errno.ENOTEMPTY)
        self._do(Rename(*self._place(old), *self._place(new), inode, _kind(moved)))

    # data

    def open(self, path: str, flags: int) -> int:
        if path == _CONTROL_PATH:
            return _CONTROL_HANDLE
        if flags & os.O_TRUNC and self._file(path).data:  # libfuse 3 has the kernel leave that to open
            self._do(Truncate(self._inode(path), 0))
        return self._handle(self._inode(path))

    def opendir(self, path: str) -> int:
        return self._handle(self._inode(path))

    def read(self, path: str, size_bytes: int, offset: int, handle: int) -> bytes:
        return b"" if handle == _CONTROL_HANDLE else self._file(path, handle).data[offset : offset + size_bytes]

    def write(self, path: str, data: bytes, offset: int, handle: int) -> int:
        if handle == _CONTROL_HANDLE:
            for line in data.decode().splitlines():
                self.control(line.split())
        elif self._failing_writes:
            self._failing_writes -= 1
            raise error(errno.EIO)
        else:
            self._do(Write(self._inode(path, handle), offset, data))
        return len(data)

    def truncate(self, path: str, size_bytes: int, handle: int | None = None) -> None:
        if path != _CONTROL_PATH:
            self._do(Truncate(self._inode(path, handle), size_bytes))

    def fallocate(self, path: str, mode: int, offset: int, size_bytes: int, handle: int) -> None:
        if not self._allocates:
            raise error(errno.ENOSYS)
        if mode:
            raise error(errno.EOPNOTSUPP)
        if offset + size_bytes > len(self._file(path, handle).data):
            self._do(Truncate(self._inode(path, handle), offset + size_bytes))

    def fsync(self, path: str, only_data: int, handle: int) -> None:
        inode = self._inode(path, handle)
        if self._failing_syncs:
            self._failing_syncs -= 1
            self._log.append(FailedSync(inode))
            raise error(errno.EIO)
        self._log.append(Sync(inode))

    def fsyncdir(self, path: str, only_data: int, handle: int) -> None:
        self._log.append(SyncDirectory(self._inode(path, handle)))

    # what is not kept

    def chmod(self, path: str, mode: int) -> None:
        self._inode(path)

    def chown(self, path: str, user: int, group: int) -> None:
        self._inode(path)

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> None:
        if path != _CONTROL_PATH:
            self._inode(path)

    def statfs(self, path: str) -> dict[str, int]:
        blocks = 1 << 20
        return {
            "f_bsize": 4096, "f_frsize": 4096, "f_blocks": blocks, "f_bfree": blocks, "f_bavail": blocks,
            "f_files": blocks, "f_ffree": blocks, "f_favail": blocks, "f_namemax": 255,
        }  # fmt: skip

    # the power

    def control(self, words: Sequence[str]) -> None:
        """Carry out one line that was written to `.ctl`; EINVAL for one that is none."""
        match words:
            case ["ack", name]:
                self._log.append(Ack(name))
            case ["crash", *how] if len(how) <= 2:
                self._crash(*how)
            case ["eio", count] if count.isdigit():
                self._failing_syncs = int(count)
            case ["wfail", count] if count.isdigit():
                self._failing_writes = int(count)
            case ["dump", *path] if path:
                write_log(" ".join(path), self._log)
            case ["clear"]:
                self._begin_with(Disk(), [])
            case _:
                raise error(errno.EINVAL)

    def _crash(self, policy: str = "none", model: str = "strict") -> None:
        try:
            disk, acks = survive(self._log, model, policy)
        except ValueError:  # no such policy or model
            raise error(errno.EINVAL) from None
        self._begin_with(disk, founded_on(disk, acks))

    def _begin_with(self, disk: Disk, log: list[Operation]) -> None:
        self._disk, self._log = disk, log
        self._cuts += 1

    def _do(self, change: Change) -> None:
        self._log.append(change)
        self._disk.apply(change)

    def _add(self, path: str, kind: Kind, target: str = "") -> int:
        directory, name = self._place(path)
        if path == _CONTROL_PATH or self._disk.find(path) is not None:
            raise error(errno.EEXIST)
        self._last_inode += 1
        self._do(Link(directory, name, self._last_inode, kind, target))
        return self._last_inode

    def _place(self, path: str) -> tuple[int, str]:
        above, _, name = path.rpartition("/")
        return self._inode(above), name

    def _inode(self, path: str, handle: int | None = None) -> int:
        if handle:
            if handle >> _INODE_BITS != self._cuts:
                raise error(errno.EIO)  # it was opened before the power was cut
            return handle & ((1 << _INODE_BITS) - 1)
        inode = self._disk.find(path)
        if inode is None:
            raise error(errno.ENOENT)
        return inode

    def _handle(self, inode: int) -> int:
        return self._cuts << _INODE_BITS | inode

    def _file(self, path: str, handle: int | None = None) -> File:
        file = self._disk.nodes[self._inode(path, handle)]
        assert isinstance(file, File)
        return file


def _kind(node: object) -> Kind:
    return "directory" if isinstance(node, dict) else "symlink" if isinstance(node, str) else "file"


def _mode(node: object) -> int:
    modes = {"directory": stat.S_IFDIR | 0o755, "symlink": stat.S_IFLNK | 0o777, "file": stat.S_IFREG | 0o644}
    return modes[_kind(node)]


def serve(mount_point: str, *, allocates: bool = True) -> None:
    """Mount it, and answer the kernel until it is unmounted; "mounted" is printed once it can be used."""
    import mfusepy  # looks for libfuse

    options = {} if mfusepy.fuse_version_major == 3 else {"direct_io": True, "hard_remove": True, "attr_timeout": 0}
    mfusepy.FUSE(
        PowerLoss(allocates=allocates), mount_point, foreground=True, nothreads=True, fsname="powerloss", **options
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="mount a file system that forgets what was not synced")
    parser.add_argument("mount_point", help="an empty directory")
    parser.add_argument("--without-fallocate", action="store_true", help="reserve no room, as some file systems do")
    arguments = parser.parse_args()
    serve(arguments.mount_point, allocates=not arguments.without_fallocate)
