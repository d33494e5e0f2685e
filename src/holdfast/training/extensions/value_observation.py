"""observe_value and observe_lr: extensions that report a value at intervals."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from holdfast.training.extension import PRIORITY_WRITER, make_extension
from holdfast.training.extensions.shift import Hyperparameter, optimizer_of

if TYPE_CHECKING:
    from holdfast.training.trainer import Trainer

Observer = Callable[["Trainer"], None]


def observe_value(observation_key: str, target_func: Callable[[Trainer], Any]) -> Observer:
    """An extension that reports what a function of the trainer returns; once an epoch, before those that read.

    Args:
        observation_key: the name to report it under.
        target_func: called with the trainer.

    Raises:
        TypeError: `target_func` cannot be called.
    """
    if not callable(target_func):
        raise TypeError(f"observe_value: target_func must be a function of the trainer, not {target_func!r}")

    @make_extension(trigger=(1, "epoch"), priority=PRIORITY_WRITER)
    def _observe_value(trainer: Trainer) -> None:
        trainer.observation[observation_key] = target_func(trainer)

    return _observe_value


def observe_lr(optimizer_name: str = "main", observation_key: str = "lr") -> Observer:
    """An extension that reports the learning rate of an optimizer; once an epoch, before those that read.

    Of a PyTorch optimizer with several parameter groups it reports the first one's under `observation_key`, and the
    others' under `observation_key + "/1"` and so on.

    Args:
        optimizer_name: the updater's name for it; "main" also means the only one that it has.
        observation_key: the name to report it under.
    """

    @make_extension(trigger=(1, "epoch"), priority=PRIORITY_WRITER)
    def _observe_value(trainer: Trainer) -> None:
        rates = Hyperparameter(optimizer_of(trainer.updater, optimizer_name), "lr").read()
        for number, rate in enumerate(rates):
            trainer.observation[f"{observation_key}/{number}" if number else observation_key] = rate

    return _observe_value
