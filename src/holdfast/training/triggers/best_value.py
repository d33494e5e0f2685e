"""Triggers that look at what was reported: BestValueTrigger, MaxValueTrigger, MinValueTrigger, EarlyStoppingTrigger. As
Chainer's, with its keys; Chainer keeps nothing of an EarlyStoppingTrigger, and this one goes on where it was."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

from holdfast.reporter import DictSummary
from holdfast.training.triggers.interval import get_trigger, stored

Compare = Callable[[float, float], bool]


class BestValueTrigger:
    """Fires at the end of an interval whose mean of a reported value is better than that of every earlier one.

    Args:
        key: the name of the value, such as "validation/main/loss".
        compare: takes the best so far and the new one; whether the new one is better. It is not asked about NaN, which
            is never better.
        trigger: ends the intervals: a trigger, or (period, unit).

    Raises:
        KeyError: when an interval ends in which nothing was reported under `key`; says what was.
    """

    keys_may_differ = True  # a fresh one has nothing of an interval under way; see holdfast.state.protocols

    def __init__(self, key: str, compare: Compare, trigger: Any = (1, "epoch")) -> None:
        self._key = key
        self._compare = compare
        self._best_value: float | None = None
        self._interval_trigger = get_trigger(trigger)
        self._summary = DictSummary()

    @property
    def best_value(self) -> float | None:
        """The best mean so far; None before the first interval has ended."""
        return self._best_value

    def __call__(self, trainer: Any) -> bool:
        """Whether to fire in this iteration of `trainer`; must be called in each."""
        observation = trainer.observation
        if self._key in observation:
            self._summary.add({self._key: observation[self._key]})
        if not self._interval_trigger(trainer):
            return False
        means = self._summary.compute_mean()
        self._summary = DictSummary()
        if self._key not in means:
            seen = ", ".join(map(repr, sorted(observation))) or "nothing"
            raise KeyError(
                f"{type(self).__name__} waits for {self._key!r}, which was not reported in this interval as a number; "
                f"reported in this iteration: {seen}"
            )
        value = means[self._key]
        if math.isnan(value) or not (self._best_value is None or self._compare(self._best_value, value)):
            return False
        self._best_value = value
        return True

    def begin(self) -> None:
        """Take the next iteration for the first: a trigger that is new to a resumed training does not catch up."""
        _begin(self._interval_trigger)

    def serialize(self, serializer: Any) -> None:
        """Save or restore the best value, the interval under way and what was reported in it."""
        _serialize_interval(self._interval_trigger, serializer)
        self._summary.serialize(serializer["summary"])
        best = stored(
            serializer,
            "best_value",
            self._best_value,
            None,
            f"The best value is not saved. The next value counts as the best for {type(self).__name__}.",
        )
        self._best_value = None if best is None else float(best)

    def __str__(self) -> str:
        return f"{type(self).__name__}({self._key!r}, {self._interval_trigger})"

    __repr__ = __str__


class MaxValueTrigger(BestValueTrigger):
    """Fires at each new maximum; see BestValueTrigger."""

    def __init__(self, key: str, trigger: Any = (1, "epoch")) -> None:
        super().__init__(key, _is_greater, trigger)


class MinValueTrigger(BestValueTrigger):
    """Fires at each new minimum; see BestValueTrigger."""

    def __init__(self, key: str, trigger: Any = (1, "epoch")) -> None:
        super().__init__(key, _is_less, trigger)


class EarlyStoppingTrigger:
    """A stop trigger: ends the training when a value has not become better for `patience` checks.

    Args:
        check_trigger: when to check: a trigger, or (period, unit).
        monitor: the name of the reported value; a check looks at its mean since the last one.
        patience: so many checks in a row without a new best end the training.
        mode: "max" where more is better, "min" where less is; "auto": "max" where `monitor` speaks of accuracy.
        verbose: print which of the two it is, and when the training ends.
        max_trigger: ends the training in any case.
        patients: the same as `patience`; deprecated.

    Attributes:
        count: checks since the best.
        best: the best mean so far.

    Raises:
        ValueError: `mode` is none of these.
        TypeError: both `patience` and `patients` were given.
    """

    keys_may_differ = True  # a fresh one has nothing of an interval under way; see holdfast.state.protocols

    def __init__(
        self,
        check_trigger: Any = (1, "epoch"),
        monitor: str = "main/loss",
        patience: int | None = None,
        mode: str = "auto",
        verbose: bool = False,
        max_trigger: Any = (100, "epoch"),
        *,
        patients: int | None = None,
    ) -> None:
        if mode not in ("auto", "max", "min"):
            raise ValueError(f"mode must be 'auto', 'max' or 'min', not {mode!r}")
        if patients is not None:
            if patience is not None:
                raise TypeError("patience and its old name patients were both given; give patience")
            warnings.warn("patients is deprecated; use patience", DeprecationWarning, stacklevel=2)
        given = patience if patience is not None else patients
        self.count = 0
        self.patience = 3 if given is None else given
        self.monitor = monitor
        self.verbose = verbose
        grows = mode == "max" or (mode == "auto" and "accuracy" in monitor)
        self._compare: Compare = _is_greater if grows else _is_less
        self.best = -math.inf if grows else math.inf
        self._max_trigger = get_trigger(max_trigger)
        self._interval_trigger = get_trigger(check_trigger)
        self._summary = DictSummary()
        if verbose:
            print(f"early stopping: operator is {'greater' if grows else 'less'}")

    def __call__(self, trainer: Any) -> bool:
        """Whether training ends before this iteration of `trainer`; must be called in each."""
        observation = trainer.observation
        if self.monitor in observation:
            self._summary.add({self.monitor: observation[self.monitor]})
        checks = self._interval_trigger(trainer)
        if self._max_trigger(trainer):
            return True
        if not checks:
            return False
        means = self._summary.compute_mean()
        self._summary = DictSummary()
        if self.monitor not in means:
            seen = ", ".join(map(repr, sorted(observation))) or "nothing"
            warnings.warn(
                f"{self.monitor} is not in observation: early stopping checks nothing; reported: {seen}", stacklevel=2
            )
            return False
        value = means[self.monitor]
        if not math.isnan(value) and self._compare(self.best, value):
            self.best, self.count = value, 0
        else:
            self.count += 1
        if self.count < self.patience:
            return False
        if self.verbose:
            print(f"Epoch {trainer.updater.epoch}: early stopping")
        return True

    @property
    def has_ended(self) -> bool:
        """Whether it has ended the training: a run that is resumed then stops at once. Not where more patience was
        given since."""
        return self.count >= max(self.patience, 1)

    def begin(self) -> None:
        """Take the next iteration for the first: a trigger that is new to a resumed training does not catch up."""
        _begin(self._interval_trigger)
        _begin(self._max_trigger)

    @property
    def get_training_length(self) -> Callable[[], tuple[float, str]]:
        """The method of `max_trigger` that gives (period, unit): training ends there at the latest.

        Raises:
            AttributeError: it has none, and so this one has not either.
        """
        found: Callable[[], tuple[float, str]] = self._max_trigger.get_training_length  # type: ignore[attr-defined]
        return found

    def serialize(self, serializer: Any) -> None:
        """Save or restore the best value, the checks since, and what was reported since the last one."""
        _serialize_interval(self._interval_trigger, serializer)
        if hasattr(self._max_trigger, "serialize"):
            self._max_trigger.serialize(serializer["max_trigger"])
        self._summary.serialize(serializer["summary"])
        complaint = "The {} is not saved. EarlyStoppingTrigger counts anew."
        self.count = int(stored(serializer, "count", self.count, 0, complaint.format("count")))
        worst = -math.inf if self._compare is _is_greater else math.inf
        self.best = float(stored(serializer, "best", self.best, worst, complaint.format("best value")))

    def __str__(self) -> str:
        return f"{type(self).__name__}({self.monitor!r}, {self._interval_trigger}, patience={self.patience})"

    __repr__ = __str__


def _serialize_interval(trigger: Any, serializer: Any) -> None:
    if hasattr(trigger, "serialize"):
        trigger.serialize(serializer["interval_trigger"])


def _begin(trigger: Any) -> None:
    if hasattr(trigger, "begin"):
        trigger.begin()


def _is_greater(best: float, value: float) -> bool:
    return value > best


def _is_less(best: float, value: float) -> bool:
    return value < best
