"""Updater: what a trainer asks to do one iteration, and what it reads from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from holdfast.reporter import Reporter

if TYPE_CHECKING:
    from holdfast.training.trainer import Trainer


class Updater:
    """The interface of updaters; any object with these methods and attributes will do.

    A trainer also reads `iteration` (finished updates), and triggers and reports read `epoch` (finished epochs),
    `epoch_detail` (the same with the part of the running one), `previous_epoch_detail` and `is_new_epoch`.
    """

    iteration: int

    def connect_trainer(self, trainer: Trainer) -> None:
        """Called when a trainer is made with this updater: the place to register observers."""

    def update(self) -> None:
        """Do one iteration."""
        raise NotImplementedError

    def finalize(self) -> None:
        """Called at the end of the run, however it ends: gives back what the iterators hold."""
        raise NotImplementedError

    def get_optimizer(self, name: str) -> Any:
        """The optimizer of that name."""
        raise NotImplementedError

    def get_all_optimizers(self) -> Mapping[str, Any]:
        """Names to optimizers; none by default. The models of Chainer's become observers of the trainer's reporter."""
        return {}

    def serialize(self, serializer: Any) -> None:
        """Save or restore everything that updates change."""
        raise NotImplementedError


def is_optimizer(target: Any) -> bool:
    """Whether this is an optimizer of PyTorch (`param_groups`) or of Chainer (`target` and `update`)."""
    return hasattr(target, "param_groups") or (hasattr(target, "target") and hasattr(target, "update"))


def observe_models(reporter: Reporter, optimizers: Mapping[str, Any]) -> None:
    """Let the model of each optimizer of Chainer's, and every link in it, report under a name of its own."""
    for name, optimizer in optimizers.items():
        model = getattr(optimizer, "target", None)
        if model is None:
            continue
        reporter.add_observer(name, model)
        links = getattr(model, "namedlinks", None)
        if links is not None:
            reporter.add_observers(name, links(skipself=True))
