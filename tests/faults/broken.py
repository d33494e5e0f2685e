"""Copies of the package with one thing broken, which a fault test must catch.

A copy stands first on PYTHONPATH: processes that are started after that import it in the place of holdfast.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
PACKAGE = TESTS.parent / "src" / "holdfast"

Change = tuple[str, str, str]
"""A file of the package, such as "storage/local.py"; a text that stands in it; and what takes its place there."""


def broken_copy(folder: Path, *changes: Change) -> Path:
    """Copy the package, and change it wherever these texts stand.

    Args:
        folder: where the copy, a folder "holdfast", is made.
    Returns:
        What is to stand on PYTHONPATH.
    """
    copy = folder / "holdfast"
    # With what is compiled, which takes longer than most of what is then done; but not what is just being written.
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("*.pyc.*"))
    for module, old, new in changes:
        path = copy / module
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{module} does not have: {old}"
        path.write_text(text.replace(old, new), encoding="utf-8")
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*"):  # its time and size may be the new ones
            compiled.unlink()
    return folder


def use_broken_copy(patch: pytest.MonkeyPatch, folder: Path, *changes: Change) -> None:
    """Until `patch` is undone, processes that are started have such a copy."""
    copy = broken_copy(folder, *changes)
    patch.setenv("PYTHONPATH", os.pathsep.join([str(copy), str(TESTS)]))
