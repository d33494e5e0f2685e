"""InverseShift: a hyperparameter that falls as the inverse of a power of the count."""

from __future__ import annotations

from typing import Any

from holdfast.training.extensions.shift import Shift, limited


class InverseShift(Shift):
    """Sets `init * (1 + gamma * t) ** -power`, where t counts the calls.

    Args:
        attr: the name of the optimizer's attribute, or the key of its parameter groups.
        gamma: how much each call adds to what is raised to the power; not negative.
        power: the exponent; a negative one makes the value rise.
        init: the first value; None: what the optimizer has when the run begins.
        target: where the shift ends; None: nowhere.
        optimizer: None: the updater's "main", or the only one that it has.

    Raises:
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
        super().__init__(attr, init, optimizer)
        if gamma < 0:
            raise ValueError(f"InverseShift does not support negative gamma: it must be 0 or more, not {gamma}")
        self._gamma = gamma
        self._power = power
        self._target = target

    def value(self, start: Any) -> Any:
        """See Shift."""
        shifted = start * (1 + self._gamma * self._t) ** (-self._power)
        return limited(shifted, self._target, grows=self._power < 0)
