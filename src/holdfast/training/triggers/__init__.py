"""Triggers say in which iterations something happens: any callable that takes the trainer and returns a bool."""

from __future__ import annotations

from holdfast.training.triggers.best_value import (
    BestValueTrigger,
    EarlyStoppingTrigger,
    MaxValueTrigger,
    MinValueTrigger,
)
from holdfast.training.triggers.interval import AnyTrigger, IntervalTrigger, every, get_trigger
from holdfast.training.triggers.schedule import ManualScheduleTrigger, OnceTrigger, TimeTrigger

__all__ = [
    "AnyTrigger",
    "BestValueTrigger",
    "EarlyStoppingTrigger",
    "IntervalTrigger",
    "ManualScheduleTrigger",
    "MaxValueTrigger",
    "MinValueTrigger",
    "OnceTrigger",
    "TimeTrigger",
    "every",
    "get_trigger",
]
