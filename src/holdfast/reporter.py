"""What is measured while training: `report` writes values under names, and summaries make means of them.

A Reporter is current inside `with reporter` and `with reporter.scope(observation)`; which one is current is a matter of
the thread. A reported value is cut from its computation: one loss held with its graph keeps every activation alive.
As Chainer's `chainer.reporter`.
"""

from __future__ import annotations

import contextlib
import copy
import json
import math
import numbers
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any


class Reporter:
    """Collects reported values in `observation`, a dict of names to values.

    A value may be reported with its observer, an object that was registered under a name: that name and a "/" then
    stand before the value's own.
    """

    def __init__(self) -> None:
        self.observation: dict[str, Any] = {}
        self._observers: dict[
            int, tuple[str, object]
        ] = {}  # by id; the object is held, so that no other can take its id

    def __enter__(self) -> Reporter:
        """Make this reporter the current one."""
        _stack().append(self)
        return self

    def __exit__(self, *exc_info: object) -> None:
        _stack().pop()

    @contextlib.contextmanager
    def scope(self, observation: dict[str, Any]) -> Iterator[None]:
        """Make this reporter the current one, and let it write into `observation`, until the block ends."""
        with self, _writing_into(self, observation):
            yield

    def add_observer(self, name: str, observer: object) -> None:
        """Register `observer`, which is told from others by identity, under `name`."""
        self._observers[id(observer)] = (name, observer)

    def add_observers(self, prefix: str, observers: Iterable[tuple[str, object]]) -> None:
        """Register each of (name, observer) under `prefix + name`."""
        for name, observer in observers:
            self.add_observer(prefix + name, observer)

    def report(self, values: Mapping[str, Any], observer: object = None) -> None:
        """Write `values`, cut from their computation, into the observation.

        Args:
            values: names to values of any kind; summaries use the real scalars among them.
            observer: its registered name and a "/" are put before each name.

        Raises:
            KeyError: `observer` was not registered.
        """
        prefix = ""
        if observer is not None:
            if id(observer) not in self._observers:
                known = ", ".join(repr(name) for name, _ in self._observers.values()) or "none"
                raise KeyError(
                    f"the given observer of type {type(observer).__name__} is not registered to the reporter "
                    f"(registered: {known}); register it with add_observer(name, observer)"
                )
            prefix = self._observers[id(observer)][0] + "/"
        self.observation.update({prefix + name: detach(value) for name, value in values.items()})


def report(values: Mapping[str, Any], observer: object = None) -> None:
    """Report `values` to the current reporter; where none is current, nothing happens.

    Example:
        holdfast.report({"accuracy": 0.98})

    Raises:
        KeyError: `observer` is given and was not registered to the reporter.
    """
    reporters = _stack()
    if reporters:
        reporters[-1].report(values, observer)


@contextlib.contextmanager
def report_scope(observation: dict[str, Any]) -> Iterator[None]:
    """Let the current reporter write into `observation` until the block ends.

    Raises:
        RuntimeError: no reporter is current.
    """
    with _writing_into(get_current_reporter(), observation):
        yield


def get_current_reporter() -> Reporter:
    """The reporter that `report` writes to, in this thread.

    Raises:
        RuntimeError: none is current.
    """
    reporters = _stack()
    if not reporters:
        raise RuntimeError(
            "no reporter is current in this thread: use `with reporter:`, or call this from a trainer's run"
        )
    current: Reporter = reporters[-1]
    return current


def scalars_of(values: Mapping[str, Any]) -> dict[str, float]:
    """The real scalars among `values`, which are the ones that summaries use; everything else is left out."""
    found = {name: _real(value) for name, value in values.items()}
    return {name: scalar for name, scalar in found.items() if scalar is not None}


def detach(value: Any) -> Any:
    """The same values without the computation that made them: torch tensors, also inside tuples, lists and dicts, and
    Chainer's variables, unless Chainer is told to keep it."""
    if _is_variable(value):
        return value if sys.modules["chainer"].config.keep_graph_on_report else copy.copy(value)
    torch = sys.modules.get("torch")
    if torch is None:
        return value
    if isinstance(value, torch.Tensor):
        return value.detach()
    if type(value) in (tuple, list):
        return type(value)(detach(item) for item in value)
    if type(value) is dict:
        return {key: detach(item) for key, item in value.items()}
    return value


class Summary:
    """Mean and standard deviation of scalars, without keeping them."""

    def __init__(self) -> None:
        self._x = 0.0
        self._x2 = 0.0
        self._n = 0.0

    def add(self, value: Any, weight: float = 1.0) -> None:
        """Add one scalar: a number, or an array of no dimensions of any framework, which is read at once."""
        number = float(detach(value))
        self._x += weight * number
        self._x2 += weight * number * number
        self._n += weight

    def compute_mean(self) -> float:
        """The weighted mean; NaN before anything was added."""
        return self._x / self._n if self._n else math.nan

    def make_statistics(self) -> tuple[float, float]:
        """The weighted mean, and the standard deviation of the population."""
        mean = self.compute_mean()
        if not self._n:
            return mean, math.nan
        variance = self._x2 / self._n - mean * mean
        return mean, math.sqrt(variance) if not variance < 0 else 0.0  # below zero only by rounding; NaN stays NaN

    def serialize(self, serializer: Any) -> None:
        """Save or restore, with Chainer's keys; a file without them warns and changes nothing."""
        weights: float = self._n
        if not getattr(serializer, "loading", False) and weights.is_integer():
            weights = int(weights)  # Chainer can read no other kind
        try:
            x, x2, n = serializer("_x", self._x), serializer("_x2", self._x2), serializer("_n", weights)
        except KeyError:
            warnings.warn("The previous statistics are not saved.", stacklevel=2)
            return
        self._x, self._x2, self._n = x, x2, float(n)


class DictSummary:
    """A Summary for each name of the mappings that are added."""

    def __init__(self) -> None:
        self._summaries: dict[str, Summary] = {}

    def add(self, values: Mapping[str, Any]) -> None:
        """Add one value a name.

        Args:
            values: names to values, or to pairs (value, weight). Real scalars (numbers, arrays of no dimensions)
                are summarised; everything else is passed over.

        Raises:
            ValueError: a weight is no scalar.
        """
        for name, given in values.items():
            value, weight = given, 1.0
            if isinstance(given, tuple):
                if len(given) != 2:
                    continue
                value, number = given[0], _real(given[1])
                if number is None:
                    raise ValueError(f"the weight given to {name!r} is no scalar but a {type(given[1]).__name__}")
                weight = number
            scalar = _real(value)
            if scalar is not None:
                self._summaries.setdefault(name, Summary()).add(scalar, weight)

    def compute_mean(self) -> dict[str, float]:
        """The mean for each name."""
        return {name: summary.compute_mean() for name, summary in self._summaries.items()}

    def make_statistics(self) -> dict[str, float]:
        """The mean for each name, and the standard deviation under `name + ".std"`."""
        statistics = {}
        for name, summary in self._summaries.items():
            statistics[name], statistics[name + ".std"] = summary.make_statistics()
        return statistics

    def serialize(self, serializer: Any) -> None:
        """Save or restore, with Chainer's keys; a file without them warns and leaves the summary empty."""
        try:
            names = json.loads(serializer("_names", json.dumps(list(self._summaries))))
        except KeyError:
            warnings.warn("The names of statistics are not saved.", stacklevel=2)
            names = []
        self._summaries = {name: self._summaries.get(name, Summary()) for name in names}
        for position, name in enumerate(names):
            self._summaries[name].serialize(serializer["_summaries"][str(position)])


def _real(value: Any) -> float | None:
    """A real scalar as a float; None for anything else."""
    if _is_variable(value):
        value = value.array
    if not isinstance(value, numbers.Real) and getattr(value, "ndim", -1) != 0:
        return None
    try:
        return float(detach(value))
    except (TypeError, ValueError, RuntimeError):  # complex numbers, dates and the like in arrays of no dimensions
        return None


@contextlib.contextmanager
def _writing_into(reporter: Reporter, observation: dict[str, Any]) -> Iterator[None]:
    before = reporter.observation
    reporter.observation = observation
    try:
        yield
    finally:
        reporter.observation = before


class _Current(threading.local):
    """The current reporters of one thread, the innermost last."""

    def __init__(self) -> None:
        self.reporters: list[Reporter] = []


_current = _Current()


def _stack() -> list[Any]:
    """This thread's; where Chainer is loaded, its own list, so that its links report to whichever is current."""
    shared = getattr(sys.modules.get("chainer.reporter"), "_get_reporters", None)
    if shared is None:
        return _current.reporters
    found: list[Any] = shared()
    if _current.reporters:  # current before Chainer was loaded
        found[:0], _current.reporters = _current.reporters, []
    return found


def _is_variable(value: Any) -> bool:
    variable = getattr(sys.modules.get("chainer"), "Variable", None)
    return variable is not None and isinstance(value, variable)
