"""WarmupShift: a hyperparameter that goes to its first real value in equal steps."""

from __future__ import annotations

from typing import Any

from holdfast.training.extensions.shift import Shift


class WarmupShift(Shift):
    """Sets `warmup_start` at the beginning and `init` at the call number `warmup_iter`, goes from one to the other in
    equal steps, and leaves the optimizer alone from then on.

    Where another shift takes over after it, extend the trainer with that one later: what is registered later has the
    last word when a run is resumed. A resumed run begins with the value that the last call set, where Chainer's begins
    with `warmup_start`.

    Args:
        attr: the name of the optimizer's attribute, or the key of its parameter groups.
        warmup_start: the value to begin with; None: what the optimizer has when the run begins.
        warmup_iter: how many calls it takes; above zero.
        init: the value to end with.
        optimizer: None: the updater's "main", or the only one that it has.

    Raises:
        ValueError: `warmup_iter` is not above zero.
    """

    def __init__(
        self, attr: str, warmup_start: float | None, warmup_iter: int, init: float, optimizer: Any = None
    ) -> None:
        super().__init__(attr, warmup_start, optimizer)
        if not warmup_iter > 0:
            raise ValueError(f"WarmupShift: warmup_iter must be above 0, a number of calls, not {warmup_iter}")
        self._warmup_iter = warmup_iter
        self._end = init

    def __call__(self, trainer: Any) -> None:
        """Count, and set the next value until the warm-up is over."""
        if self._t < self._warmup_iter:
            super().__call__(trainer)
        else:
            self._t += 1

    def value(self, start: Any) -> Any:
        """See Shift."""
        done = min(self._t, self._warmup_iter)
        return (done * self._end + (self._warmup_iter - done) * start) / self._warmup_iter
