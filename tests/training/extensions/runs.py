"""A small training with a state of its own, for tests of snapshot extensions."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from holdfast import training
from holdfast.iterators import BatchIterator
from holdfast.training import updaters


class Training:
    """Weights that depend on every batch, in its order: 16 examples, 4 a batch, so 4 iterations an epoch.

    Args:
        out: the trainer's folder.
        stop: its stop trigger.
        fails_at: the iteration that raises ZeroDivisionError, half-way through its update.
    """

    def __init__(self, out: Path, stop: Any = (3, "epoch"), *, fails_at: int | None = None) -> None:
        self.weights = np.zeros(4)
        self.noise = np.random.default_rng(5)
        self.fails_at = fails_at
        batches = BatchIterator(np.arange(16.0), 4, shuffle=True, seed=3)
        targets = {"weights": self.weights, "noise": self.noise}
        self.updater = updaters.FunctionUpdater(batches, self.step, targets=targets)
        self.trainer = training.Trainer(self.updater, stop, out=str(out))

    def step(self, batch: np.ndarray) -> dict[str, float]:
        self.weights *= 0.5
        self.weights += batch
        if self.updater.iteration + 1 == self.fails_at:
            raise ZeroDivisionError("the loss is gone")
        self.weights += self.noise.random(4)
        return {"loss": float(self.weights.sum())}

    def run(self, *extensions: Any, trigger: Any = (1, "iteration")) -> Training:
        for extension in extensions:
            self.trainer.extend(extension, trigger=trigger)
        self.trainer.run(show_loop_exception_msg=False)
        return self


def names(out: Path) -> list[str]:
    """What lies in a folder but for hidden files, sub-directories included."""
    found = [path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()]
    return sorted(name for name in found if not os.path.basename(name).startswith("."))
