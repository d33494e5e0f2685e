"""Real file systems on loop devices, whose power can be cut, and small ones that fill up.

They are mounted in a mount namespace of the process's own, from images in memory: when the process ends, however it
does, nothing of them is left. So a campaign uses them in a process that it has started for that, and there calls
`private_mounts()` first. Linux and root.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from faults.campaigns import Unavailable

_CLONE_NEWNS = 0x20000
_SHUTDOWN = 0x8004587D  # FS_IOC_SHUTDOWN
_WITHOUT_THE_LOG = struct.pack("I", 2)  # nothing that is not on the disk gets there any more


@dataclass(frozen=True)
class Kind:
    """A file system, and how it is mounted."""

    make: tuple[str, ...]  # the command that makes one, without the image
    options: str
    mib: int  # of the image, which is sparse
    shuts_down: bool = True  # knows the ioctl; else the image is copied as it is at that moment

    @property
    def type(self) -> str:
        """What mount calls it."""
        return self.make[0].removeprefix("mkfs.")


_EXT4 = ("mkfs.ext4", "-q", "-F")

KINDS = {
    "ext4 data=ordered": Kind(_EXT4, "data=ordered", 128),
    "ext4 data=writeback": Kind(_EXT4, "data=writeback", 128),
    "ext4 noauto_da_alloc": Kind(_EXT4, "noauto_da_alloc", 128),
    "XFS": Kind(("mkfs.xfs", "-q", "-f"), "defaults", 320),
    "btrfs": Kind(("mkfs.btrfs", "-q", "-f"), "commit=300", 256, shuts_down=False),
}


def check_possible() -> None:
    """Raise Unavailable where these file systems cannot be made here."""
    if os.geteuid() != 0:
        raise Unavailable("mounting file systems needs root")
    if not os.path.exists("/dev/loop-control"):
        raise Unavailable("there are no loop devices")
    wanted = sorted({kind.make[0] for kind in KINDS.values()} | {"mount", "umount", "btrfs", "cp"})
    missing = [command for command in wanted if shutil.which(command) is None]
    if missing:
        raise Unavailable(f"there is no {', '.join(missing)}")


def private_mounts(folder: Path) -> Path:
    """What this process mounts from here on goes with it; returns a new folder, in memory, for images.

    Raises:
        Unavailable: this process may not mount.
    """
    check_possible()
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNS):
        raise Unavailable(f"no mount namespace of its own: {os.strerror(ctypes.get_errno())}")
    room = folder / "room"
    room.mkdir(parents=True)
    try:
        run("mount", "--make-rprivate", "/")
        run("mount", "-t", "tmpfs", "-o", "size=3g", "tmpfs", str(room))
    except subprocess.CalledProcessError as error:
        raise Unavailable(f"this process may not mount: {error.stderr.strip()}") from error
    return room


class Disk:
    """A file system of its own on a loop device, mounted.

    Args:
        room: where its image and its mount point are made, in folders of its name.
    """

    def __init__(self, kind: Kind, room: Path, name: str) -> None:
        self._kind = kind
        self._image = room / f"{name}.image"
        self._after = room / f"{name}.after"
        self.place = room / name  # where it is mounted
        self.place.mkdir()
        with open(self._image, "wb") as image:
            image.truncate(kind.mib << 20)
        run(*kind.make, str(self._image))
        self._mount()

    @property
    def cuts_at_once(self) -> bool:
        """Whether a cut takes no time, so that others may write meanwhile."""
        return self._kind.shuts_down

    def cut(self) -> None:
        """Cut the power: what is on the disk now is all that there will be."""
        if self._kind.shuts_down:
            fd = os.open(self.place, os.O_RDONLY)
            try:
                fcntl.ioctl(fd, _SHUTDOWN, _WITHOUT_THE_LOG)
            finally:
                os.close(fd)
        else:
            run("cp", "--sparse=always", str(self._image), str(self._after))

    def restart(self) -> None:
        """Mount again what the cut has left; whoever had files open there must be gone."""
        self.close()
        if not self._kind.shuts_down:
            os.replace(self._after, self._image)
        self._mount()

    def close(self) -> None:
        """Unmount it."""
        run("umount", str(self.place))
        if self._kind.type == "btrfs":
            # It would take the older state of a disk that it knows for a second disk with the same name.
            subprocess.run(["btrfs", "device", "scan", "--forget"], capture_output=True, check=False)

    def _mount(self) -> None:
        run("mount", "-t", self._kind.type, "-o", f"loop,{self._kind.options}", str(self._image), str(self.place))


@contextmanager
def tmpfs(room: Path, name: str, kib: int) -> Iterator[Path]:
    """A file system in memory of so many KiB."""
    place = room / name
    place.mkdir()
    run("mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(place))
    try:
        yield place
    finally:
        run("umount", str(place))
        place.rmdir()


@contextmanager
def small_ext4(room: Path, name: str, mib: int) -> Iterator[Path]:
    """A small ext4 on a loop device."""
    disk = Disk(Kind((*_EXT4, "-O", "^has_journal", "-m", "0"), "defaults", mib), room, name)
    try:
        yield disk.place
    finally:
        disk.close()
        disk.place.rmdir()


def run(*command: str) -> None:
    """Carry out a command; raises CalledProcessError, which has what it said."""
    subprocess.run(command, check=True, capture_output=True, text=True)
