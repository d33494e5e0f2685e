"""The demonstration of examples/digits with a PyTorch network: dropout, Adam, and torch's own generator.

python digits_torch.py          kills a run five times, and compares it with one that nothing happened to
python digits_torch.py train    is the training program itself; it writes into ./result
"""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path

import numpy as np

import holdfast
from holdfast import iterators, training
from holdfast.training import extensions, updaters

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "digits"))  # the data and the harness are the NumPy example's


def train() -> None:
    """Train until the end, from wherever the last start of this program came to."""
    import torch
    from data import load
    from torch import nn

    torch.manual_seed(0)  # of the generator that dropout draws from; the trainer's snapshots hold it,
    random.seed(0)  # and these two as well
    np.random.seed(0)
    images, labels, held_out_images, held_out_labels = load()
    hidden = 1152
    model = nn.Sequential(
        nn.Linear(64, hidden), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(hidden, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters())

    def step(batch: tuple[np.ndarray, np.ndarray]) -> dict[str, float]:
        """One update with one batch; what it returns is reported."""
        pictures, digits = (torch.from_numpy(array) for array in batch)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(pictures), digits)
        loss.backward()
        optimizer.step()
        return {"loss": loss.item()}

    def say_where(trainer: training.Trainer) -> None:
        print(f"starting after iteration {trainer.updater.iteration}", flush=True)

    @training.make_extension(trigger=(1, "epoch"), priority=training.PRIORITY_WRITER, initializer=say_where)
    def validate(trainer: training.Trainer) -> None:
        """Report the part of the held-out digits that the network reads right."""
        model.eval()
        with torch.no_grad():
            read = model(torch.from_numpy(held_out_images)).argmax(1).numpy()
        model.train()
        holdfast.report({"accuracy": float((read == held_out_labels).mean())})

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


def main() -> int:
    if importlib.util.find_spec("torch") is None:
        print("This example needs PyTorch: pip install 'holdfast[torch]', or pip install torch; nothing was run.")
        return 0
    if sys.argv[1:] == ["train"]:
        train()
        return 0
    import demo

    return demo.main(["--folder", str(HERE / "digits_torch_runs"), *sys.argv[1:], __file__, "train"])


if __name__ == "__main__":
    sys.exit(main())
