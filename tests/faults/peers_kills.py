"""SIGKILL before the system calls of a save, for whatever saves: strace is attached when the save is about to begin."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from faults.campaigns import TESTS, Outcome, Unavailable
from faults.peers_savers import SAVERS, complaint_of

CALLS = (
    "openat", "?open", "?creat", "write", "pwrite64", "writev", "pwritev", "ftruncate", "fallocate", "fsync",
    "fdatasync", "close", "?rename", "?renameat", "renameat2", "?link", "linkat", "?unlink", "unlinkat", "?mkdir",
    "mkdirat", "?rmdir",
)  # fmt: skip
"""What changes a file, or may; "?": where this processor has it."""

_LINE = re.compile(r"^(\d+) +(\w+)\(")


def kills(name: str, mode: str, *, most: int, seed: int, folder: Path) -> Outcome:
    """Kill a second save before each of its calls, and load what is left; the first save was acknowledged.

    Args:
        name, mode: who saves, and under which name.
        most: so many calls at most; drawn where there are more.
    """
    if shutil.which("strace") is None:
        raise Unavailable("there is no strace")
    points = _points(name, mode, folder / "calm")
    chosen = random.Random(seed).sample(points, min(most, len(points)))
    places = [folder / f"kill_{number}" for number in range(len(chosen))]
    with ThreadPoolExecutor(2) as threads:
        died = list(threads.map(lambda point, place: _dies(name, mode, point, place), chosen, places))
    saver, bad = SAVERS[name](), []
    for point, place, was_killed in zip(chosen, places, died, strict=True):
        if was_killed and (complaint := complaint_of(saver, place, [1], mode)):
            bad.append(f"{name}, {mode}, killed before {point[0]} {point[1]}: {complaint}")
        shutil.rmtree(place)
    return Outcome(sum(died), tuple(bad), notes=f"{len(points)} calls")


def _points(name: str, mode: str, folder: Path) -> list[tuple[str, int]]:
    """Every call that a save makes, as its name and its number in its thread."""
    folder.mkdir(parents=True)
    log = folder.with_suffix(".log")
    with _program(name, mode, folder) as program, _strace(program, "-o", str(log), "-e", f"trace={','.join(CALLS)}"):
        _go_on(program)
        if program.wait() != 0:
            raise RuntimeError(f"{name} cannot save")
    counts: Counter[tuple[str, str]] = Counter()
    for line in log.read_text().splitlines():
        if found := _LINE.match(line):
            counts[found[1], found[2]] += 1
    most = {call: max(n for (_, other), n in counts.items() if other == call) for _, call in counts}
    return [(call, number) for call in sorted(most) for number in range(1, most[call] + 1)]


def _dies(name: str, mode: str, point: tuple[str, int], folder: Path) -> bool:
    """Whether the program came to that call, and so was killed."""
    folder.mkdir(parents=True)
    call, number = point
    faults = ("-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={number}")
    with _program(name, mode, folder) as program, _strace(program, *faults):
        _go_on(program)
        return program.wait() != 0


@contextmanager
def _program(name: str, mode: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "faults.peers_programs", name, mode, str(folder)]
    inherited = [one for one in [os.environ.get("PYTHONPATH")] if one]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*inherited, str(TESTS)])},
    ) as program:
        try:
            assert program.stdout is not None
            if program.stdout.readline() != "ready\n":
                raise RuntimeError(f"{name} cannot save: {' '.join(command)}")
            yield program
        finally:
            program.kill()


@contextmanager
def _strace(program: subprocess.Popen[str], *options: str) -> Iterator[None]:
    command = ["strace", "-f", "-p", str(program.pid), *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        try:
            assert tracer.stderr is not None
            said = tracer.stderr.readline()
            if "attached" not in said:
                raise Unavailable(f"strace cannot trace here: {said.strip()}")
            yield
        finally:
            program.kill()  # strace ends with what it traces
            tracer.communicate()


def _go_on(program: subprocess.Popen[str]) -> None:
    assert program.stdin is not None
    program.stdin.write("\n")
    program.stdin.flush()
