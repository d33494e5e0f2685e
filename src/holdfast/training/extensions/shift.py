"""Shift: what the extensions have in common that change a hyperparameter of an optimizer as training goes on.

Each counts its own calls, so its trigger is its clock. The value is a function of the count and of the value at the
start, both of which are in the state: a resumed run goes on with the very values, also where several shifts set the
same hyperparameter.
"""

from __future__ import annotations

import json
import math
import numbers
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from holdfast.training.extension import Extension

if TYPE_CHECKING:
    from holdfast.training.trainer import Trainer


class Shift(Extension):
    """Sets an attribute of an optimizer, at the start and at each call.

    The optimizer may be any object that has the attribute, or PyTorch's, whose parameter groups have it as a key. Every
    group is set. What is given here holds for all of them: a first value, a target. Where no first value is given, each
    group is shifted from its own, so that groups of different learning rates, as of a pretrained part and a new one,
    keep their ratio; a group that is added later begins with the value that it has then. One of several groups that
    begins beyond the target stays there: a learning rate that is to fall does not rise to its target.

    Args:
        attr: the name of the attribute, such as "lr".
        init: the first value; None: what the optimizer has when the run begins.
        optimizer: None: the updater's "main", or the only one that it has.
        target: where the shift ends; None: nowhere.

    Raises:
        TypeError: `attr` is no str, or another is no number.
    """

    def __init__(self, attr: str, init: float | None, optimizer: Any, target: float | None = None) -> None:
        if not isinstance(attr, str):
            raise TypeError(f"{type(self).__name__}: attr must be the name of an attribute, such as 'lr', not {attr!r}")
        self._attr = attr
        self._init = None if init is None else self.number("init", init)
        self._target = None if target is None else self.number("target", target)
        self._optimizer = optimizer
        self._t = 0  # finished calls
        self._starts: list[float] | None = None  # the first value of each group, where none was given
        self._last: list[float] | None = None  # the last that was set
        self._shifted: Any = None  # the optimizer, once it is known

    def value(self, start: float) -> float:
        """The value after `_t` calls, of a group that began with `start`."""
        raise NotImplementedError(f"{type(self).__name__} does not define value(start)")

    def first(self, start: float) -> float:
        """The value before the first call; after a resume, where the file does not say what the last one was."""
        return self.value(start) if self._t else start

    def initialize(self, trainer: Trainer) -> None:
        """Set the first value, or the one that the run that is resumed had.

        Raises:
            AttributeError: the optimizer has no such attribute.
            KeyError: the updater has no optimizer "main", and not just one of another name.
            TypeError: the first value is the optimizer's, and is no number.
        """
        hyperparameter = self.hyperparameter(trainer)
        values = [self.first(start) for start in self._all_starts(hyperparameter)]
        if self._last is not None:
            values[: len(self._last)] = self._last[: len(values)]
        self._set(hyperparameter, values)

    def __call__(self, trainer: Trainer) -> None:
        """Count, and set the next value."""
        self._t += 1
        hyperparameter = self.hyperparameter(trainer)
        self._set(hyperparameter, [self.value(start) for start in self._all_starts(hyperparameter)])

    def serialize(self, serializer: Any) -> None:
        """Save or restore the count and the value that the next update would have, under Chainer's keys, and what
        Chainer does not keep: the first value, which is not to be found any more where the optimizer's own state has
        the last, and those of all groups.

        That value need not be the last that was set: where several shifts have one hyperparameter, each is called when
        its own trigger fires, and after a resume each begins with the value that counted.
        """
        self._t = int(serializer("_t", self._t))
        loading = getattr(serializer, "loading", False)
        values = None if loading else self._present()
        found = asked(serializer, "_last_value", values[0] if values else None)
        kept = asked(serializer, "_shift", None if loading else json.dumps([self._starts, values]))
        if kept is not None:
            self._starts, self._last = json.loads(str(kept))
        if self._last is None and found is not None:  # a file of Chainer's
            self._last = [float(found)]

    def hyperparameter(self, trainer: Trainer) -> Hyperparameter:
        """What is shifted."""
        self._shifted = self._optimizer if self._optimizer is not None else optimizer_of(trainer.updater)
        return Hyperparameter(self._shifted, self._attr)

    def number(self, name: str, value: Any) -> float:
        """`value`, as an int or a float of Python's where it is of an array library.

        Raises:
            TypeError: it is no number, under the argument's name.
        """
        plain = _plain(value)
        if isinstance(plain, bool) or not isinstance(plain, numbers.Real) or math.isnan(plain):
            raise TypeError(f"{type(self).__name__}: {name} must be a number, not {value!r}")
        return plain  # type: ignore[return-value]

    def limited(self, value: float, start: float, is_past: Callable[[float, float], bool]) -> float:
        """`value`, or the target where `is_past(value, target)`."""
        if not self._target:  # none; and nothing that is multiplied goes past zero
            return value
        if not is_past(value, self._target):
            return value
        return start if len(self._starts or ()) > 1 and is_past(start, self._target) else self._target

    def _all_starts(self, hyperparameter: Hyperparameter) -> list[float]:
        if self._init is not None:
            return [self._init] * hyperparameter.count
        known = self._starts or []
        if len(known) < hyperparameter.count:  # a value on a GPU is waited for, so it is read only where it is new
            new = hyperparameter.read()[len(known) :]
            self._starts = known = [*known, *[self.number(f"the optimizer's {self._attr}", one) for one in new]]
        return known[: hyperparameter.count]

    def _present(self) -> list[float] | None:
        """The values that the optimizer has, if this one has set any."""
        if self._last is None or self._shifted is None:
            return self._last
        return Hyperparameter(self._shifted, self._attr).present(self._last)

    def _set(self, hyperparameter: Hyperparameter, values: list[float]) -> None:
        hyperparameter.write(values)
        self._last = [float(value) for value in values]


class Hyperparameter:
    """An attribute of an optimizer: one value, or one for each parameter group of a PyTorch optimizer.

    Attributes:
        count: how many values it has.

    Raises:
        AttributeError: there is none; says what there is.
    """

    def __init__(self, optimizer: Any, name: str) -> None:
        self._name = name
        self._optimizer = optimizer
        groups = getattr(optimizer, "param_groups", None)
        self._groups: list[dict[str, Any]] | None = groups if isinstance(groups, list) else None
        self.count = 1 if self._groups is None else len(self._groups)
        missing = not hasattr(optimizer, name) if self._groups is None else any(name not in one for one in self._groups)
        if missing:
            there = sorted(set(self._groups[0]) - {"params"}) if self._groups else sorted(_public(optimizer))
            raise AttributeError(
                f"the optimizer, a {type(optimizer).__name__}, has no {name!r}; it has {', '.join(there) or 'nothing'}"
            )

    def read(self) -> list[Any]:
        """The values; those of tensors and arrays with one element as plain numbers."""
        return [_plain(value) for value in self._held()]

    def write(self, values: list[float]) -> None:
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

    def present(self, last: list[float]) -> list[float]:
        """The values as floats: those that were set last, as a tensor holds them only nearly, where nothing else was
        set since."""
        found = [float(value) for value in self.read()]
        for place, (held, value) in enumerate(zip(self._held(), last, strict=False)):
            if bool(held == value):
                found[place] = value
        return found

    def _held(self) -> list[Any]:
        if self._groups is None:
            return [getattr(self._optimizer, self._name)]
        return [group[self._name] for group in self._groups]


def optimizer_of(updater: Any, name: str = "main") -> Any:
    """The updater's optimizer of that name, or, for "main", the only one that it has.

    Raises:
        KeyError: there is none of that name; says which there are.
    """
    try:
        return updater.get_optimizer(name)
    except KeyError:
        found = updater.get_all_optimizers()
        if name == "main" and len(found) == 1:
            return next(iter(found.values()))
        there = ", ".join(map(repr, found)) or "none"
        raise KeyError(f"the updater has no optimizer {name!r}; it has {there}: say which one") from None


def falls_below(value: float, target: float) -> bool:
    """Whether the value is nearer to zero than the target; both may be negative."""
    return value / target < 1


def grows_above(value: float, target: float) -> bool:
    """Whether the value is farther from zero than the target; both may be negative."""
    return value / target > 1


def asked(serializer: Any, key: str, value: Any) -> Any:
    """What is stored; None where the file, one of Chainer's, has none."""
    try:
        return serializer(key, value)
    except KeyError:
        return None


def _plain(value: Any) -> Any:
    has_one = hasattr(value, "item") and math.prod(getattr(value, "shape", ())) == 1
    return value.item() if has_one else value


def _public(optimizer: Any) -> list[str]:
    return [name for name in getattr(optimizer, "__dict__", {}) if not name.startswith("_")]
