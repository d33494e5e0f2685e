"""PolynomialShift: a hyperparameter that goes to zero as a power of the calls that are left."""

from __future__ import annotations

from typing import Any

from holdfast.training.extensions.shift import Shift


class PolynomialShift(Shift):
    """Sets `init * max(1 - t / max_count, 0) ** rate`, where t counts the calls.

    Args:
        attr: the name of the optimizer's attribute, or the key of its parameter groups.
        rate: the exponent.
        max_count: after how many calls the shift ends; above zero.
        init: the first value; None: what the optimizer has when the run begins.
        target: where the shift ends before that; None: nowhere.
        optimizer: None: the updater's "main", or the only one that it has.

    Raises:
        ValueError: `max_count` is not above zero.
    """

    def __init__(
        self,
        attr: str,
        rate: float,
        max_count: float,
        init: float | None = None,
        target: float | None = None,
        optimizer: Any = None,
    ) -> None:
        super().__init__(attr, init, optimizer)
        if not max_count > 0:
            raise ValueError(f"PolynomialShift: max_count must be above 0, a number of calls, not {max_count}")
        self._rate = rate
        self._max_count = max_count
        self._target = target

    def value(self, start: Any) -> Any:
        """See Shift."""
        left = max(1 - self._t / self._max_count, 0)
        if not left and self._rate < 0:  # it has risen above every number
            return start * float("inf") if self._target is None else self._target
        value = start * left**self._rate
        if self._target is None:
            return value
        if not value:
            return self._target if self._rate > 0 else value
        past = self._target / value > 1 if self._rate > 0 else self._target / value < 1
        return self._target if past else value
