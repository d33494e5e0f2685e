"""Which files a process touches: every path that it opens, lists, asks for, makes, renames or removes is told.

What Python tells an audit hook, and the calls that it does not tell. A hook cannot be taken out again: only for an
interpreter that does nothing else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
FOLLOWED = {"os.listdir", "os.scandir", "os.chdir", "os.truncate", "os.chmod", "os.utime", "os.stat", "os.access"}
CHANGES = {
    "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown",
    "os.utime", "os.mkfifo", "os.mknod",
}  # fmt: skip
READS = {"os.listdir", "os.scandir", "os.chdir", "os.stat", "os.lstat", "os.readlink", "os.access"}


@cache
def readable() -> tuple[str, ...]:
    """Places that any Python program reads."""
    found = [sys.prefix, sys.base_prefix, sys.exec_prefix, *sys.path, "/usr", "/lib", "/lib64", "/etc", "/proc", "/sys"]
    return tuple(sorted({os.path.realpath(place) for place in found if place}))


def is_below(path: str, folder: str) -> bool:
    """Whether a path is a folder, or in it."""
    return path == folder or path.startswith(os.path.join(folder, ""))


class Watch:
    """What is touched outside one directory.

    Args:
        place: the directory; the folders above it may be looked at, and synced.
        scratch: a folder in which nothing but `place` may be touched, whatever else may be read.
    Attributes:
        bad: a sentence for each path outside.
    """

    def __init__(self, place: str, scratch: str) -> None:
        self._place = os.path.realpath(place)
        self._scratch = os.path.realpath(scratch)
        self._readable = readable()
        self.bad: list[str] = []

    def see(self, what: str, path: str, *, changes: bool, follows: bool) -> None:
        """One path that was touched."""
        path = os.path.abspath(path)
        if follows:
            real = os.path.realpath(path)
        else:
            real = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
        if not self.allows(real, changes):
            self.bad.append(f"{what} {path!r}{f', which is {real!r}' if real != path else ''}")

    def allows(self, real: str, changes: bool) -> bool:
        """Whether a path without links may be touched."""
        if is_below(real, self._place) or real == os.devnull:
            return True
        if changes:
            return False
        if is_below(self._place, real):
            return True
        return not is_below(real, self._scratch) and any(is_below(real, place) for place in self._readable)


_watch: Watch | None = None


@contextmanager
def watching(watch: Watch) -> Iterator[None]:
    """Tell `watch` what is touched in the block."""
    global _watch
    _watch = watch
    try:
        yield
    finally:
        _watch = None


def install() -> None:
    """Once in an interpreter, before anything is watched."""
    sys.addaudithook(_heard)
    for name in ("stat", "lstat", "readlink", "access"):  # of these Python does not tell
        setattr(os, name, _told(f"os.{name}", getattr(os, name)))


def _told(what: str, real: Callable[..., Any]) -> Callable[..., Any]:
    def call(path: Any, *arguments: Any, **named: Any) -> Any:
        _see(what, path, follows=what in FOLLOWED and named.get("follow_symlinks", True))
        return real(path, *arguments, **named)

    return call


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    if _watch is None:
        return
    if event == "open":
        path, _, flags = arguments
        _see(event, path, changes=bool(flags & WRITES), follows=not flags & os.O_NOFOLLOW)
    elif event in CHANGES or event in READS:
        for path in arguments[: 2 if event in ("os.rename", "os.link") else 1]:
            _see(event, path, changes=event in CHANGES, follows=event in FOLLOWED)


def _see(what: str, path: Any, *, changes: bool = False, follows: bool) -> None:
    global _watch
    watch = _watch
    if watch is None or not isinstance(path, str | bytes | os.PathLike):
        return
    _watch = None  # what follows touches files, too
    try:
        name = os.fsdecode(path)
        if "\0" not in name:  # else the call fails before it touches anything
            watch.see(what, name, changes=changes, follows=follows)
    except UnicodeEncodeError:  # no name of a file: the call fails
        pass
    finally:
        _watch = watch
