"""The same exploration for whatever saves: a program that saves and acknowledges, and a check of what it left."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from faults.powerloss.disk import MODELS
from faults.powerloss.explore import Findings, explore
from faults.powerloss.operations import Mark
from faults.powerloss.recording import mounted

PLACE = "saved"


def explore_saver(
    program: Sequence[str],
    check: Callable[[str, list[int]], str],
    *,
    folder: Path,
    rand: int = 2,
    seed: int = 0,
    models: Sequence[str] = MODELS,
    python: str = sys.executable,
    paths: Sequence[str] = (),
) -> Findings:
    """Record a program on the power-loss file system, and cut the power after each of its operations.

    Args:
        program: the interpreter's arguments, such as ["-c", TEXT] or ["-m", MODULE, NAME]. Two are added: a folder to
            save into, empty and durable, and the path of a control file. After each save that has returned it calls
            `faults.powerloss.acks.acknowledge(control, step)`, or writes "ack STEP" into that file itself.
        check: is given a plain folder that holds what is left of the first one, and the steps that were acknowledged,
            in order; returns a complaint, or "". It may change the folder.
        folder: an existing one, for logs.
        rand, seed, models: as for explore().
        python, paths: the program's interpreter, and where it looks for modules first.
    Raises:
        Unavailable: this machine cannot mount the file system.
        RuntimeError: the program failed.
    """
    with mounted(folder) as mount:
        place = mount.path / PLACE
        place.mkdir()
        _sync(mount.path)
        begun = len(mount.log())
        mount.run([*program, str(place), mount.control], python=python, paths=paths)
        log = mount.log()
    log.insert(begun, Mark())

    def look(tree: str, acks: Sequence[str]) -> str:
        return check(os.path.join(tree, PLACE), [int(step) for step in acks])

    return explore(log, look, rand=rand, seed=seed, models=models)


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
