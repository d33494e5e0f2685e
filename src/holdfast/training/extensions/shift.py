"""Shift: what the extensions have in common that change a hyperparameter of an optimizer as training goes on.

Each counts its own calls, so its trigger is its clock. The value is a function of the count and of the value at the
start, both of which are in the state: a resumed run goes on with the very values.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from holdfast.training.extension import Extension

if TYPE_CHECKING:
    from holdfast.training.trainer import Trainer


class Shift(Extension):
    """Sets an attribute of an optimizer, at the start and at each call.

    The optimizer may be any object that has the attribute, or PyTorch's, whose parameter groups have it as a key. Every
    group is shifted, from its own value where no first value is given: groups of different learning rates keep their
    ratio. A group that is added later begins with the value that it has then.

    Args:
        attr: the name of the attribute, such as "lr".
        init: the first value; None: what the optimizer has when the run begins.
        optimizer: None: the updater's "main", or the only one that it has.

    Raises:
        TypeError: `attr` is no str.
    """

    def __init__(self, attr: str, init: float | None, optimizer: Any) -> None:
        if not isinstance(attr, str):
            raise TypeError(f"{type(self).__name__}: attr must be the name of an attribute, such as 'lr', not {attr!r}")
        self._attr = attr
        self._init = init
        self._optimizer = optimizer
        self._t = 0  # finished calls
        self._starts: list[Any] | None = None  # the first value of each group
        self._last: list[Any] | None = None  # the last that was set

    def value(self, start: Any) -> Any:
        """The value after `_t` calls, of a group that began with `start`."""
        raise NotImplementedError(f"{type(self).__name__} does not define value(start)")

    def first(self, start: Any) -> Any:
        """The value before the first call; after a resume, where the file does not say what the last one was."""
        return start if not self._t else self.value(start)

    def initialize(self, trainer: Trainer) -> None:
        """Set the first value, or the last one of the run that is resumed.

        Raises:
            AttributeError: the optimizer has no such attribute.
            KeyError: the updater has no optimizer "main", and not just one of another name.
        """
        hyperparameter = self._hyperparameter(trainer)
        present = hyperparameter.read()
        starts = self._all_starts(present)
        values = [self.first(start) for start in starts]
        if self._last is not None:
            values[: len(self._last)] = self._last[: len(values)]
        self._set(hyperparameter, values)

    def __call__(self, trainer: Trainer) -> None:
        """Count, and set the next value."""
        self._t += 1
        hyperparameter = self._hyperparameter(trainer)
        self._set(hyperparameter, [self.value(start) for start in self._all_starts(hyperparameter.read())])

    def serialize(self, serializer: Any) -> None:
        """Save or restore the count and the last value, under Chainer's keys, and what Chainer does not keep: the first
        value, which is not to be found any more where the optimizer's own state has the last."""
        self._t = int(serializer("_t", self._t))
        loading = getattr(serializer, "loading", False)
        kept = None if loading else json.dumps([self._starts, self._last])
        last = None if loading or self._last is None else self._last[0]
        found = _asked(serializer, "_last_value", last)
        kept = _asked(serializer, "_shift", kept)
        if kept is not None:
            self._starts, self._last = json.loads(str(kept))
        elif found is not None:
            self._last = [float(found)]

    def _all_starts(self, present: list[Any]) -> list[Any]:
        if self._init is not None:
            return [self._init] * len(present)
        known = self._starts or []
        self._starts = [*known, *present[len(known) :]]
        return self._starts[: len(present)]

    def _set(self, hyperparameter: Hyperparameter, values: list[Any]) -> None:
        hyperparameter.write(values)
        self._last = [float(value) for value in values]

    def _hyperparameter(self, trainer: Trainer) -> Hyperparameter:
        optimizer = self._optimizer if self._optimizer is not None else optimizer_of(trainer.updater)
        return Hyperparameter(optimizer, self._attr)


class Hyperparameter:
    """An attribute of an optimizer: one value, or one for each parameter group of a PyTorch optimizer.

    Raises:
        AttributeError: there is none; says what there is.
    """

    def __init__(self, optimizer: Any, name: str) -> None:
        self._name = name
        self._optimizer = optimizer
        groups = getattr(optimizer, "param_groups", None)
        self._groups: list[dict[str, Any]] | None = groups if isinstance(groups, list) else None
        missing = not hasattr(optimizer, name) if self._groups is None else any(name not in one for one in self._groups)
        if missing:
            there = sorted(set(self._groups[0]) - {"params"}) if self._groups else sorted(_public(optimizer))
            raise AttributeError(
                f"the optimizer, a {type(optimizer).__name__}, has no {name!r}; it has {', '.join(there) or 'nothing'}"
            )

    def read(self) -> list[Any]:
        """The values: numbers."""
        if self._groups is None:
            return [getattr(self._optimizer, self._name)]
        return [_number(group[self._name]) for group in self._groups]

    def write(self, values: list[Any]) -> None:
        """Set them, in the same order."""
        if self._groups is None:
            setattr(self._optimizer, self._name, values[0])
            return
        for group, value in zip(self._groups, values, strict=True):
            held = group[self._name]
            if hasattr(held, "fill_"):  # a tensor, which a captured or compiled step looks into
                held.fill_(value)
            else:
                group[self._name] = value


def optimizer_of(updater: Any, name: str = "main") -> Any:
    """The updater's optimizer of that name, or the only one that it has.

    Raises:
        KeyError: there is none of that name; says which there are.
    """
    there: Callable[[], dict[str, Any]] | None = getattr(updater, "get_all_optimizers", None)
    found = there() if there is not None else {}
    if name in found:
        return found[name]
    if name == "main" and len(found) == 1:
        return next(iter(found.values()))
    if found:
        raise KeyError(f"the updater has no optimizer {name!r}; it has {', '.join(map(repr, found))}: pass one of them")
    return updater.get_optimizer(name)


def limited(value: Any, target: Any, *, grows: bool) -> Any:
    """`value`, or `target` where it has gone past that. Both may be negative."""
    if not target:  # nothing that is multiplied goes past zero
        return value
    return target if (value / target > 1 if grows else value / target < 1) else value


def _asked(serializer: Any, key: str, value: Any) -> Any:
    """What is stored; None where the file, one of Chainer's, has none."""
    try:
        return serializer(key, value)
    except KeyError:
        return None


def _number(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _public(optimizer: Any) -> list[str]:
    return [name for name in getattr(optimizer, "__dict__", {}) if not name.startswith("_")]
