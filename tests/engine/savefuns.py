"""Functions that a writer process finds by their names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

kept: list[Mapping[str, Any]] = []


def keeping(path: str, mapping: Mapping[str, Any]) -> None:
    """Keeps every mapping that it was ever given, and fails if one of them has changed since."""
    kept.append(mapping)
    for one in kept:
        check(one)
    with open(path, "wb") as file:
        np.savez(file, **mapping)


def check(mapping: Mapping[str, Any]) -> None:
    """Every array holds the value that stands in the others, too."""
    values = {float(value) for array in mapping.values() for value in np.unique(array)}
    assert len(values) == 1, f"torn: {values}"


def failing_once(path: str, mapping: Mapping[str, Any]) -> None:
    """Fails for the file whose name holds "_2", and writes any other."""
    if "_2" in os.path.basename(path):
        raise ValueError("the savefun is not well")
    with open(path, "wb") as file:
        np.savez(file, **mapping)


def dying_once(path: str, mapping: Mapping[str, Any]) -> None:
    """Takes its process with it at the file whose name holds "_2", and writes any other."""
    if "_2" in os.path.basename(path):
        os._exit(7)
    with open(path, "wb") as file:
        np.savez(file, **mapping)
