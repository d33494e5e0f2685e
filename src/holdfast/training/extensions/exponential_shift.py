"""ExponentialShift: a hyperparameter times a rate, at each call."""

from __future__ import annotations

from typing import Any

from holdfast.training.extensions.shift import Shift, falls_below, grows_above


class ExponentialShift(Shift):
    """Sets `init * rate ** t`, where t counts the calls.

    Args:
        attr: the name of the optimizer's attribute, or the key of its parameter groups; see Shift for several groups.
        rate: the factor of each call; not negative.
        init: the first value; None: what the optimizer has when the run begins.
        target: where the shift ends; None: nowhere.
        optimizer: None: the updater's "main", or the only one that it has.

    Example:
        trainer.extend(extensions.ExponentialShift("lr", 0.5), trigger=(10, "epoch"))

    Raises:
        TypeError: an argument is no number.
        ValueError: `rate` is negative.
    """

    def __init__(
        self,
        attr: str,
        rate: float,
        init: float | None = None,
        target: float | None = None,
        optimizer: Any = None,
    ) -> None:
        super().__init__(attr, init, optimizer, target)
        self._rate = self.number("rate", rate)
        if self._rate < 0:
            raise ValueError(f"ExponentialShift does not support negative rate: it must be 0 or more, not {rate}")

    def value(self, start: float) -> float:
        """See Shift."""
        is_past = grows_above if self._rate > 1 else falls_below
        return self.limited(start * self._rate**self._t, start, is_past)
