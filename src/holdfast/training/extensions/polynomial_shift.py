"""PolynomialShift: a hyperparameter that goes to zero as a power of the calls that are left."""

from __future__ import annotations

from typing import Any

from holdfast.training.extensions.shift import Shift


class PolynomialShift(Shift):
    """Sets `init * max(1 - t / max_count, 0) ** rate`, where t counts the calls.

    With a negative rate it rises, and is infinite after `max_count` calls where no target is given.

    Args:
        attr: the name of the optimizer's attribute, or the key of its parameter groups; see Shift for several groups.
        rate: the exponent.
        max_count: after how many calls the shift ends; above zero.
        init: the first value; None: what the optimizer has when the run begins.
        target: where the shift ends before that; None: nowhere.
        optimizer: None: the updater's "main", or the only one that it has.

    Raises:
        TypeError: an argument is no number.
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
        super().__init__(attr, init, optimizer, target)
        self._rate = self.number("rate", rate)
        self._max_count = self.number("max_count", max_count)
        if self._max_count <= 0:
            raise ValueError(f"PolynomialShift: max_count must be above 0, a number of calls, not {max_count}")

    def value(self, start: float) -> float:
        """See Shift."""
        left = max(1 - self._t / self._max_count, 0)
        factor = left**self._rate if left or self._rate >= 0 else float("inf")
        return self.limited(start * factor if start else start, start, self._is_past)

    def _is_past(self, value: float, target: float) -> bool:
        if not value:  # it has fallen as far as it can
            return self._rate > 0
        return target / value > 1 if self._rate > 0 else target / value < 1
