"""Train a small NumPy network on handwritten digits; kill it when you like, start it again, and it goes on.

python train.py        writes everything into ./result
"""

from __future__ import annotations

import random

import numpy as np
from data import load
from network import new_adam, new_network

import holdfast
from holdfast import iterators, training
from holdfast.training import extensions, updaters

random.seed(0)  # nobody draws from these two here, but a snapshot holds them all the same
np.random.seed(0)
images, labels, held_out_images, held_out_labels = load()
model = new_network(seed=0)
optimizer = new_adam(model.weights)


def step(batch: tuple[np.ndarray, np.ndarray]) -> dict[str, float]:
    """One update with one batch; what it returns is reported."""
    loss, gradients = model.loss_and_gradients(*batch)
    optimizer.update(model.weights, gradients)
    return {"loss": loss}


def say_where(trainer: training.Trainer) -> None:
    print(f"starting after iteration {trainer.updater.iteration}", flush=True)


@training.make_extension(trigger=(1, "epoch"), priority=training.PRIORITY_WRITER, initializer=say_where)
def validate(trainer: training.Trainer) -> None:
    """Report the part of the held-out digits that the network reads right."""
    holdfast.report({"accuracy": float((model.predict(held_out_images) == held_out_labels).mean())})


batches = iterators.BatchIterator((images, labels), batch_size=64, shuffle=True, seed=0)
updater = updaters.FunctionUpdater(batches, step, targets={"model": model, "optimizer": optimizer})
trainer = training.Trainer(updater, (20, "epoch"), out="result")
trainer.extend(validate)
trainer.extend(extensions.LogReport())
trainer.extend(extensions.PrintReport(["epoch", "iteration", "loss", "accuracy", "elapsed_time"]))
trainer.extend(extensions.ProgressBar())
trainer.extend(extensions.snapshot_object(model, "model_{.updater.iteration}", n_retains=2), trigger=(1, "epoch"))
trainer.extend(extensions.snapshot(n_retains=3, autoload=True), trigger=(25, "iteration"))
trainer.run()
