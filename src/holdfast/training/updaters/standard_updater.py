"""StandardUpdater: Chainer's way to train, a batch of an iterator and an update of an optimizer in each iteration.

It takes the real iterators, converters, optimizers and links of Chainer, and whatever has the same methods. Chainer is
imported only for what is its own: the converter that is used where none is given, and devices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from holdfast.state.serializable import serialize_state
from holdfast.training import chainer_bridge
from holdfast.training.updaters.iterator_updater import IteratorUpdater, check_keeps_its_place


class StandardUpdater(IteratorUpdater):
    """Converts the next batch of the main iterator, and has the main optimizer update its target with it.

    A subclass overrides `update_core` where an iteration is to be something else. As Chainer's in its arguments, its
    methods and the keys of its state: each reads the npz files of the other.

    Args:
        iterator: gives the batches, and saves and restores its own place; or a mapping of names to iterators, in which
            the one that counts the epochs is "main".
        optimizer: an optimizer of Chainer's, whose `target` is the model; or a mapping of names to optimizers.
        converter: makes the arrays for the loss out of a batch and a device: a tuple of them, a dict of them, or one.
            None: Chainer's `concat_examples`. One that is no `chainer.dataset.Converter` is given the device as None,
            -1 for the CPU, or the number of a GPU.
        device: where the models are sent at once, as `chainer.get_device` takes it; None: they stay where they are.
        loss_func: what is differentiated, a function of what the converter made; None: the main optimizer's target.
        loss_scale: what every optimizer multiplies the loss by, and divides the gradients by, against underflow in
            float16.
        auto_new_epoch: tell the main optimizer of each new epoch (`new_epoch`). An `update_core` that is overridden
            must do it itself.
        input_device: the device that the converter is given; None: the same as `device`.

    Attributes:
        converter, loss_func, loss_scale, auto_new_epoch: as given.
        iteration: finished updates.

    Raises:
        TypeError: one of these is of another kind.
        ModuleNotFoundError: a device is given, and chainer is not installed.
    """

    def __init__(
        self,
        iterator: Any,
        optimizer: Any,
        converter: Callable[..., Any] | None = None,
        device: Any = None,
        loss_func: Callable[..., Any] | None = None,
        loss_scale: float | None = None,
        auto_new_epoch: bool = True,
        *,
        input_device: Any = None,
    ) -> None:
        self._iterators = _by_name(iterator, "iterator", _check_iterator)
        self._optimizers = _by_name(optimizer, "optimizer", _check_optimizer)
        for what, function in (("converter", converter), ("loss_func", loss_func)):
            if function is not None and not callable(function):
                raise TypeError(f"{what} must be a function or None, not {type(function).__name__}")
        self._device = None if device is None else _chainer("device").get_device(device)
        self._input_device = self._device
        if input_device is not None:
            self._input_device = _chainer("input_device").get_device(input_device)
        self._converter = converter
        self.loss_func = loss_func
        self.loss_scale = loss_scale
        self.auto_new_epoch = auto_new_epoch
        self.iteration = 0
        for name, one in self._optimizers.items():
            if self._device is not None:
                _target_of(name, one).to_device(self._device)
            if loss_scale is not None:
                one.set_loss_scale(loss_scale)
            if auto_new_epoch:
                one.use_auto_new_epoch = True

    @property
    def converter(self) -> Callable[..., Any]:
        """What makes arrays of a batch and a device; where none was given, Chainer's.

        Raises:
            ModuleNotFoundError: it is Chainer's, and chainer is not installed.
        """
        if self._converter is None:
            self._converter = _chainer("converter").dataset.concat_examples
        return self._converter

    @converter.setter
    def converter(self, converter: Callable[..., Any]) -> None:
        self._converter = converter

    @property
    def device(self) -> Any:
        """The device of Chainer's that the models were sent to, or None."""
        return self._device

    @property
    def input_device(self) -> Any:
        """The device of Chainer's that batches are sent to, or None."""
        return self._input_device

    def update(self) -> None:
        """Do one update, and count it."""
        self.update_core()
        self.iteration += 1

    def update_core(self) -> None:
        """One update with the next batch of the main iterator: what a subclass overrides.

        A tuple that the converter returns becomes the arguments of the loss, a dict its keyword arguments.
        """
        iterator, optimizer = self.get_iterator("main"), self.get_optimizer("main")
        batch = iterator.next() if hasattr(iterator, "next") else next(iterator)
        arrays = chainer_bridge.convert(self.converter, batch, self.input_device)
        loss_func = _target_of("main", optimizer) if self.loss_func is None else self.loss_func
        if isinstance(arrays, tuple):
            optimizer.update(loss_func, *arrays)
        elif isinstance(arrays, dict):
            optimizer.update(loss_func, **arrays)
        else:
            optimizer.update(loss_func, arrays)
        if self.auto_new_epoch and iterator.is_new_epoch:
            optimizer.new_epoch(auto=True)

    def finalize(self) -> None:
        """Finalize every iterator that can be, whatever the others raise."""
        with ExitStack() as iterators:
            for iterator in reversed(self._iterators.values()):
                if hasattr(iterator, "finalize"):
                    iterators.callback(iterator.finalize)

    def get_iterator(self, name: str) -> Any:
        """The iterator of that name; "main" where only one was given.

        Raises:
            KeyError: there is none; says which there are.
        """
        return _found(self._iterators, name, "iterator")

    def get_optimizer(self, name: str) -> Any:
        """The optimizer of that name; "main" where only one was given.

        Raises:
            KeyError: there is none; says which there are.
        """
        return _found(self._optimizers, name, "optimizer")

    def get_all_optimizers(self) -> dict[str, Any]:
        """Names to optimizers, whose targets are the observers of the trainer's reporter under these names."""
        return dict(self._optimizers)

    def serialize(self, serializer: Any) -> None:
        """Save or restore, with Chainer's keys: `iterator:main`, `optimizer:main`, `model:main` and `iteration`.

        Raises:
            ValueError: an optimizer has no target yet.
        """
        for name, iterator in self._iterators.items():
            self._iterators[name] = _serialize(serializer, f"iterator:{name}", iterator)
        for name, optimizer in self._optimizers.items():
            target = _target_of(name, optimizer)
            _serialize(serializer, f"optimizer:{name}", optimizer)
            _serialize(serializer, f"model:{name}", target)
        self.iteration = serializer("iteration", self.iteration)

    def _main_iterator(self, wanted: str) -> Any:
        if "main" not in self._iterators:
            raise AttributeError(
                f"{type(self).__name__}.{wanted} is what the iterator 'main' says, and there is none; the iterators "
                f"are {_listed(self._iterators)}; name one of them 'main', or use triggers that count iterations"
            )
        return self._iterators["main"]


def _by_name(given: Any, what: str, check: Callable[[str, Any], None]) -> dict[str, Any]:
    """Names to what was given: one thing is "main"."""
    found = dict(given) if isinstance(given, Mapping) else {"main": given}
    for name, one in found.items():
        if not isinstance(name, str):
            raise TypeError(f"the name of an {what} must be a str, not {name!r}: it is a key in snapshots")
        check(name, one)
    return found


def _check_iterator(name: str, iterator: Any) -> None:
    kind = type(iterator).__name__
    if not hasattr(iterator, "next") and not hasattr(iterator, "__next__"):
        raise TypeError(
            f"the iterator {name!r} is a {kind}, which gives no next batch; want chainer.iterators.SerialIterator or "
            "another iterator of Chainer's, or holdfast.iterators.BatchIterator"
        )
    check_keeps_its_place(f"the iterator {name!r}", iterator)


def _check_optimizer(name: str, optimizer: Any) -> None:
    if hasattr(optimizer, "target"):
        return
    raise TypeError(
        f"the optimizer {name!r}, a {type(optimizer).__name__}, has no `target`, the model that belongs into "
        "snapshots beside it; want an optimizer of Chainer's. For PyTorch there is TorchUpdater, for anything else "
        "FunctionUpdater"
    )


def _target_of(name: str, optimizer: Any) -> Any:
    if optimizer.target is None:
        raise ValueError(f"the optimizer {name!r} has no target yet: call its setup(model) first")
    return optimizer.target


def _found(things: Mapping[str, Any], name: str, what: str) -> Any:
    if name not in things:
        raise KeyError(f"there is no {what} {name!r}; the {what}s are {_listed(things)}")
    return things[name]


def _listed(things: Mapping[str, Any]) -> str:
    return ", ".join(map(repr, things)) or "none"


def _chainer(argument: str) -> Any:
    """The module, for an argument that is Chainer's own."""
    try:
        import chainer
    except ModuleNotFoundError as error:
        if error.name != "chainer":
            raise
        remedy = "pass converter=, a function of a batch and a device" if argument == "converter" else "leave it out"
        raise ModuleNotFoundError(
            f"StandardUpdater: {argument} is a matter of Chainer's here, and chainer is not installed; install it, or "
            f"{remedy}",
            name="chainer",
        ) from None
    return chainer


def _serialize(serializer: Any, key: str, part: Any) -> Any:
    """Save or restore a part. ChainerMN's optimizers and iterators have no method of their own, but hand on the one of
    what they stand for."""
    if not hasattr(type(part), "serialize") and hasattr(part, "serialize"):
        part.serialize(serializer[key])
        return part
    return serialize_state(serializer, key, part)
