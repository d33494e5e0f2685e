"""Run a training program, and kill it: between two snapshots, or in the middle of writing one.

The program is any that writes its snapshots `snapshot_iter_N` into ./result, and prints "starting after iteration N".
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

RESULT = "result"
OUTPUT = "output.txt"
TEMPORARY = "holdfast-tmp"  # how the name of a file that holdfast is still writing ends
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""Sums come out the same to the last bit only where the same number of threads makes them."""

PATIENCE_S = 300  # a program that is still running after this long will not end


class RunFailed(RuntimeError):
    """The training program did not do what the demonstration needs; says what it printed last."""


@dataclass(frozen=True)
class Life:
    """One start of the program, until it ended or was killed."""

    started_after: int  # the iteration that it went on from; 0: from the beginning
    whole_before: int  # the newest whole snapshot when it was started
    seconds: float
    killed: bool
    left_behind: tuple[str, ...]  # files that were being written when it was killed


def newest(folder: Path) -> int:
    """The iteration of the newest whole snapshot of a run; 0 where there is none."""
    found = (re.fullmatch(r"snapshot_iter_(\d+)", name) for name in _names(folder))
    return max((int(match[1]) for match in found if match), default=0)


def live(
    program: list[str],
    folder: Path,
    *,
    kill_after: int | None = None,
    while_writing: bool = False,
    progress: Callable[[int], None] = lambda iteration: None,
) -> Life:
    """Start the program in `folder`, wait for its end or kill it.

    Args:
        program: the command.
        folder: where it runs; what it prints is appended to output.txt there.
        kill_after: kill it once a snapshot of this iteration or a later one is there; None: leave it alone.
        while_writing: wait for the next snapshot's temporary file with that, else for a moment drawn by chance, which
            comes soon where the program is fast.
        progress: called again and again with the newest snapshot's iteration.
    Raises:
        RunFailed: the program failed, never ended, or ended before it could be killed.
    """
    whole, old, begun = newest(folder), _temporaries(folder), time.monotonic()
    with (folder / OUTPUT).open("ab") as output:
        printed = output.tell()
        process = subprocess.Popen(
            program,
            cwd=folder,
            env={**os.environ, **ONE_THREAD},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        if kill_after is None:
            _wait(process, lambda: False, pause_s=0.02, folder=folder, progress=progress)
        else:
            _wait(process, lambda: newest(folder) >= kill_after, pause_s=0.002, folder=folder, progress=progress)
            if while_writing:
                _wait(process, lambda: bool(_temporaries(folder) - old), pause_s=0)
            else:
                now = time.monotonic()
                moment = now + random.uniform(0, min(0.4, (now - begun) / 10))
                _wait(process, lambda: time.monotonic() >= moment, pause_s=0.001)
    finally:
        ended = process.poll() is not None
        process.kill()  # SIGKILL: the program can do nothing about it
        process.wait()
    text = (folder / OUTPUT).read_bytes()[printed:].decode(errors="replace")
    start = re.search(r"starting after iteration (\d+)", text)
    if start is None or ended != (kill_after is None) or (ended and process.returncode != 0):
        last = "\n  ".join(text.strip().splitlines()[-12:])
        end = f"ended with status {process.returncode}" if ended else "was still running"
        raise RunFailed(f"{' '.join(program)} {end}, which was not to be; it printed last:\n  {last}")
    left = _temporaries(folder) - old if not ended else set()
    return Life(int(start[1]), whole, time.monotonic() - begun, not ended, tuple(sorted(left)))


def _wait(
    process: subprocess.Popen[bytes],
    until: Callable[[], bool],
    *,
    pause_s: float,
    folder: Path | None = None,
    progress: Callable[[int], None] = lambda iteration: None,
) -> None:
    """Come back once `until` holds or the process has ended; after PATIENCE_S in any case."""
    latest = time.monotonic() + PATIENCE_S
    while not until() and process.poll() is None and time.monotonic() < latest:
        if folder is not None:
            progress(newest(folder))
        if pause_s:
            time.sleep(pause_s)


def _temporaries(folder: Path) -> set[str]:
    return {name for name in _names(folder) if name.endswith(TEMPORARY)}


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder / RESULT)
    except FileNotFoundError:
        return []
