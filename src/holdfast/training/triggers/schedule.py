"""Triggers that fire at given places: ManualScheduleTrigger, OnceTrigger, TimeTrigger. As Chainer's, with its keys."""

from __future__ import annotations

import numbers
from collections.abc import Iterable
from typing import Any

from holdfast.training.triggers.interval import (
    ROUNDING,
    Trigger,
    check_period,
    position_of,
    serialize_position,
    stored,
    whole_intervals,
)


class ManualScheduleTrigger(Trigger):
    """Fires when the training passes one of some points; one that is asked seldom catches up.

    Args:
        points: a number, or any number of them in any order.
        unit: "iteration" or "epoch" (by the updater's `epoch_detail`).

    Attributes:
        points: in a list, in the order given.
        finished: whether the last point lies behind.

    Raises:
        ValueError: there are no points, or `unit` is neither.
        TypeError: a point is no number.
    """

    def __init__(self, points: float | Iterable[float], unit: str) -> None:
        if unit not in ("iteration", "epoch"):
            raise ValueError(f"the unit of a schedule must be 'iteration' or 'epoch', not {unit!r}")
        self.points: list[Any] = list(points) if isinstance(points, Iterable) else [points]
        if not self.points:
            raise ValueError("a schedule needs at least one point")
        for point in self.points:
            if isinstance(point, bool) or not isinstance(point, numbers.Real):
                raise TypeError(f"the points of a schedule must be numbers, not {point!r}")
        self.unit = unit
        self.finished = False
        self._previous_iteration = 0
        self._previous_epoch_detail = 0.0

    def __call__(self, trainer: Any) -> bool:
        """Whether to fire in this iteration of `trainer`."""
        updater = trainer.updater
        if self.unit == "epoch" and self._previous_epoch_detail < 0:  # an old file did not tell it
            self._previous_epoch_detail = updater.previous_epoch_detail or 0.0
        return self.due(updater.iteration, 0.0, getattr(updater, "epoch_detail", None))

    def due(self, iteration: int, elapsed_s: float, epoch_detail: float | None = None) -> bool:
        """Whether to fire now; see Trigger.due.

        Raises:
            ValueError: the unit is "epoch", and `epoch_detail` is not given.
        """
        before: float
        now: float
        if self.unit == "iteration":
            before, now = self._previous_iteration, iteration
            if before < 0:
                before = iteration - 1
        elif epoch_detail is None:
            raise ValueError(f"{self} counts epochs, and this loop has none: use iterations")
        else:
            before, now = self._previous_epoch_detail, epoch_detail
            if before < 0:  # there is nothing to guess it by
                before = now
        fires = any(not _has_passed(point, before) and _has_passed(point, now) for point in self.points)
        self.finished = all(_has_passed(point, now) for point in self.points)
        self._previous_iteration = iteration
        if epoch_detail is not None:
            self._previous_epoch_detail = epoch_detail
        return fires

    def begin(self) -> None:
        """Forget when it was last asked: a trigger that is new to a resumed training does not catch up."""
        self._previous_iteration, self._previous_epoch_detail = -1, -1.0

    def serialize(self, serializer: Any) -> None:
        """Save or restore where it was last asked; a file that does not tell warns."""
        serialize_position(self, serializer, "ManualScheduleTrigger")
        self.finished = bool(
            stored(
                serializer,
                "finished",
                self.finished,
                False,
                "The flag of finished is not saved. ManualScheduleTrigger finds out at its next call.",
            )
        )

    def __str__(self) -> str:
        return f"{type(self).__name__}({self.points}, '{self.unit}')"

    __repr__ = __str__


class OnceTrigger(Trigger):
    """Fires at its first call, and never again.

    Args:
        call_on_resume: also at the first call of a run that was resumed.

    Attributes:
        finished: whether it will not fire any more.
    """

    def __init__(self, call_on_resume: bool = False) -> None:
        self._flag_first = True
        self._flag_resumed = call_on_resume

    @property
    def finished(self) -> bool:
        """Whether it will not fire any more."""
        return not (self._flag_first or self._flag_resumed)

    def __call__(self, trainer: Any) -> bool:
        """Whether to fire in this iteration of `trainer`."""
        fires = not self.finished
        self._flag_first = self._flag_resumed = False
        return fires

    def due(self, iteration: int, elapsed_s: float, epoch_detail: float | None = None) -> bool:
        """Whether to fire now; see Trigger.due."""
        return self(None)

    def begin(self) -> None:
        """Take the first call for done: a trigger that is new to a resumed training is not called at its start."""
        self._flag_first = False

    def serialize(self, serializer: Any) -> None:
        """Save or restore whether it has fired; a file that does not tell warns, and is taken for one that has."""
        self._flag_first = bool(
            stored(
                serializer,
                "_flag_first",
                self._flag_first,
                False,
                "The flag is not saved. OnceTrigger guess it is not first when resumed. If this trigger is resumed "
                "before first called, it may not work correctly.",
            )
        )

    def __str__(self) -> str:
        return f"{type(self).__name__}()"

    __repr__ = __str__


class TimeTrigger(Trigger):
    """Fires each time that another `period` seconds of training have passed, those before a resume included. One that
    is late by several periods fires once.

    Args:
        period: seconds, more than zero.

    Raises:
        ValueError: `period` is not above zero and finite.
        TypeError: it is no number.
    """

    def __init__(self, period: float) -> None:
        check_period(period)
        self._period = period
        self._next_time: float = period

    def __call__(self, trainer: Any) -> bool:
        """Whether to fire in this iteration of `trainer`."""
        return self.due(0, position_of(trainer, "second"))

    def due(self, iteration: int, elapsed_s: float, epoch_detail: float | None = None) -> bool:
        """Whether to fire now; see Trigger.due."""
        fires = 0 <= self._next_time < elapsed_s
        if fires or self._next_time < 0:
            self._next_time = max((whole_intervals(elapsed_s, self._period) + 1) * self._period, self._next_time)
        return fires

    def begin(self) -> None:
        """Forget when it fires next: a trigger that is new to a resumed training does not catch up."""
        self._next_time = -1.0

    def serialize(self, serializer: Any) -> None:
        """Save or restore when it fires next; a file that does not tell warns, and it starts anew."""
        self._next_time = stored(
            serializer,
            "next_time",
            self._next_time,
            self._period,
            "The next time is not saved. TimeTrigger fires as if the training had begun anew.",
        )

    def __str__(self) -> str:
        return f"{type(self).__name__}({self._period})"

    __repr__ = __str__


def _has_passed(point: float, position: float) -> bool:
    """Whether a point is reached, as if rounding had taken nothing from the position."""
    return position >= point - ROUNDING * max(1.0, abs(point))
