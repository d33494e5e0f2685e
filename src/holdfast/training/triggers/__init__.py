"""Triggers say in which iterations something happens: any callable that takes the trainer and returns a bool."""

from __future__ import annotations

from holdfast.training.triggers.interval import AnyTrigger, IntervalTrigger, every, get_trigger

__all__ = ["AnyTrigger", "IntervalTrigger", "every", "get_trigger"]
