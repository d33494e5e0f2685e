"""What extensions need of Chainer where a program uses it: its modes, its devices, its kinds of arrays.

Chainer is never imported here. None of its objects can exist before the program has imported it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np


def testing() -> AbstractContextManager[Any]:
    """Until the block ends, Chainer's functions behave as in tests: `chainer.config.train` is False."""
    chainer = sys.modules.get("chainer")
    return contextlib.nullcontext() if chainer is None else chainer.using_config("train", False)


def no_backprop() -> AbstractContextManager[Any]:
    """Until the block ends, Chainer's functions make no graph."""
    chainer = sys.modules.get("chainer")
    return contextlib.nullcontext() if chainer is None else chainer.no_backprop_mode()


def is_a(value: object, name: str) -> bool:
    """Whether this is of a class of Chainer's, such as "Link" or "dataset.Iterator"."""
    found: Any = sys.modules.get("chainer")
    if found is None:
        return False
    for part in name.split("."):
        found = getattr(found, part)
    return isinstance(value, found)


def array_module(array: Any) -> Any:
    """The module whose functions take such an array: numpy, jax.numpy, or what Chainer says (cupy, chainerx).

    Raises:
        TypeError: nobody knows it.
    """
    if isinstance(array, np.ndarray | np.generic):
        return np
    jax = sys.modules.get("jax")
    if jax is not None and isinstance(array, jax.Array):
        return jax.numpy
    chainer = sys.modules.get("chainer")
    if chainer is None:
        raise TypeError(f"a {type(array).__name__} is no array of numpy, torch, jax or Chainer")
    return chainer.backend.get_array_module(array)


def convert(converter: Callable[[Any, Any], Any], batch: Any, device: Any) -> Any:
    """What a converter makes of a batch, as Chainer calls it.

    Args:
        converter: one that is no `chainer.dataset.Converter` knows a device of Chainer's as -1 (the CPU) or the number
            of a GPU.
        device: anything; one that is not of Chainer's is handed over as it is.
    Raises:
        RuntimeError: a device of Chainer's has no number.
    """
    if not is_a(device, "backend.Device") or is_a(converter, "dataset.Converter"):
        return converter(batch, device)
    if device.xp is np:
        return converter(batch, -1)
    if device.xp is sys.modules["chainer"].backends.cuda.cupy:
        return converter(batch, device.device.id)
    raise RuntimeError(
        f"the converter, a {type(converter).__name__}, knows devices by their number, and {device} has none; decorate "
        "it with chainer.dataset.converter()"
    )
