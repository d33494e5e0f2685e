"""WarmupShift: a hyperparameter that goes to its first real value in equal steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.training.extensions.shift import Shift

if TYPE_CHECKING:
    from holdfast.training.trainer import Trainer


class WarmupShift(Shift):
    """Sets `warmup_start` at the beginning and `init` at the call number `warmup_iter`, goes from one to the other in
    equal steps, and leaves the optimizer alone from then on.

    Another shift of the same attribute takes over after it: extend the trainer with that one first, since the last of
    two has the last word while both are called. A resumed run begins with the value that the optimizer had, whichever
    of the two had set it, where Chainer's begins with `warmup_start`, even after the warm-up.

    Args:
        attr: the name of the optimizer's attribute, or the key of its parameter groups, which all end with `init`.
        warmup_start: the value to begin with; None: what the optimizer, or each group, has when the run begins.
        warmup_iter: how many calls it takes; above zero.
        init: the value to end with.
        optimizer: None: the updater's "main", or the only one that it has.

    Raises:
        TypeError: an argument is no number.
        ValueError: `warmup_iter` is not above zero.
    """

    def __init__(
        self, attr: str, warmup_start: float | None, warmup_iter: int, init: float, optimizer: Any = None
    ) -> None:
        start = None if warmup_start is None else self.number("warmup_start", warmup_start)
        super().__init__(attr, start, optimizer)
        self._warmup_iter = self.number("warmup_iter", warmup_iter)
        if self._warmup_iter <= 0:
            raise ValueError(f"WarmupShift: warmup_iter must be above 0, a number of calls, not {warmup_iter}")
        self._end = self.number("init", init)

    def __call__(self, trainer: Trainer) -> None:
        """Count, and set the next value until the warm-up is over."""
        if self._t < self._warmup_iter:
            super().__call__(trainer)
        else:
            self._t += 1

    def value(self, start: float) -> float:
        """See Shift."""
        done = min(self._t, self._warmup_iter)
        return (done * self._end + (self._warmup_iter - done) * start) / self._warmup_iter
