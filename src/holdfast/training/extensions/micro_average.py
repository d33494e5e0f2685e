"""MicroAverage: the ratio of two sums over an interval, such as the accuracy over all examples of an epoch.

The mean of the batches' own ratios is another number wherever batches are of unequal size.
"""

from __future__ import annotations

import math
import numbers
from typing import TYPE_CHECKING, Any

from holdfast.reporter import detach, report
from holdfast.training import chainer_bridge
from holdfast.training.extension import PRIORITY_EDITOR, Extension
from holdfast.training.extensions.intervals import Interval

if TYPE_CHECKING:
    from holdfast.training.trainer import Trainer


class MicroAverage(Extension):
    """Sums up two reported values, and reports the ratio of the sums whenever `trigger` fires.

    Iterations in which one of the two was not reported are passed over, and `trigger` is not asked in them. Sums of
    whole numbers are exact. Where the denominators sum up to zero, the ratio is NaN.

    Example:
        holdfast.report({"correct": correct, "total": len(batch)}, model)  # in each iteration
        trainer.extend(extensions.MicroAverage("main/correct", "main/total", "main/accuracy"))

    Args:
        numerator_key: the name of the value to sum up above the line.
        denominator_key: the name of the one below it.
        result_key: the name to report the ratio under.
        trigger: when to report it and begin again: a trigger, or a pair such as (1, "epoch"). It is not the one that
            `extend` takes, by which values are taken in: in every iteration, unless `extend` is told otherwise.

    Raises:
        TypeError: a key is no str, or `trigger` is none.
        ValueError: the trigger's period or unit is not one.
    """

    priority = PRIORITY_EDITOR

    def __init__(self, numerator_key: str, denominator_key: str, result_key: str, trigger: Any = (1, "epoch")) -> None:
        keys = {"numerator_key": numerator_key, "denominator_key": denominator_key, "result_key": result_key}
        for what, key in keys.items():
            if not isinstance(key, str):
                raise TypeError(f"MicroAverage: {what} must be the name of a value, not {key!r}")
        self._interval = Interval(trigger, kept_by_chainer=False)
        self._numerator_key = numerator_key
        self._denominator_key = denominator_key
        self._result_key = result_key
        self._numerator: int | float = 0
        self._denominator: int | float = 0

    def initialize(self, trainer: Trainer) -> None:
        """Begin here, where a training goes on whose snapshot knows nothing of this extension."""
        self._interval.initialize(trainer)

    def __call__(self, trainer: Trainer) -> None:
        """Take in the values of this iteration; report the ratio if it is time.

        Raises:
            TypeError: one of them is no number.
        """
        observation = trainer.observation
        if self._numerator_key not in observation or self._denominator_key not in observation:
            return
        numerator = self._observed(trainer, self._numerator_key)
        denominator = self._observed(trainer, self._denominator_key)
        self._numerator += numerator
        self._denominator += denominator
        if self._interval.ends(trainer):
            ratio = self._numerator / self._denominator if self._denominator else math.nan
            self._numerator = self._denominator = 0
            report({self._result_key: ratio})

    def serialize(self, serializer: Any) -> None:
        """Save or restore the two sums, under Chainer's keys, and the trigger. Chainer does not keep that: from a file
        of its own, the interval under way ends where it would have."""
        loading = getattr(serializer, "loading", False)
        for key in ("_numerator", "_denominator"):
            # as it is stored, an int or a float, whichever of the two it is today
            found = serializer(key, None if loading else getattr(self, key))
            if found is not None:
                setattr(self, key, _number(found))
        self._interval.serialize(serializer)

    def _observed(self, trainer: Trainer, key: str) -> int | float:
        value = trainer.observation[key]
        number = _number(value)
        if number is None:
            shape = f" of shape {tuple(value.shape)}" if hasattr(value, "shape") else ""
            raise TypeError(
                f"MicroAverage: {key!r} is a {type(value).__name__}{shape} in iteration {trainer.updater.iteration}; "
                "want one real number, such as the sum over the batch"
            )
        return number


def _number(value: Any) -> int | float | None:
    """A whole number as an int, any other as a float: of a number, or of an array or a tensor with one element; None
    for anything else."""
    value = value.array if chainer_bridge.is_a(value, "Variable") else detach(value)
    if hasattr(value, "shape") and hasattr(value, "item"):
        if math.prod(value.shape) != 1:
            return None
        value = value.item()
    if isinstance(value, numbers.Integral):
        return int(value)
    return float(value) if isinstance(value, numbers.Real) else None
