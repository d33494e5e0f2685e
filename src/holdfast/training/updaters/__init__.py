"""Updaters: what is done in one iteration."""

from __future__ import annotations

from holdfast.training.updaters.function_updater import FunctionUpdater

__all__ = ["FunctionUpdater"]
