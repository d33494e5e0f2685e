"""Optimizers whose hyperparameters are shifted, and runs in which they are, for the tests of the shifts."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from holdfast.training import Trainer, make_extension
from training.fakes import CountingUpdater
from training.serializers import restored

LENGTH = 30


class Tuning(CountingUpdater):
    """An updater with optimizers, whose iterations do nothing."""

    def __init__(self, **optimizers):
        super().__init__()
        self.optimizers = optimizers

    def get_optimizer(self, name):
        return self.optimizers[name]

    def get_all_optimizers(self):
        return self.optimizers

    def serialize(self, serializer):
        super().serialize(serializer)
        for name, optimizer in self.optimizers.items():
            if hasattr(optimizer, "state_dict"):
                serializer(f"optimizer:{name}", optimizer)


def plain(lr=2.0):
    return SimpleNamespace(lr=lr)


def groups(*rates):
    return torch.optim.SGD([{"params": [torch.zeros(1)], "lr": rate} for rate in rates])


def tensors(*rates):
    """Rates that a captured step looks into."""
    return torch.optim.Adam(
        [{"params": [torch.zeros(1)], "lr": torch.tensor(rate)} for rate in rates], foreach=False, capturable=True
    )


def rates(optimizer):
    if not hasattr(optimizer, "param_groups"):
        return [optimizer.lr]
    return [float(one["lr"]) for one in optimizer.param_groups]


def run(out, shift, optimizer, length=LENGTH, state=None):
    """The rates that each update had, by its iteration; and the trainer.

    Args:
        shift: several of them may be in a list, each of which may be a pair with a trigger.
    """
    used = {}
    updater = Tuning(main=optimizer)

    @make_extension(priority=1000)
    def note(trainer):
        used[trainer.updater.iteration] = rates(optimizer)

    shifts = shift if isinstance(shift, list) else [shift]
    trainer = Trainer(updater, (length, "iteration"), out=out, extensions=[note])
    for one in shifts:
        one, trigger = one if isinstance(one, tuple) else (one, None)
        trainer.extend(one, trigger=trigger)
    if state is not None:
        restored(state, trainer)
    trainer.run()
    return used, trainer


def follow(shift, optimizer, calls):
    """The rates at the start and after each call."""
    trainer = SimpleNamespace(updater=Tuning(main=optimizer))
    shift.initialize(trainer)
    found = [rates(optimizer)]
    for _ in range(calls):
        shift(trainer)
        found.append(rates(optimizer))
    return found


def parts(shift, optimizer):
    return {"shift": shift, "optimizer": optimizer} if hasattr(optimizer, "state_dict") else {"shift": shift}
