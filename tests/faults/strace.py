"""A function in a process of its own, under strace, which kills it before a call, or lets a call fail.

strace counts a call by its name and its thread, from the moment on at which it is attached: when the function is ready.
The points of a function are all that the threads of its processes come to, each a thread, a name and an ordinal, taken
from a run in which nothing is done to it.

A process is a fork of this one, which must have one thread only: so each costs no start of an interpreter.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faults.campaigns import Unavailable

KILLS = (
    "openat", "close", "dup", "fcntl", "fstat", "newfstatat", "getdents64", "pwrite64", "pread64", "write", "fsync",
    "fallocate", "ftruncate", "rename", "renameat", "unlink", "unlinkat", "mkdir", "rmdir", "sendmsg", "recvmsg",
    "mmap", "munmap",
)  # fmt: skip
"""Before these a process is killed."""
ERRORS = (
    "openat", "close", "dup", "fcntl", "fstat", "newfstatat", "getdents64", "pwrite64", "fsync", "fallocate",
    "ftruncate", "rename", "unlink",
)  # fmt: skip
"""These are to fail: calls that storage/syscalls.py makes."""

LIMIT_S = 60.0
_LINE = re.compile(r"^(\d+) +(\w+)\(")

EVERYONE = -1
Point = tuple[int, str, int]
"""Who: one of those that ready() is told of, from 0, this process's first thread; or EVERYONE, which is whoever comes
there first. Then the name of a call, and which of that name it is."""


class Told:
    """What the function is given to speak with: ready() once, then say() whenever there is something to tell."""

    def __init__(self, out: int, go: int) -> None:
        self._out = out
        self._go = go

    def ready(self, *more: int) -> None:
        """Returns when strace watches this process, and these `more` processes and threads."""
        self.say("ready", os.getpid(), *more)
        assert os.read(self._go, 1), "nobody watches"

    def say(self, *words: object) -> None:
        """Tell the test; what was told, it knows whatever comes next."""
        os.write(self._out, " ".join(map(str, words)).encode() + b"\n")


Function = Callable[..., None]


@dataclass(frozen=True)
class Run:
    """What came of a function."""

    code: int  # 0; 1: it raised what the last words are; negative: the signal that ended it
    said: tuple[tuple[str, ...], ...]  # each time it spoke, in words
    points: tuple[Point, ...] = ()
    hit: bool = False  # whether what was to happen has happened


def check_available() -> None:
    """Raises Unavailable where processes cannot be traced."""
    if why := why_not():
        raise Unavailable(why)


def why_not() -> str:
    """Why processes cannot be traced here; "" where they can."""
    if shutil.which("strace") is None:
        return "there is no strace"
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        try:
            with _tracer([process.pid], Path(os.devnull), "", 0) as tracer:
                process.kill()
                _end(tracer)
        except Unavailable as error:
            return str(error)
        finally:
            process.kill()
    return ""


def run(
    function: Function,
    arguments: Sequence[Any],
    scratch: Path,
    inject: str = "",
    who: int = EVERYONE,
) -> Run:
    """Call `function(told, *arguments)` in a process of its own.

    Args:
        scratch: a file, for what strace says.
        inject: what is to happen, as strace takes it, such as "fsync:signal=SIGKILL:when=2".
        who: to whom; see Point.
    """
    heard, out = os.pipe()
    go, started = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(heard)
        os.close(started)
        _call(function, Told(out, go), arguments)
    os.close(out)
    os.close(go)
    try:
        text = _hear(heard, until=b"\n")
        ids = [int(word) for word in text.split()[1:]]
        if text.startswith(b"ready"):
            with _tracer(ids, scratch, inject, who) as tracer:
                os.write(started, b"\n")
                text += _hear(heard)
                _end(tracer)  # with the last process that it watches
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except BaseException:
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        raise
    finally:
        os.close(heard)
        os.close(started)
    said = tuple(tuple(line.split()) for line in text.decode(errors="replace").splitlines()[1:])
    log = scratch.read_text(errors="replace") if scratch.exists() else ""
    scratch.unlink(missing_ok=True)
    return Run(code, said, () if inject else _points(log, ids), "+++ killed by SIGKILL" in log or "(INJECTED)" in log)


def _call(function: Function, told: Told, arguments: Sequence[Any]) -> None:
    code = 1
    try:
        function(told, *arguments)
        code = 0
    except Exception as error:  # noqa: BLE001  the test is to hear of it
        where = " ".join(traceback.format_exc()[-1500:].split())
        told.say("raised", type(error).__name__, where)
    finally:
        os._exit(code)


def _tracer(ids: Sequence[int], log: Path, inject: str, who: int) -> subprocess.Popen[str]:
    names = [inject.partition(":")[0]] if inject else KILLS
    command = ["strace", "-o", str(log), "-e", f"trace={','.join(f'?{name}' for name in names)}"]
    if who == EVERYONE:
        command.append("-f")  # which has the threads of a process with it
        found = [one for one in ids if one == ids[0] or not Path(f"/proc/{ids[0]}/task/{one}").exists()]
    else:
        found = [ids[who]]
    command += [word for one in found for word in ("-p", str(one))]
    if inject:
        command += ["-e", f"inject={inject}"]
    tracer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert tracer.stderr is not None
    for _ in found:
        line = tracer.stderr.readline()
        if "attached" not in line:
            tracer.kill()
            tracer.communicate()
            raise Unavailable(f"strace cannot trace here: {line.strip()}")
    return tracer


def _end(tracer: subprocess.Popen[str]) -> None:
    try:
        tracer.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        tracer.kill()
        raise AssertionError(f"a process is still there after {LIMIT_S:.0f} s") from None


def _hear(fd: int, until: bytes | None = None) -> bytes:
    """What is said until the end, or up to some byte."""
    text, end = b"", time.monotonic() + LIMIT_S
    while until is None or until not in text:
        if not select.select([fd], [], [], max(0.0, end - time.monotonic()))[0]:
            raise AssertionError(f"it hangs, after it has said {text[-300:].decode(errors='replace')!r}")
        piece = os.read(fd, 1 << 16)
        if not piece:
            break
        text += piece
    return text


def _points(log: str, ids: Sequence[int]) -> tuple[Point, ...]:
    counts: Counter[tuple[int, str]] = Counter()
    points: set[Point] = set()
    for line in log.splitlines():
        found = _LINE.match(line)
        if found is not None:
            thread, name = int(found[1]), found[2]
            counts[thread, name] += 1
            points.add((ids.index(thread) if thread in ids else EVERYONE, name, counts[thread, name]))
    return tuple(sorted(points))
