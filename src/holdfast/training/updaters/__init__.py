"""Updaters: what is done in one iteration."""

from __future__ import annotations

from holdfast.training.updaters.function_updater import FunctionUpdater
from holdfast.training.updaters.standard_updater import StandardUpdater
from holdfast.training.updaters.torch_updater import TorchUpdater

__all__ = ["FunctionUpdater", "StandardUpdater", "TorchUpdater"]
