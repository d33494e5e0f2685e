"""Runs programs with Chainer or with holdfast in its place, and prints what came of them.

    python runner.py chainer|holdfast FOLDER PROGRAM...

A program is a module with `main(api, out)`: `api` is one of the two libraries, `out` a fresh folder in FOLDER, and what
is returned is a dict of names to JSON values. Where the two differ on purpose, `DIFFERS` holds both values by name:
Chainer's, and holdfast's. It prints one JSON object: by the program's name, `outcome` and `differs`, or the traceback
under `crashed`.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import math
import os
import random
import runpy
import sys
import traceback
import warnings
from pathlib import Path

import numpy as np

LIMIT_S = 240  # for all programs: one that hangs must say where


def main(side: str, folder: str, paths: list[str]) -> None:
    outcomes = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what programs print must not come in between
    faulthandler.dump_traceback_later(LIMIT_S, exit=True)
    api = importlib.import_module(side)
    for part in ("training", "serializers", "reporter"):
        importlib.import_module(f"{side}.{part}")
    json.dump({Path(path).stem: run(api, Path(path), Path(folder)) for path in paths}, outcomes)
    outcomes.close()
    faulthandler.cancel_dump_traceback_later()


def run(api: object, path: Path, folder: Path) -> dict[str, object]:
    out = folder / path.stem
    out.mkdir()
    os.chdir(out)
    np.random.seed(0)
    random.seed(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = runpy.run_path(str(path))
            return {"outcome": plain(program["main"](api, out)), "differs": plain(program.get("DIFFERS", {}))}
    except Exception:  # noqa: BLE001  the other programs are still to run
        return {"crashed": traceback.format_exc()}


def plain(value: object) -> object:
    """A value as JSON has it."""
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # NaN is not equal to itself
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"an outcome holds a {type(value).__name__}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
