"""Chainer's own Trainer as a host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import chainer
import chainer.functions as F
import chainer.links as L
import numpy as np


class Model(chainer.Chain):
    def __init__(self) -> None:
        super().__init__()
        with self.init_scope():
            self.first = L.Linear(1, 3)
            self.norm = L.BatchNormalization(3)
            self.last = L.Linear(None, 1)  # made by the first batch

    def forward(self, x: Any) -> Any:
        loss = F.mean(F.square(self.last(self.norm(self.first(x))) - x))
        chainer.report({"loss": loss}, self)
        return loss


class FailingUpdater(chainer.training.StandardUpdater):
    """Fails in one iteration, when the weights have changed."""

    fails_at: int | None = None

    def update_core(self) -> None:
        super().update_core()
        if self.iteration + 1 == self.fails_at:
            raise ZeroDivisionError("the loss is gone")


class _Run:
    def __init__(self, out: Path, stop: int, seed: int, fails_at: int | None) -> None:
        data = np.random.RandomState(5).rand(16, 1).astype("f")
        np.random.seed(seed)
        self.model = Model()
        self.optimizer = chainer.optimizers.Adam().setup(self.model)
        batches = chainer.iterators.SerialIterator(data, 4)  # shuffled by the global generator
        updater = FailingUpdater(batches, self.optimizer)
        updater.fails_at = fails_at
        self.parts = [self.model, self.model.norm, self.optimizer, batches, updater]
        self.host = chainer.training.Trainer(updater, (stop, "iteration"), out=str(out))

    @property
    def iteration(self) -> int:
        found: int = self.host.updater.iteration
        return found

    def extend(self, extension: Any, trigger: Any = (1, "iteration"), **options: Any) -> None:
        self.host.extend(extension, trigger=trigger, **options)

    def run(self) -> None:
        self.host.run(show_loop_exception_msg=False)

    def weights(self) -> np.ndarray[Any, Any]:
        target: dict[str, Any] = {}
        chainer.serializers.DictionarySerializer(target).save(self.model)
        chainer.serializers.DictionarySerializer(target, "optimizer/").save(self.optimizer)
        values = [target[name] for name in sorted(target)]
        return np.concatenate([np.ravel(value) for value in values if value[()] is not None])


class _Host:
    name = "chainer"

    def new(self, out: Path, stop: int, *, seed: int = 0, fails_at: int | None = None) -> _Run:
        return _Run(out, stop, seed, fails_at)

    def log_report(self) -> Any:
        return chainer.training.extensions.LogReport(trigger=(2, "iteration"))


HOST = _Host()
