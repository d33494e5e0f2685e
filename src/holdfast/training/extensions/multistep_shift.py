"""MultistepShift: a hyperparameter times a factor at each of several counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from holdfast.training.extensions.shift import Shift

if TYPE_CHECKING:
    from holdfast.training.trainer import Trainer


class MultistepShift(Shift):
    """Sets `init * gamma ** k`, where k is how many of the steps were reached; at most one of them at each call.

    A resumed run begins with the value that the last call set, where Chainer's begins with the first one.

    Args:
        attr: the name of the optimizer's attribute, or the key of its parameter groups; see Shift for several groups.
        gamma: the factor of each step.
        step_value: after how many calls each step is reached; rising.
        init: the first value; None: what the optimizer has when the run begins.
        optimizer: None: the updater's "main", or the only one that it has.

    Raises:
        TypeError: an argument is no number, or `step_value` not several.
        ValueError: the steps do not rise.
    """

    def __init__(
        self, attr: str, gamma: float, step_value: Sequence[int], init: float | None, optimizer: Any = None
    ) -> None:
        super().__init__(attr, init, optimizer)
        self._gamma = self.number("gamma", gamma)
        if not hasattr(step_value, "__len__"):
            raise TypeError(f"MultistepShift: step_value must be several counts of calls, not {step_value!r}")
        self._step_value = [self.number("each of step_value", step) for step in step_value]
        if sorted(self._step_value) != self._step_value:
            raise ValueError(f"MultistepShift: the counts of step_value must rise, not {list(step_value)}")
        self._current_step = 0

    def __call__(self, trainer: Trainer) -> None:
        """Count, and set the next value."""
        steps, reached = self._step_value, self._current_step
        if reached < len(steps) and self._t + 1 >= steps[reached]:
            self._current_step += 1
        super().__call__(trainer)

    def value(self, start: float) -> float:
        """See Shift."""
        return start * self._gamma**self._current_step

    def serialize(self, serializer: Any) -> None:
        """See Shift; and how many steps were reached."""
        super().serialize(serializer)
        self._current_step = int(serializer("_current_step", self._current_step))
