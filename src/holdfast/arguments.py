"""What the arguments of a store must be: each function returns its argument as the store uses it."""

from __future__ import annotations

import operator
import os
from collections.abc import Mapping
from typing import Any

from holdfast.keep import Policy
from holdfast.writers import ThreadWriter, Writer


def location(location: str | os.PathLike[str]) -> str:
    """Absolute."""
    path = os.fspath(location)
    if not isinstance(path, str):
        raise TypeError(f"the location of a store must be a str or a path, not {location!r}")
    if "://" in path:
        raise ValueError(f"{path}: this holdfast keeps snapshots in directories only; name one")
    return os.path.abspath(path)


def policy(keep: Policy | None) -> Policy | None:
    """None: keep all."""
    if keep is not None and not isinstance(keep, Policy):
        raise TypeError(f"keep must be a policy such as holdfast.keep.last(3), not {keep!r}")
    return keep


def writer(writer: Writer | None) -> Writer:
    """A ThreadWriter where none was given."""
    if writer is None:
        return ThreadWriter()
    for method in ("submit", "close"):
        if not callable(getattr(writer, method, None)):
            raise TypeError(f"writer must have {method}(), see holdfast.writers.Writer; {writer!r} has not")
    if not getattr(writer, "takes_jobs", True):
        raise TypeError(
            f"a store writes snapshot files, and this {type(writer).__name__} has a savefun, or a method of Chainer's, "
            "of its own, which would never be called; give it to extensions.snapshot_object, or make one without"
        )
    return writer


def step(step: int) -> int:
    """A plain int: numpy's are taken, bools and floats are not."""
    try:
        if isinstance(step, bool):
            raise TypeError
        number = operator.index(step)
    except TypeError:
        raise TypeError(f"step must be an int, the number of finished steps, not {step!r}") from None
    if number < 0:
        raise ValueError(f"step must be the number of finished steps, 0 or more, not {number}")
    return number


def metrics(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Plain floats, of numbers and of arrays and tensors without dimensions."""
    checked = {}
    for name, value in metrics.items():
        if not isinstance(name, str):
            raise TypeError(f"metrics must be numbers under str names, not under {name!r}")
        detached = value.detach() if callable(getattr(value, "detach", None)) else value  # a tensor of a graph
        try:
            if isinstance(value, str | bytes) or getattr(value, "shape", ()) != ():
                raise TypeError
            checked[name] = float(detached)
        except (TypeError, ValueError):
            raise TypeError(
                f"the metric {name!r} must be a number, or an array or tensor of no dimension, not {value!r:.80}"
            ) from None
    return checked
