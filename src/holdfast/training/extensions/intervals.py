"""From one report of an extension to the next: the trigger that ends such an interval, and the means of what was taken
in since it began.

An extension such as LogReport is called in every iteration, and asks a trigger of its own when to report. Both belong
to its state: a resumed run goes on in the interval in which it was stopped. Where the snapshot knows nothing of the
extension, the interval begins where the training goes on, and nothing is caught up with.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from holdfast.reporter import DictSummary
from holdfast.training.triggers.interval import get_trigger

if TYPE_CHECKING:
    from holdfast.training.trainer import Trainer

_log = logging.getLogger("holdfast")


class Interval:
    """The interval under way. The extension hands its `initialize` and its `serialize` on.

    Args:
        trigger: what ends it: a trigger, or a pair such as (1, "epoch").
        kept_by_chainer: whether Chainer's snapshots hold this state of the extension. Where they do not, nobody is
            warned that one lacks it.

    Raises:
        TypeError: `trigger` is none.
        ValueError: its period or unit is not one.
    """

    def __init__(self, trigger: Any, *, kept_by_chainer: bool) -> None:
        self._trigger = get_trigger(trigger)
        self._kept_by_chainer = kept_by_chainer
        self._was_restored = False

    def ends(self, trainer: Trainer) -> bool:
        """Whether it ends in this iteration, and the next one begins; to be asked once in each."""
        return bool(self._trigger(trainer))

    def initialize(self, trainer: Trainer) -> None:
        """Begin here, where a training goes on whose snapshot knows nothing of the extension."""
        if trainer.updater.iteration and not self._was_restored:
            self.begin()

    def begin(self) -> None:
        """Take the next iteration for the first that the trigger sees."""
        if hasattr(self._trigger, "begin"):
            self._trigger.begin()

    def serialize(self, serializer: Any) -> None:
        """Save or restore the trigger under "_trigger", if it has a state."""
        # a serializer that does not say which of the two it does may have restored it
        self._was_restored = self._was_restored or getattr(serializer, "loading", True)
        if not self._kept_by_chainer and _is_lacking(serializer, "_trigger"):
            self.begin()
        elif hasattr(self._trigger, "serialize"):
            self._trigger.serialize(serializer["_trigger"])


class Means(Interval):
    """An interval with the means of the values of its iterations; see Interval.

    Args:
        owner: the extension's class, for the log.
    """

    def __init__(self, owner: str, trigger: Any, *, kept_by_chainer: bool) -> None:
        super().__init__(trigger, kept_by_chainer=kept_by_chainer)
        self._owner = owner
        self._summary = DictSummary()

    def add(self, values: Mapping[str, Any]) -> None:
        """Take in the values of an iteration; see DictSummary."""
        self._summary.add(values)

    def take(self) -> DictSummary:
        """What was taken in; the next interval begins with nothing."""
        summary, self._summary = self._summary, DictSummary()
        return summary

    def serialize(self, serializer: Any) -> None:
        """Save or restore the trigger, and what was taken in under "_summary". A file that lacks what was taken in can
        tell no mean of this interval, so that it begins where the training goes on; the log says so."""
        kept = serializer["_summary"]
        if not self._kept_by_chainer and _is_lacking(kept, "_names"):
            _log.info("%s: the snapshot does not hold what was taken in since the last report", self._owner)
            self._was_restored = True
            self._summary = DictSummary()
            self.begin()
            return
        super().serialize(serializer)
        self._summary.serialize(kept)


def _is_lacking(serializer: Any, key: str) -> bool:
    return getattr(serializer, "loading", False) and key not in serializer
