"""StepShift: a hyperparameter times a factor every so many calls."""

from __future__ import annotations

import math
from typing import Any

from holdfast.training.extensions.shift import Shift, falls_below, grows_above


class StepShift(Shift):
    """Sets `init * gamma ** floor(t / step)`, where t counts the calls.

    Args:
        attr: the name of the optimizer's attribute, or the key of its parameter groups; see Shift for several groups.
        gamma: the factor of each step.
        step: how many calls make one; above zero.
        init: the first value; None: what the optimizer has when the run begins.
        target: where the shift ends; None: nowhere.
        optimizer: None: the updater's "main", or the only one that it has.

    Raises:
        TypeError: an argument is no number.
        ValueError: `step` is not above zero.
    """

    def __init__(
        self,
        attr: str,
        gamma: float,
        step: float,
        init: float | None = None,
        target: float | None = None,
        optimizer: Any = None,
    ) -> None:
        super().__init__(attr, init, optimizer, target)
        self._gamma = self.number("gamma", gamma)
        self._step = self.number("step", step)
        if self._step <= 0:
            raise ValueError(f"StepShift: step must be above 0, a number of calls, not {step}")

    def value(self, start: float) -> float:
        """See Shift."""
        shifted = start * self._gamma ** float(math.floor(self._t / self._step))
        return self.limited(shifted, start, grows_above if self._gamma > 1 else falls_below)
