"""The global random generators of Python, NumPy and torch: state of a run that no object of the run holds."""

from __future__ import annotations

import sys
from typing import Any

from holdfast.state import generators
from holdfast.state.restore import restore
from holdfast.state.tree import Branch, StateTree


def global_generators() -> dict[str, Any]:
    """The live generators that `random`, `numpy.random` and, where it is loaded, `torch` draw from."""
    found = generators.global_generators()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        found["torch.cuda"] = list(torch.cuda.default_generators)
    return found


def set_global_generators(node: Branch) -> None:
    """Set them to what a snapshot holds. One that only the snapshot or only this process has is left alone.

    Raises:
        MismatchError: the state does not suit a generator.
    """
    restore(StateTree(node), global_generators(), strict=False)
