"""Where Chainer 7.8.1 is: in an environment of its own, since it needs Python 3.10 or 3.11, and numpy 1.

`make test` builds it in `.venv-chainer`, with the versions of `constraints-chainer.txt`; HOLDFAST_CHAINER_PYTHON names
the interpreter of another one. Where there is neither, the tests that need it are skipped.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
VARIABLE = "HOLDFAST_CHAINER_PYTHON"
BUILT = ROOT / ".venv-chainer"
STAMP = BUILT / "chainer"  # there once everything is installed


def interpreter() -> str:
    """Chainer's interpreter; where there is none, the test is skipped."""
    given = os.environ.get(VARIABLE)
    if given:
        return given
    if not STAMP.exists():
        pytest.skip(
            f"no Chainer: `make test` builds {BUILT.name} where it finds Python 3.10 or 3.11; or set {VARIABLE}"
        )
    return str(BUILT / "bin" / "python")


def start(script: Path, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    """Run a script of the tests in Chainer's environment, with holdfast from the working tree."""
    paths = os.pathsep.join(str(ROOT / name) for name in ("src", "tests"))
    # Chainer itself warns of every numpy and Python since 2020
    command = [interpreter(), "-W", "ignore", str(script), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1", "MPLBACKEND": "Agg"}
    environment["PYTHONHASHSEED"] = "0"  # Chainer keeps the children of a link in a set
    return subprocess.Popen(command, env=environment, text=True, **options)
