"""StepShift: a hyperparameter times a factor every so many calls."""

from __future__ import annotations

import math
from typing import Any

from holdfast.training.extensions.shift import Shift, limited


class StepShift(Shift):
    """Sets `init * gamma ** floor(t / step)`, where t counts the calls.

    Args:
        attr: the name of the optimizer's attribute, or the key of its parameter groups.
        gamma: the factor of each step.
        step: how many calls make one; above zero.
        init: the first value; None: what the optimizer has when the run begins.
        target: where the shift ends; None: nowhere.
        optimizer: None: the updater's "main", or the only one that it has.

    Raises:
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
        super().__init__(attr, init, optimizer)
        if not step > 0:
            raise ValueError(f"StepShift: step must be above 0, a number of calls, not {step}")
        self._gamma = gamma
        self._step = step
        self._target = target

    def value(self, start: Any) -> Any:
        """See Shift."""
        shifted = start * self._gamma ** float(math.floor(self._t / self._step))
        return limited(shifted, self._target, grows=self._gamma > 1)
