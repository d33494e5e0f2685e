"""TorchUpdater: the training step of PyTorch, with everything that a resumed run needs to go on bit for bit.

An iteration is one batch, also where gradients are accumulated over several: what triggers count, where epochs end and
where a run may be stopped then do not depend on `accumulate`. So a run may stop with gradients that no optimizer step
has used yet. They are a part of the state, and nothing is done about them at the end of a run or of an epoch.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Callable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Literal

from holdfast.errors import MismatchError
from holdfast.state.protocols import parameters_of
from holdfast.training.updaters.function_updater import FunctionUpdater

if TYPE_CHECKING:
    import torch

    from holdfast.training.trainer import Trainer


class TorchUpdater(FunctionUpdater):
    """Each iteration: a batch, its loss, the gradients; and after every `accumulate` of them a step of the optimizer.

    Args:
        iterator: gives the batches, and can save and restore its own place (BatchIterator, LoaderIterator); see
            FunctionUpdater.
        model: has every parameter of the optimizer. Neither moved to a device nor set to train or eval mode here.
        optimizer: of torch.optim, one whose `step` needs no closure.
        loss_fn: called as `loss_fn(model, batch)`; returns the loss, a tensor with one element, or a mapping of names
            to values with the loss as "loss". All of them are reported, as "main/loss" and so on.
            `lambda model, batch: cross_entropy(model(batch[0]), batch[1])`
        device: where the tensors of a batch are moved to, inside of tuples, lists, mappings and dataclasses, and what
            else has a method `to(device)`. None: where the first parameter of the model is.
        accumulate: batches to an optimizer step. The step takes the mean of their gradients, as if their losses had
            been averaged; what is reported is the loss of each batch as it is.
        autocast: the dtype that the loss is computed in where torch finds that safe, such as torch.bfloat16; True: the
            device's usual one.
        scaler: a torch.amp.GradScaler, which autocast to float16 needs against underflow; True: a new one.
        clip_grad_norm: the greatest norm, over all the parameters of the optimizer, of the gradients that a step uses;
            they are unscaled first.
        scheduler: of torch.optim.lr_scheduler, or whatever has `step()` and can be saved.
        scheduler_interval: when the scheduler takes a step. "step": after each step that the optimizer took, and so
            not after one that the scaler skipped; "epoch": after the last batch of each epoch; None: only when you
            call it, as a ReduceLROnPlateau in an extension. It is a part of snapshots in any case.

    Attributes:
        model, optimizer, scaler, scheduler: as given.
        iteration: finished batches.

    A snapshot of the updater alone, `store.save(step, updater)`, resumes as exactly as one of a trainer, but for the
    global random generators: where the model draws from them (dropout), save `torch.default_generator` beside it.

    Raises:
        TypeError: one of these is of another kind.
        ValueError: a number is out of range, or the optimizer has a parameter that the model has not.
    """

    def __init__(
        self,
        iterator: Any,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        loss_fn: Callable[[Any, Any], Any],
        *,
        device: torch.device | str | None = None,
        accumulate: int = 1,
        autocast: torch.dtype | bool | None = None,
        scaler: torch.amp.GradScaler | bool | None = None,
        clip_grad_norm: float | None = None,
        scheduler: Any = None,
        scheduler_interval: Literal["step", "epoch"] | None = "step",
    ) -> None:
        import torch

        _check_types(torch, model, optimizer, loss_fn, autocast, scaler)
        _check_numbers(accumulate, clip_grad_norm)
        _check_scheduler(torch, scheduler, scheduler_interval, iterator)
        self.model = model
        self.optimizer = optimizer
        self.scheduler = scheduler
        self._device = None if device is None else torch.device(device)
        self.scaler = torch.amp.GradScaler(self.device.type) if scaler is True else scaler or None
        self._autocast = autocast
        self._loss_fn = loss_fn
        self._clip_grad_norm = clip_grad_norm
        self._scheduler_interval = scheduler_interval
        self._accumulation = _Accumulation(model, optimizer, accumulate)
        parts: dict[str, object] = {"model:main": model, "optimizer:main": optimizer}
        parts |= {"accumulation": self._accumulation, "scheduler:main": scheduler, "scaler": self.scaler}
        given = {name: part for name, part in parts.items() if part is not None}
        super().__init__(iterator, self._do, targets=given)

    @property
    def device(self) -> torch.device:
        """Where batches are moved to."""
        return next(self.model.parameters()).device if self._device is None else self._device

    @property
    def accumulate(self) -> int:
        """Batches to an optimizer step."""
        return self._accumulation.wanted

    def connect_trainer(self, trainer: Trainer) -> None:
        """Make the model an observer of the trainer's reporter as "main", and each module in it under its name."""
        trainer.reporter.add_observer("main", self.model)
        trainer.reporter.add_observers("main/", [(name, one) for name, one in self.model.named_modules() if name])

    def get_optimizer(self, name: str = "main") -> torch.optim.Optimizer:
        """The optimizer; "main" is its name."""
        if name != "main":
            raise KeyError(f"there is no optimizer {name!r}; the only one is 'main'")
        return self.optimizer

    def get_all_optimizers(self) -> dict[str, Any]:
        """The optimizer, under its name, "main"."""
        return {"main": self.optimizer}

    def serialize(self, serializer: Any) -> None:
        """Save or restore the iterator, the model and all that changes with it, the count of iterations, and the
        gradients that no step has used yet.

        Raises:
            MismatchError: there are such gradients, and `accumulate` was another.
        """
        super().serialize(serializer)
        if getattr(serializer, "loading", False) and self.iteration:
            # of a process before this one: else torch warns that a scheduler's step came before all of the optimizer's
            self.optimizer._opt_called = True

    def _do(self, batch: Any) -> dict[str, Any]:
        batch = to_device(batch, self.device)
        if not self._accumulation.count:
            self.optimizer.zero_grad()
        with self._autocasting():
            values = _as_values(self._loss_fn(self.model, batch))
        loss = values["loss"] if self.accumulate == 1 else values["loss"] / self.accumulate
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()
        self._accumulation.count += 1
        if self._accumulation.count == self.accumulate:
            self._accumulation.count = 0  # first: a step that fails is not tried again
            self._optimizer_step()
        if self._scheduler_interval == "epoch" and self.scheduler is not None and self.is_new_epoch:
            self.scheduler.step()
        return {f"main/{name}": value for name, value in values.items()}

    def _autocasting(self) -> contextlib.AbstractContextManager[Any]:
        import torch

        if self._autocast is None or self._autocast is False:
            return contextlib.nullcontext()
        dtype = None if self._autocast is True else self._autocast
        context: contextlib.AbstractContextManager[Any] = torch.autocast(self.device.type, dtype=dtype)
        return context

    def _optimizer_step(self) -> None:
        """One step with the gradients that there are; they stay, so that extensions can look at them."""
        import torch

        if self._clip_grad_norm is not None:
            if self.scaler is not None:
                self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(parameters_of(self.optimizer), self._clip_grad_norm)
        follows = self.scheduler is not None and self._scheduler_interval == "step"
        if self.scaler is None:
            self.optimizer.step()
        else:
            before = self.scaler.get_scale() if follows else 0.0  # asking waits for the device
            self.scaler.step(self.optimizer)
            self.scaler.update()
            follows = follows and self.scaler.get_scale() >= before  # it falls where a step was skipped
        if follows:
            self.scheduler.step()


def to_device(value: Any, device: torch.device) -> Any:
    """The same structure with its tensors on `device`; the value itself is left as it is.

    Looked into are tuples, lists, mappings that can be changed, and dataclasses. What has a method `to`, such as a
    PackedSequence, is asked for it; everything else stays.
    """
    import torch

    if isinstance(value, torch.Tensor):
        return value.to(device, non_blocking=value.is_pinned())
    if isinstance(value, type):
        return value
    if callable(getattr(value, "to", None)):
        return value.to(device)
    if isinstance(value, tuple):
        parts = [to_device(part, device) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if isinstance(value, list):
        return [to_device(part, device) for part in value]
    if isinstance(value, MutableMapping):
        moved: Any = copy.copy(value)
        for key, part in value.items():
            moved[key] = to_device(part, device)
        return moved
    if dataclasses.is_dataclass(value):
        moved = copy.copy(value)
        for field in dataclasses.fields(value):
            if hasattr(value, field.name):
                object.__setattr__(moved, field.name, to_device(getattr(value, field.name), device))
        return moved
    return value


class _Accumulation:
    """The gradients of the batches since the last optimizer step, which the parameters hold.

    Attributes:
        count: how many batches; where there is none, whatever gradients are left are of no use to anybody.
        wanted: how many of them make a step.
    """

    keys_may_differ = True  # a parameter has no gradient before it was used

    def __init__(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer, accumulate: int) -> None:
        self.count = 0
        self.wanted = accumulate
        self._model, self._optimizer = model, optimizer
        self._parameters()  # refuses what could not be saved

    def serialize(self, serializer: Any) -> None:
        """Save or restore the count and, where it is not 0, the gradients by the names of their parameters.

        Raises:
            MismatchError: the gradients are those of some of another number of batches.
        """
        count = int(serializer("count", self.count))
        of = int(serializer("accumulate", self.wanted))
        gradients = serializer["gradients"]
        if not getattr(serializer, "loading", False):
            for name, parameter in (self._parameters() if count else {}).items():
                if parameter.grad is not None:
                    gradients(name, parameter.grad)
            return
        if count and of != self.wanted:
            raise MismatchError(
                f"the snapshot holds the gradients of {count} of {of} batches, and accumulate is "
                f"{self.wanted} here; resume with accumulate={of}, or from a snapshot between two steps"
            )
        parameters = self._parameters()
        found = {
            name: gradients(name, _place_for(parameter)) for name, parameter in parameters.items() if name in gradients
        }
        for name, parameter in parameters.items():
            parameter.grad = found.get(name)
        self.count = count

    def _parameters(self) -> dict[str, torch.nn.Parameter]:
        """The optimizer's parameters, by the names that the model has for them."""
        names = {id(parameter): name for name, parameter in self._model.named_parameters()}
        found = {}
        for parameter in parameters_of(self._optimizer):
            if id(parameter) not in names:
                raise ValueError(
                    f"the optimizer has a parameter of shape {tuple(parameter.shape)} that is none of the model's, and "
                    "would not be in snapshots; make one module of all that is trained, and pass that as the model"
                )
            found[names[id(parameter)]] = parameter
        return found


def _place_for(parameter: torch.nn.Parameter) -> torch.Tensor:
    """A new tensor with the strides of a parameter, which are those that its gradient has: the order in which the
    elements are summed up depends on them."""
    import torch

    return torch.empty_like(parameter, requires_grad=False)


def _as_values(returned: Any) -> Mapping[str, Any]:
    """What `loss_fn` returned, as names and values with a "loss" that can be differentiated."""
    import torch

    values: Mapping[str, Any] = returned if isinstance(returned, Mapping) else {"loss": returned}
    if "loss" not in values:
        raise KeyError(f"loss_fn returned a mapping without 'loss'; it has {', '.join(map(repr, values)) or 'nothing'}")
    loss = values["loss"]
    if not isinstance(loss, torch.Tensor):
        raise TypeError(
            f"loss_fn returned a {type(loss).__name__} as the loss; want a tensor with one element, or a mapping with "
            "one as 'loss'"
        )
    if loss.numel() != 1 or not loss.requires_grad:
        found = f"of shape {tuple(loss.shape)}" if loss.numel() != 1 else "that no parameter leads to"
        raise ValueError(f"loss_fn returned a tensor {found} as the loss; want one element, made from the model")
    return {**values, "loss": loss.reshape(())}  # logs take scalars only


def _check_types(torch: Any, model: Any, optimizer: Any, loss_fn: Any, autocast: Any, scaler: Any) -> None:
    def refuse(what: str, found: object, wanted: str) -> None:
        raise TypeError(f"{what} must be {wanted}, not {type(found).__name__}")

    if not isinstance(model, torch.nn.Module):
        refuse("model", model, "a torch.nn.Module")
    if not isinstance(optimizer, torch.optim.Optimizer):
        refuse("optimizer", optimizer, "a torch.optim.Optimizer")
    if isinstance(loss_fn, torch.nn.Module):
        raise TypeError(
            f"loss_fn is a {type(loss_fn).__name__}, but it is called with the model and a batch, and no state of its "
            "own is saved: write loss_fn=lambda model, batch: loss(model(batch[0]), batch[1])"
        )
    if not callable(loss_fn):
        refuse("loss_fn", loss_fn, "a function of the model and a batch")
    if autocast is not None and not isinstance(autocast, bool | torch.dtype):
        refuse("autocast", autocast, "a torch.dtype, True, False or None")
    if scaler is not None and not isinstance(scaler, bool | torch.amp.GradScaler):
        refuse("scaler", scaler, "a torch.amp.GradScaler, True, False or None")


def _check_numbers(accumulate: Any, clip_grad_norm: Any) -> None:
    if isinstance(accumulate, bool) or not isinstance(accumulate, int):
        raise TypeError(f"accumulate must be an int, batches to an optimizer step, not {type(accumulate).__name__}")
    if accumulate < 1:
        raise ValueError(f"accumulate must be 1 or more batches to an optimizer step, not {accumulate}")
    if clip_grad_norm is None:
        return
    if isinstance(clip_grad_norm, bool) or not isinstance(clip_grad_norm, int | float):
        raise TypeError(f"clip_grad_norm must be the greatest norm, or None, not {type(clip_grad_norm).__name__}")
    if not clip_grad_norm > 0:
        raise ValueError(f"clip_grad_norm must be a norm above 0, or None, not {clip_grad_norm}")


def _check_scheduler(torch: Any, scheduler: Any, interval: Any, iterator: Any) -> None:
    if interval not in ("step", "epoch", None):
        raise ValueError(f"scheduler_interval is {interval!r}, wanted 'step', 'epoch' or None")
    if scheduler is None or interval is None:
        return
    if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
        raise TypeError(
            "a ReduceLROnPlateau needs a measured value at each step: pass scheduler_interval=None, and call its "
            "step(value) in an extension"
        )
    if not callable(getattr(scheduler, "step", None)):
        raise TypeError(f"scheduler must have a method step(), and a {type(scheduler).__name__} has none")
    if interval == "epoch" and not hasattr(iterator, "is_new_epoch"):
        raise TypeError(
            f"scheduler_interval='epoch' needs an iterator that counts epochs, and a {type(iterator).__name__} has no "
            "is_new_epoch; use holdfast.iterators.BatchIterator, or scheduler_interval='step'"
        )
