"""Runs programs on the power-loss file system, and brings back what they asked of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ctypes.util import find_library
from importlib.util import find_spec
from pathlib import Path

from faults.campaigns import TESTS, Unavailable
from faults.powerloss import acks
from faults.powerloss.filesystem import CONTROL
from faults.powerloss.logs import read_log
from faults.powerloss.operations import Operation

_UNMOUNT = ("fusermount3", "fusermount")


class Mount:
    """A power-loss file system in use.

    Attributes:
        path: where it is mounted.
        control: its `.ctl`.
    """

    def __init__(self, path: Path, scratch: Path) -> None:
        self.path = path
        self.control = str(path / CONTROL)
        self._dump = scratch / "log"

    def tell(self, command: str) -> None:
        """Give it a command; filesystem.py lists them."""
        acks.tell(self.control, command)

    def log(self) -> list[Operation]:
        """What it was asked up to now, since it was mounted or cleared."""
        self.tell(f"dump {self._dump}")
        return read_log(self._dump)

    def run(self, program: Sequence[str], *, python: str = sys.executable, paths: Sequence[str] = ()) -> None:
        """Run a program to its end.

        Args:
            program: the interpreter's arguments.
            paths: where it looks for modules first; then in tests/.
        Raises:
            RuntimeError: its status was not 0; with what it said.
        """
        done = subprocess.run(
            [python, *program],
            check=False,
            env=_environment(*paths),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"{[python, *program]!r:.200} ended with status {done.returncode}: {done.stderr}")


@contextmanager
def mounted(folder: Path, *, allocates: bool = True) -> Iterator[Mount]:
    """A fresh file system, for the length of the block.

    Args:
        folder: an existing one, for the mount point and for logs.
        allocates: whether it has fallocate(2).
    Raises:
        Unavailable: this machine cannot mount it.
    """
    python = os.environ.get("HOLDFAST_TEST_FUSE_PYTHON", sys.executable)
    unmount = _check(python)
    point = folder / "mount"
    point.mkdir()
    command = [python, "-m", "faults.powerloss.filesystem", str(point)]
    with (
        open(folder / "errors", "w+") as errors,
        subprocess.Popen(
            command if allocates else [*command, "--without-fallocate"],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as server,
    ):
        assert server.stdout is not None
        if server.stdout.readline() != "mounted\n":
            server.wait()
            errors.seek(0)
            raise _failure(errors.read())
        try:
            yield Mount(point.resolve(), folder)
        finally:
            subprocess.run([unmount, "-uz", str(point)], check=True, capture_output=True)
            server.kill()  # it would not end while anybody has a file open there; all of it is in memory
            server.wait()
            point.rmdir()


def _environment(*paths: str) -> dict[str, str]:
    inherited = os.environ.get("PYTHONPATH", "")
    places = [*paths, *filter(None, [inherited]), str(TESTS)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(places)}


def _check(python: str) -> str:
    """The command that unmounts; raises Unavailable where something is missing."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        raise Unavailable("there is no /dev/fuse that this user may open")
    if not (find_library("fuse3") or find_library("fuse")):
        raise Unavailable("libfuse is not installed: apt-get install fuse3")
    if python == sys.executable and find_spec("mfusepy") is None:
        raise Unavailable("mfusepy is not installed: pip install mfusepy")
    unmount = next(filter(None, map(shutil.which, _UNMOUNT)), None)
    if unmount is None:
        raise Unavailable("fusermount3 is not installed: apt-get install fuse3")
    return unmount


def _failure(errors: str) -> Exception:
    if "not permitted" in errors or "ermission denied" in errors:
        return Unavailable(f"FUSE may not be mounted here: {errors.strip().splitlines()[0]}")
    return RuntimeError(f"the power-loss file system did not start: {errors}")
