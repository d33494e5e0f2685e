"""MultistepShift: a hyperparameter times a factor at each of several counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from holdfast.training.extensions.shift import Shift


class MultistepShift(Shift):
    """Sets `init * gamma ** k`, where k is how many of the steps were reached; at most one of them at each call.

    Args:
        attr: the name of the optimizer's attribute, or the key of its parameter groups.
        gamma: the factor of each step.
        step_value: after how many calls each step is reached; rising.
        init: the first value; None: what the optimizer has when the run begins.
        optimizer: None: the updater's "main", or the only one that it has.

    A resumed run begins with the value that the last call set, where Chainer's begins with the first one.

    Raises:
        ValueError: the steps do not rise.
    """

    def __init__(
        self, attr: str, gamma: float, step_value: Sequence[int], init: float | None, optimizer: Any = None
    ) -> None:
        super().__init__(attr, init, optimizer)
        if sorted(step_value) != list(step_value):
            raise ValueError(f"MultistepShift: the counts of step_value must rise, not {list(step_value)}")
        self._gamma = gamma
        self._step_value = list(step_value)
        self._current_step = 0

    def __call__(self, trainer: Any) -> None:
        """Count, and set the next value."""
        steps, reached = self._step_value, self._current_step
        if reached < len(steps) and self._t + 1 >= steps[reached]:
            self._current_step += 1
        super().__call__(trainer)

    def value(self, start: Any) -> Any:
        """See Shift."""
        return start * self._gamma**self._current_step

    def serialize(self, serializer: Any) -> None:
        """See Shift; and how many steps were reached."""
        super().serialize(serializer)
        self._current_step = int(serializer("_current_step", self._current_step))
