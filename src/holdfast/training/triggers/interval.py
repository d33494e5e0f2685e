"""IntervalTrigger: once an interval of iterations, epochs or seconds; `every` and `|` make and join them.

All of it is one comparison: the number of whole intervals that lie behind, now and at the last call. So a trigger that
is asked seldom catches up, one that is late by several intervals fires once, and nothing drifts. What a trigger keeps
is where it was asked last, and that is in the snapshot. `due` is fed with plain numbers and serves any loop; a trainer
calls the trigger itself.
"""

from __future__ import annotations

import math
import numbers
import warnings
from collections.abc import Callable
from typing import Any

UNITS = ("iteration", "epoch", "second")

ROUNDING = 1e-12
"""The part of a position that rounding may take from it: one that is within this of the end of an interval is there.
A few sums and quotients of floats lose some 1e-15; two iterations lie 1e-9 epochs apart at the very least."""


def whole_intervals(position: float, period: float) -> int:
    """How many whole intervals of `period` lie before `position`, as if both were exact: 0.3 holds three of 0.1."""
    if isinstance(position, int) and isinstance(period, int):
        return position // period
    ratio = position / period
    return math.floor(ratio + ROUNDING * max(1.0, abs(ratio)))


class Trigger:
    """What `|` needs: a joined trigger fires when either does, and both are asked each time."""

    keys_may_differ = True  # a file may be of an old Chainer, or of another unit; see holdfast.state.protocols

    def __call__(self, trainer: Any) -> bool:
        raise NotImplementedError

    def due(self, iteration: int, elapsed_s: float, epoch_detail: float | None = None) -> bool:
        """Whether to fire now, in any loop: by finished iterations, seconds since the start of training (those before
        a resume included) and, where there are such, epochs. Remembers what it was asked, so ask once an iteration."""
        raise NotImplementedError

    def __or__(self, other: Any) -> AnyTrigger:
        return AnyTrigger(self, other) if _is_trigger(other) else NotImplemented

    def __ror__(self, other: Any) -> AnyTrigger:
        return AnyTrigger(other, self) if _is_trigger(other) else NotImplemented


class IntervalTrigger(Trigger):
    """Fires each time that another whole interval of the training has passed since it was last asked.

    Args:
        period: the length of the interval, more than zero; it may be a fraction: (0.1, "epoch") fires at every tenth.
        unit: "iteration", "epoch" (by the updater's `epoch_detail`) or "second" (of training, across resumes).

    Attributes:
        period: as given.
        unit: as given.
        count: the whole intervals that had passed when it was last asked.

    Raises:
        ValueError: `period` is not above zero and finite, or `unit` is none of these.
        TypeError: `period` is no number.
    """

    def __init__(self, period: float, unit: str) -> None:
        check_period(period)
        if unit not in UNITS:
            raise ValueError(f"the unit of a trigger must be one of {', '.join(UNITS)}, not {unit!r}")
        self.period = period
        self.unit = unit
        self.count = 0
        self._previous_iteration = 0
        self._previous_epoch_detail = 0.0
        self._previous_elapsed_time = 0.0

    def __call__(self, trainer: Any) -> bool:
        """Whether to fire in this iteration of `trainer`."""
        updater = trainer.updater
        if self.unit == "epoch":
            if self._previous_epoch_detail < 0:  # an old file did not tell it
                self._previous_epoch_detail = updater.previous_epoch_detail or 0.0
            return self.due(updater.iteration, 0.0, updater.epoch_detail)
        elapsed_s = trainer.elapsed_time if self.unit == "second" else 0.0
        return self.due(updater.iteration, elapsed_s, getattr(updater, "epoch_detail", None))

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
        elif self.unit == "second":
            before, now = self._previous_elapsed_time, elapsed_s
        elif epoch_detail is None:
            raise ValueError(f"{self} counts epochs, and this loop has none: use iterations or seconds")
        else:
            before, now = self._previous_epoch_detail, epoch_detail
        if before < 0:  # an old file did not tell it, and there is nothing to guess it by
            before = now
        self.count = whole_intervals(now, self.period)
        fires = self.count != whole_intervals(before, self.period)
        self._previous_iteration = iteration
        if self.unit == "second":
            self._previous_elapsed_time = elapsed_s
        if epoch_detail is not None:
            self._previous_epoch_detail = epoch_detail
        return fires

    def begin(self) -> None:
        """Forget when it was last asked: a trigger that is new to a resumed training does not catch up."""
        self._previous_iteration, self._previous_epoch_detail, self._previous_elapsed_time = -1, -1.0, -1.0

    def serialize(self, serializer: Any) -> None:
        """Save or restore where it was last asked. A file that does not tell (of an old Chainer, or because the trigger
        is new) warns, and the place is guessed at the next call."""
        serialize_position(self, serializer, "IntervalTrigger")
        if self.unit == "second":
            self._previous_elapsed_time = stored(
                serializer,
                "previous_elapsed_time",
                self._previous_elapsed_time,
                -1.0,
                "The previous value of elapsed_time is not saved. IntervalTrigger goes on from its next call.",
            )

    def get_training_length(self) -> tuple[float, str]:
        """(period, unit): where training ends if this is its stop trigger."""
        return self.period, self.unit

    def __str__(self) -> str:
        return f"{type(self).__name__}({self.period}, '{self.unit}')"

    __repr__ = __str__


class AnyTrigger(Trigger):
    """Fires when at least one of `triggers` does; every one is asked each time, so that none misses an iteration."""

    def __init__(self, *triggers: Any) -> None:
        parts = [get_trigger(trigger) for trigger in triggers]
        self.triggers: list[Callable[[Any], bool]] = []
        for part in parts:
            self.triggers += part.triggers if isinstance(part, AnyTrigger) else [part]

    def __call__(self, trainer: Any) -> bool:
        """Whether to fire in this iteration of `trainer`."""
        fired = [bool(trigger(trainer)) for trigger in self.triggers]
        return any(fired)

    def due(self, iteration: int, elapsed_s: float, epoch_detail: float | None = None) -> bool:
        """Whether to fire now; see Trigger.due.

        Raises:
            TypeError: one of the joined triggers needs a trainer.
        """
        parts: list[Trigger] = []
        for trigger in self.triggers:
            if not isinstance(trigger, Trigger):
                raise TypeError(f"{trigger!r} can only be asked by a trainer; join triggers made by holdfast.every")
            parts.append(trigger)
        fired = [part.due(iteration, elapsed_s, epoch_detail) for part in parts]
        return any(fired)

    def begin(self) -> None:
        """Have each joined trigger that can begin anew do so."""
        for trigger in self.triggers:
            if hasattr(trigger, "begin"):
                trigger.begin()

    def serialize(self, serializer: Any) -> None:
        """Save or restore each joined trigger under its position."""
        for position, trigger in enumerate(self.triggers):
            if hasattr(trigger, "serialize"):
                trigger.serialize(serializer[str(position)])

    def __str__(self) -> str:
        return " | ".join(map(str, self.triggers))

    __repr__ = __str__


def every(
    *,
    steps: float | None = None,
    seconds: float | None = None,
    minutes: float | None = None,
    hours: float | None = None,
) -> IntervalTrigger:
    """A trigger that fires every so many steps, or every so much time of training; exactly one must be given.

    `every(steps=1000) | every(minutes=10)` fires at both. Time is the training's, so a resumed run goes on in the
    interval in which it was stopped; where iterations take longer than the interval, it fires once in each.

    Example:
        trainer.extend(extensions.snapshot(), trigger=holdfast.every(minutes=10))

    Raises:
        TypeError: none, or more than one, was given, or it is no number.
        ValueError: it is not above zero.
    """
    given = {"steps": steps, "seconds": seconds, "minutes": minutes, "hours": hours}
    named = [name for name, value in given.items() if value is not None]
    if len(named) != 1:
        found = " and ".join(named) or "nothing"
        raise TypeError(f"every() takes exactly one of steps, seconds, minutes and hours, not {found}; join two with |")
    if steps is not None:
        return IntervalTrigger(steps, "iteration")
    amount = IntervalTrigger(given[named[0]], "second").period  # type: ignore[arg-type]  # says what is wrong with it
    return IntervalTrigger(amount * {"seconds": 1, "minutes": 60, "hours": 3600}[named[0]], "second")


def get_trigger(trigger: Any) -> Callable[[Any], bool]:
    """A trigger of what may stand for one.

    Args:
        trigger: a callable that takes the trainer, which is returned; None, which never fires; or (period, unit), which
            makes an IntervalTrigger.

    Raises:
        TypeError: it is none of these.
        ValueError: the period or the unit is not one.
    """
    if callable(trigger):
        return trigger  # type: ignore[no-any-return]
    if trigger is None:
        return _never
    if not isinstance(trigger, tuple | list) or len(trigger) != 2:
        raise TypeError(f"a trigger is a callable, None or a pair such as (100, 'iteration'), not {trigger!r}")
    return IntervalTrigger(*trigger)


def has_ended(stop_trigger: Any, trainer: Any) -> bool:
    """Whether the training already is as long as `stop_trigger` wants it, whatever it has seen of it.

    A stop trigger fires as it passes its length; a run that is resumed beyond would go on for another interval. One
    that stops for another reason says by `has_ended` that it has.
    """
    if isinstance(stop_trigger, AnyTrigger):
        return any(has_ended(one, trainer) for one in stop_trigger.triggers)
    if getattr(stop_trigger, "has_ended", False):
        return True
    tell = getattr(stop_trigger, "get_training_length", None)
    if tell is None:
        return False
    length, unit = tell()
    return whole_intervals(position_of(trainer, unit), length) >= 1


def position_of(trainer: Any, unit: str) -> float:
    """How far a training is, in "iteration", "epoch" or "second"."""
    if unit == "second":
        return float(trainer.elapsed_time)
    position: float = trainer.updater.epoch_detail if unit == "epoch" else trainer.updater.iteration
    return position


def check_period(period: Any) -> None:
    """Raises where an interval cannot be so long; see IntervalTrigger."""
    if isinstance(period, bool) or not isinstance(period, numbers.Real):
        raise TypeError(f"the period of a trigger must be a number, not {period!r}")
    if not 0 < float(period) < math.inf:
        raise ValueError(f"the period of a trigger must be above zero and finite, not {period!r}")


def _is_trigger(value: Any) -> bool:
    return callable(value) or (isinstance(value, tuple) and len(value) == 2)


def _never(trainer: Any) -> bool:
    return False


def serialize_position(trigger: Any, serializer: Any, kind: str) -> None:
    """Save or restore in which iteration, and where in an epoch, a trigger was asked last; what a file does not tell is
    below zero then, with a UserWarning.

    Args:
        kind: what the warnings call the trigger.
    """
    trigger._previous_iteration = stored(
        serializer,
        "previous_iteration",
        trigger._previous_iteration,
        -1,
        f"The previous value of iteration is not saved. {kind} guesses it using current iteration. "
        "If this trigger is not called at every iteration, it may not work correctly.",
    )
    trigger._previous_epoch_detail = stored(
        serializer,
        "previous_epoch_detail",
        trigger._previous_epoch_detail,
        -1.0,
        f"The previous value of epoch_detail is not saved. {kind} uses the value of "
        "trainer.updater.previous_epoch_detail. If this trigger is not called at every iteration, it may not work "
        "correctly.",
    )


def stored(serializer: Any, key: str, value: Any, unknown: Any, complaint: str) -> Any:
    """What a trigger keeps under `key`; where a file lacks it, `unknown`, with a UserWarning."""
    try:
        if getattr(serializer, "loading", False) and key not in serializer:
            raise KeyError(key)  # a restore that is not strict would give the value of today
        return serializer(key, value)
    except KeyError:
        warnings.warn(complaint, stacklevel=3)
        return unknown
