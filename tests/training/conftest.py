from __future__ import annotations

import pytest

from holdfast.training import Trainer
from training.fakes import CountingUpdater, clock

__all__ = ["clock"]


@pytest.fixture
def make(tmp_path):
    """Makes a trainer of a few counted iterations."""

    def make(updater=None, stop=(3, "iteration"), **options):
        return Trainer(updater or CountingUpdater(), stop, out=tmp_path / "result", **options)

    return make


@pytest.fixture
def journal():
    return []
