"""holdfast's own Trainer as a host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from holdfast import training
from holdfast.iterators import BatchIterator
from holdfast.training import extensions, updaters


class _Run:
    def __init__(self, out: Path, stop: int, seed: int, fails_at: int | None) -> None:
        np.random.seed(seed)
        self.model = {"w": np.random.random(4), "moment": np.zeros(4)}
        self._fails_at = fails_at
        batches = BatchIterator(np.arange(16.0), 4, shuffle=True, seed=3)
        self._updater = updaters.FunctionUpdater(batches, self._step, targets={"model": self.model})
        self.parts = [self.model, self.model["w"], batches]
        self.host = training.Trainer(self._updater, (stop, "iteration"), out=str(out))

    @property
    def iteration(self) -> int:
        return self._updater.iteration

    def extend(self, extension: Any, trigger: Any = (1, "iteration"), **options: Any) -> None:
        self.host.extend(extension, trigger=trigger, **options)

    def run(self) -> None:
        self.host.run(show_loop_exception_msg=False)

    def weights(self) -> np.ndarray[Any, Any]:
        return np.concatenate([self.model["w"], self.model["moment"]])

    def _step(self, batch: np.ndarray[Any, Any]) -> dict[str, float]:
        self.model["moment"] *= 0.9
        self.model["moment"] += batch + np.random.random(4)
        self.model["w"] -= 0.1 * self.model["moment"]
        if self.iteration + 1 == self._fails_at:
            raise ZeroDivisionError("the loss is gone")
        return {"loss": float(self.model["w"].sum())}


class _Host:
    name = "holdfast"

    def new(self, out: Path, stop: int, *, seed: int = 0, fails_at: int | None = None) -> _Run:
        return _Run(out, stop, seed, fails_at)

    def log_report(self) -> Any:
        return extensions.LogReport(trigger=(2, "iteration"))


HOST = _Host()
