"""The training loop with Chainer's face: a trainer runs an updater, and calls extensions when their triggers fire."""

from __future__ import annotations

from holdfast.training import extensions, triggers, updaters
from holdfast.training.extension import (
    PRIORITY_EDITOR,
    PRIORITY_READER,
    PRIORITY_WRITER,
    Extension,
    make_extension,
)
from holdfast.training.trainer import Trainer
from holdfast.training.triggers import IntervalTrigger, get_trigger
from holdfast.training.updater import Updater
from holdfast.training.updaters import StandardUpdater

__all__ = [
    "PRIORITY_EDITOR",
    "PRIORITY_READER",
    "PRIORITY_WRITER",
    "Extension",
    "IntervalTrigger",
    "StandardUpdater",
    "Trainer",
    "Updater",
    "extensions",
    "get_trigger",
    "make_extension",
    "triggers",
    "updaters",
]
