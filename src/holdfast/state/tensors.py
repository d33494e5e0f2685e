"""What many tensors have in common, found out in few calls: a step of the interpreter for each property of each would
take longer than copying them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from operator import attrgetter
from typing import Any

_IS_CPU: Callable[[Any], bool] = attrgetter("is_cpu")


def are_plain(tensors: Sequence[Any], are_complex: bool) -> bool:
    """Whether the bytes of each lie in main memory as they are to be stored.

    Args:
        are_complex: whether some may be; only these can be conjugated.
    """
    tensor = sys.modules["torch"].Tensor
    if not (all(map(_IS_CPU, tensors)) and all(map(tensor.is_contiguous, tensors))):
        return False
    return not any(map(tensor.is_neg, tensors)) and not (are_complex and any(map(tensor.is_conj, tensors)))


def guard(tensors: Sequence[Any], are_complex: bool) -> Callable[..., bool]:
    """A function of as many tensors that says, of all in one call, whether types, dtypes, shapes, strides, devices and
    marks (conjugated, negated, requires_grad) are those of these; it may say no without need.

    torch.compile asks in the same way, by a class that is no public name: where it is missing, the answer is no.
    """
    with suppress(AttributeError, TypeError, ValueError, RuntimeError):
        if are_plain(tensors, are_complex):
            guards = sys.modules["torch"]._C._dynamo.guards
            same: Callable[..., bool] = guards.TensorGuards(
                *tensors, dynamic_dims_sizes=None, dynamic_dims_strides=None
            ).check
            return same
    return _never


def examples(tensors: Sequence[Any], shapes: Sequence[tuple[int, ...]]) -> Sequence[Any]:
    """Tensors that stand for all of them: whatever is asked of these has the same answer for each of the others.

    Args:
        shapes: that they are to have, one a tensor. One of each shape is returned where all others of that shape are
            the same as it, address and values aside; else all of them are.
    """
    groups: dict[tuple[int, ...], list[Any]] = {}
    for shape, tensor in zip(shapes, tensors, strict=True):
        groups.setdefault(shape, []).append(tensor)
    # In inference mode a guard does not tell inference tensors from others.
    if 4 * len(groups) > len(tensors) or sys.modules["torch"].is_inference_mode_enabled():
        return tensors
    for group in groups.values():
        if not all(map(guard(group[:1], group[0].is_complex()), group)):
            return tensors
    return [group[0] for group in groups.values()]


def _never(*tensors: Any) -> bool:
    return False
