"""What stands in for a real training in tests: updaters that only count, extensions that only note their calls, and a
clock that a test moves."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.reporter import report
from holdfast.training import Extension, Updater
from holdfast.training import trainer as trainer_module
from holdfast.training.extensions import progress_bar as progress_bar_module


class CountingUpdater(Updater):
    """Counts iterations, `iterations_an_epoch` of them to an epoch; reports a "loss" that follows from the count."""

    def __init__(self, iterations_an_epoch: int = 10) -> None:
        self.iteration = 0
        self.iterations_an_epoch = iterations_an_epoch
        self.finalized = 0

    @property
    def epoch(self) -> int:
        return self.iteration // self.iterations_an_epoch

    @property
    def epoch_detail(self) -> float:
        return self.iteration / self.iterations_an_epoch

    @property
    def previous_epoch_detail(self) -> float | None:
        return (self.iteration - 1) / self.iterations_an_epoch if self.iteration else None

    @property
    def is_new_epoch(self) -> bool:
        return self.iteration > 0 and self.iteration % self.iterations_an_epoch == 0

    def update(self) -> None:
        self.iteration += 1
        report({"loss": 1 / (3 * self.iteration)})

    def finalize(self) -> None:
        self.finalized += 1

    def serialize(self, serializer: Any) -> None:
        self.iteration = serializer("iteration", self.iteration)


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Recorder(Extension):
    """Notes each of its hooks in a journal that several share; raises where `fails` says so."""

    def __init__(self, label, journal, *, fails=(), is_snapshot=False, priority=100):
        self.label, self.journal, self.fails = label, journal, fails
        self.is_snapshot, self.priority = is_snapshot, priority

    def note(self, hook):
        self.journal.append(f"{self.label}.{hook}")
        if hook in self.fails:
            raise self.fails[hook]

    def __call__(self, trainer):
        self.note("call")

    def initialize(self, trainer):
        self.note("initialize")

    def on_error(self, trainer, exc, tb):
        self.note("on_error")

    def finalize(self):
        self.note("finalize")


class Resuming(Recorder):
    """One that also has `resume`."""

    def __init__(self, label, journal, *, resume_last=False, **options):
        super().__init__(label, journal, **options)
        self.resume_last = resume_last

    def resume(self, trainer):
        self.note("resume")


class FailingUpdater(CountingUpdater):
    """Fails in its first update."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def update(self):
        raise self.error


def nothing(trainer):
    """An extension, or a trigger that never fires."""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of trainers and progress bars."""
    moved = Clock()
    for module in (trainer_module, progress_bar_module):
        monkeypatch.setattr(module, "_clock", moved)
    return moved
