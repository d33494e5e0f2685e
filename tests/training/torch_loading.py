"""A training with all that TorchUpdater offers and a DataLoader with workers, for the test of its resume.

As a program it trains into a folder, and kills itself after a snapshot: `python -m training.torch_loading FOLDER 7`.
"""

from __future__ import annotations

import os
import random
import signal
import sys

import numpy as np
import torch

from holdfast.iterators import LoaderIterator
from holdfast.training import Trainer, extensions
from holdfast.training.updaters.torch_updater import TorchUpdater
from training.torch_parts import new_model, squared_error

AN_EPOCH = 5  # batches: four of six and one of four
ACCUMULATE = 3
ITERATIONS = 13


class Noisy(torch.utils.data.Dataset):
    """Examples with noise that the worker draws."""

    def __len__(self):
        return 28

    def __getitem__(self, index):
        x = torch.linspace(-1, 1, 5) * (index + 1) + torch.randn(5)
        return x, x.mean(0, keepdim=True).tanh()


def new_updater(seed, context):
    """An updater whose every part, as the global generators, depends on the seed; with 0 its first step is skipped."""
    random.seed(seed)
    np.random.seed(seed)
    model = new_model(seed, dropout=0.5)
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    loader = torch.utils.data.DataLoader(Noisy(), 6, shuffle=True, num_workers=2, multiprocessing_context=context)
    return TorchUpdater(
        LoaderIterator(loader), model, optimizer, lambda model, batch: 16 * squared_error(model, batch),
        accumulate=ACCUMULATE, autocast=torch.bfloat16, clip_grad_norm=0.5,
        scaler=torch.amp.GradScaler("cpu", 1.0 if seed else 2.0**127, backoff_factor=2.0**-9, growth_interval=2),
        scheduler=torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9),
    )  # fmt: skip


def new_trainer(folder, seed, *, period, context):
    """One that goes on from the newest snapshot in the folder."""
    trainer = Trainer(new_updater(seed, context), (ITERATIONS, "iteration"), out=folder)
    snapshot = extensions.snapshot(filename="s_{.updater.iteration}", autoload=True)
    trainer.extend(snapshot, trigger=(period, "iteration"))
    return trainer


def main(folder, iteration):
    torch.set_num_threads(1)
    trainer = new_trainer(folder, 0, period=iteration, context="fork")

    def kill(trainer):
        if trainer.updater.iteration > iteration:  # the snapshot is there, and the next step is done
            os.kill(os.getpid(), signal.SIGKILL)

    trainer.extend(kill, name="kill")
    trainer.run()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
