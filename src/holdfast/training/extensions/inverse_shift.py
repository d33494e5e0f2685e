"""InverseShift: a hyperparameter that falls as the inverse of a power of the count."""

from __future__ import annotations

from typing import Any

from holdfast.training.extensions.shift import Shift, falls_below, grows_above


class InverseShift(Shift):
    """Sets `init * (1 + gamma * t) ** -power`, where t counts the calls.

    Args:
        attr: the name of the optimizer's attribute, or the key of its parameter groups; see Shift for several groups.
        gamma: how much each call adds to what is raised to the power; not negative.
        power: the exponent; a negative one makes the value rise.
        init: the first value; None: what the optimizer has when the run begins.
        target: where the shift ends; None: nowhere.
        optimizer: None: the updater's "main", or the only one that it has.

    Raises:
        TypeError: an argument is no number.
        ValueError: `gamma` is negative.
    """

    def __init__(
        self,
        attr: str,
        gamma: float,
        power: float,
        init: float | None = None,
        target: float | None = None,
        optimizer: Any = None,
    ) -> None:
        super().__init__(attr, init, optimizer, target)
        self._gamma = self.number("gamma", gamma)
        self._power = self.number("power", power)
        if self._gamma < 0:
            raise ValueError(f"InverseShift does not support negative gamma: it must be 0 or more, not {gamma}")

    def value(self, start: float) -> float:
        """See Shift."""
        shifted = start * (1 + self._gamma * self._t) ** (-self._power)
        return self.limited(shifted, start, grows_above if self._power < 0 else falls_below)
