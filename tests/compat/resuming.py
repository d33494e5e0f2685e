"""One training, in the words of Chainer's examples, run with Chainer or with holdfast; test_chainer_resume.py stops it
in the one and goes on in the other.

    python resuming.py chainer|holdfast OUT STOP SNAPSHOT_AT [RESUME]

Prints, as JSON, all that the run leaves behind: parameters and moments bit for bit, rows, and what has fired.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import chainer
import chainer.functions as F
import chainer.links as L
import numpy as np


class MLP(chainer.Chain):
    def __init__(self, units: int, classes: int) -> None:
        super().__init__()
        with self.init_scope():
            self.l1 = L.Linear(None, units)  # has no shape before it is trained or restored
            self.bn = L.BatchNormalization(units)
            self.l2 = L.Linear(None, classes)

    def forward(self, x: Any) -> Any:
        return self.l2(F.dropout(F.relu(self.bn(self.l1(x))), 0.25))


def examples(size: int = 150) -> chainer.datasets.TupleDataset:
    points = np.random.RandomState(4).randn(size, 6).astype("f")
    return chainer.datasets.TupleDataset(points, points[:, :3].argmax(axis=1).astype("i"))


def seed(trainer: Any) -> None:
    """Chainer keeps nothing of the global generator, which shuffles and drops out: it follows from the iteration."""
    np.random.seed(1000 + trainer.updater.iteration)


def run(side: str, out: str, stop: int, snapshot_at: int, resume: str) -> dict[str, Any]:
    library = importlib.import_module(side)
    training, serializers = (importlib.import_module(f"{side}.{part}") for part in ("training", "serializers"))
    extensions, triggers = training.extensions, training.triggers

    np.random.seed(0 if not resume else 99)  # a process that goes on has other first weights
    model = L.Classifier(MLP(8, 3))
    optimizer = chainer.optimizers.Adam(0.01)
    optimizer.setup(model)
    optimizer.add_hook(chainer.optimizer_hooks.WeightDecay(1e-3))
    iterator = chainer.iterators.SerialIterator(examples(), 8)
    updater = training.updaters.StandardUpdater(iterator, optimizer)
    trainer = training.Trainer(updater, (stop, "iteration"), out=out)

    fired: list[int] = []
    trainer.extend(training.make_extension(initializer=seed)(seed), name="seed", priority=1)
    trainer.extend(extensions.ExponentialShift("alpha", 0.9), trigger=(1, "epoch"))
    trainer.extend(extensions.LogReport(trigger=(25, "iteration")))
    best = triggers.MaxValueTrigger("main/accuracy", (30, "iteration"))
    trainer.extend(lambda trainer: fired.append(trainer.updater.iteration), name="best", trigger=best)
    trainer.extend(extensions.snapshot(autoload=resume == "autoload"), trigger=(snapshot_at, "iteration"))
    if resume and resume != "autoload":
        serializers.load_npz(resume, trainer)
    trainer.run()

    state = library.serializers.npz.serialize(trainer)
    return {
        "arrays": {name: one.tobytes().hex() for name, one in sorted(state.items()) if name.startswith("updater/")},
        "alpha": optimizer.alpha.hex(),
        "rows": [
            {name: value for name, value in row.items() if name != "elapsed_time"}
            for row in trainer.get_extension("LogReport").log
        ],
        "fired": fired,
        "files": sorted(path.name for path in Path(out).glob("snapshot_*")),
    }


if __name__ == "__main__":
    side, out, stop, snapshot_at, resume = [*sys.argv[1:], ""][:5]
    json.dump(run(side, out, int(stop), int(snapshot_at), resume), sys.stdout)
