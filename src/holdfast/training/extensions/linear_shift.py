"""LinearShift: a hyperparameter that goes from one value to another in equal steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from holdfast.training.extensions.shift import Shift


class LinearShift(Shift):
    """Sets the first value until the first time, the second from the second time on, and what lies between in between.

    Args:
        attr: the name of the optimizer's attribute, or the key of its parameter groups, which all get the same value.
        value_range: the first and the last value.
        time_range: after how many calls the shift begins and ends; the second is not the smaller one.
        optimizer: None: the updater's "main", or the only one that it has.

    Raises:
        TypeError: one of the two holds something else than numbers.
        ValueError: one of the two is no pair, or the second time is the smaller one.
    """

    def __init__(
        self, attr: str, value_range: Sequence[float], time_range: Sequence[float], optimizer: Any = None
    ) -> None:
        self._value_range = self._pair("value_range", value_range)
        self._time_range = self._pair("time_range", time_range)
        if self._time_range[0] > self._time_range[1]:
            raise ValueError(f"LinearShift: the second of time_range must not be the smaller one, not {time_range!r}")
        super().__init__(attr, self._value_range[0], optimizer)

    def value(self, start: float) -> float:
        """See Shift."""
        (begin, end), (first, last) = self._time_range, self._value_range
        if self._t <= begin:
            return first
        if self._t >= end:
            return last
        return first + (self._t - begin) / (end - begin) * (last - first)

    def first(self, start: float) -> float:
        """See Shift."""
        return self.value(start)

    def _pair(self, name: str, pair: Any) -> tuple[float, float]:
        if not hasattr(pair, "__len__") or len(pair) != 2:
            raise ValueError(f"LinearShift: {name} must be a pair, the first and the last, not {pair!r}")
        first, last = pair
        return self.number(f"the first of {name}", first), self.number(f"the second of {name}", last)
