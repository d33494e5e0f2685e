"""Savefuns that fail for files whose names end in 2 or 5, each with an error of its own; writer processes find them."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from holdfast.errors import CommitError


def _write(path: str, mapping: Mapping[str, Any], error: BaseException) -> None:
    with open(path, "wb") as file:
        np.savez(file, **mapping)
        if path.endswith(("2", "5")):
            raise error


def on_a_full_disk(path: str, mapping: Mapping[str, Any]) -> None:
    """ENOSPC, as writing to a file raises it."""
    _write(path, mapping, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))


def on_a_failing_disk(path: str, mapping: Mapping[str, Any]) -> None:
    """EIO, with a path."""
    _write(path, mapping, OSError(errno.EIO, os.strerror(errno.EIO), path))


def with_an_error_of_holdfasts(path: str, mapping: Mapping[str, Any]) -> None:
    """As one that calls holdfast.save does."""
    _write(path, mapping, CommitError(errno.EIO, f"{path}: not committed: {os.strerror(errno.EIO)}"))


def without_memory(path: str, mapping: Mapping[str, Any]) -> None:
    """MemoryError."""
    _write(path, mapping, MemoryError("no memory is left"))


def without_a_number(path: str, mapping: Mapping[str, Any]) -> None:
    """An OSError that a library made up."""
    _write(path, mapping, OSError("the tape is torn"))


def with_a_mistake(path: str, mapping: Mapping[str, Any]) -> None:
    """TypeError: a mistake in the program."""
    _write(path, mapping, TypeError("this is no path"))
