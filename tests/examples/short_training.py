"""A second of training for the demonstration's harness: 60 iterations, a snapshot after every fifth.

python short_training.py [forgetful]     forgetful: the generator that decides over dropout is kept out of snapshots
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples" / "digits"))

import numpy as np
from data import load
from network import new_adam, new_network

import holdfast
from holdfast import iterators, training
from holdfast.training import extensions, updaters

random.seed(0)  # nobody draws from these two here, but a snapshot holds them all the same
np.random.seed(0)
images, labels, held_out_images, held_out_labels = load()
model = new_network(seed=0, hidden=512)
optimizer = new_adam(model.weights)


def step(batch):
    loss, gradients = model.loss_and_gradients(*batch)
    optimizer.update(model.weights, gradients)
    return {"loss": loss}


@training.make_extension(
    trigger=(1, "epoch"),
    priority=training.PRIORITY_WRITER,
    initializer=lambda trainer: print(f"starting after iteration {trainer.updater.iteration}", flush=True),
)
def validate(trainer):
    holdfast.report({"accuracy": float((model.predict(held_out_images) == held_out_labels).mean())})


kept = model.weights if sys.argv[1:] == ["forgetful"] else model
batches = iterators.BatchIterator((images[:240], labels[:240]), batch_size=24, shuffle=True, seed=0)
updater = updaters.FunctionUpdater(batches, step, targets={"model": kept, "optimizer": optimizer})
trainer = training.Trainer(updater, (6, "epoch"), out="result")
trainer.extend(validate)
trainer.extend(extensions.LogReport())
trainer.extend(extensions.snapshot_object(kept, "model_{.updater.iteration}", n_retains=2), trigger=(1, "epoch"))
trainer.extend(extensions.snapshot(n_retains=3, autoload=True), trigger=(5, "iteration"))
trainer.run()
