"""The least of Chainer that extensions meet, for a suite that runs without it."""

from __future__ import annotations

import contextlib
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np


class Variable:
    def __init__(self, array: Any) -> None:
        self.array = np.asarray(array)

    @property
    def ndim(self) -> int:
        return self.array.ndim


class Iterator:
    """Lists of examples, once through; `reset` begins anew."""

    def __init__(self, examples: list[Any], size: int, repeat: bool = False) -> None:
        self.examples, self.size, self.repeat = examples, size, repeat
        self.finalized = 0
        self.reset()

    def reset(self) -> None:
        self.current_position = 0

    @property
    def epoch_detail(self) -> float:
        return self.current_position / len(self.examples)

    def __iter__(self) -> Iterator:
        return self

    def __next__(self) -> list[Any]:
        batch = self.examples[self.current_position : self.current_position + self.size]
        self.current_position += len(batch)
        if not batch:
            raise StopIteration
        return batch

    def finalize(self) -> None:
        self.finalized += 1


class Converter:
    def __call__(self, batch: Any, device: Any) -> Any:
        raise NotImplementedError


class Link:
    def __init__(self, **children: Link) -> None:
        self.children = children

    def namedlinks(self, skipself: bool = False) -> Any:
        if not skipself:
            yield "/", self
        for name, child in self.children.items():
            yield "/" + name, child
            for path, link in child.namedlinks(skipself=True):
                yield f"/{name}{path}", link


class Device:
    def __init__(self, name: Any, xp: Any = np) -> None:
        self.name, self.xp = name, xp


def concat_examples(batch: list[Any], device: Any = None) -> Any:
    """The columns; and the device, so that a test sees it."""
    columns = tuple(np.asarray(column) for column in zip(*batch, strict=True))
    return columns if device is None else (*columns, device)


def make() -> dict[str, Any]:
    """Names to modules, for `sys.modules`, with modes and current reporters of their own."""
    chainer: Any = ModuleType("chainer")
    reporter: Any = ModuleType("chainer.reporter")
    reporters: list[Any] = []

    def report(values: Any, observer: Any = None) -> None:
        if reporters:
            reporters[-1].report(values, observer)

    @contextlib.contextmanager
    def report_scope(observation: Any) -> Any:
        before = reporters[-1].observation
        reporters[-1].observation = observation
        yield
        reporters[-1].observation = before

    @contextlib.contextmanager
    def using_config(name: str, value: Any) -> Any:
        before = getattr(chainer.config, name)
        setattr(chainer.config, name, value)
        try:
            yield
        finally:
            setattr(chainer.config, name, before)

    reporter._get_reporters = lambda: reporters
    chainer.reporter = reporter
    chainer.report = reporter.report = report
    chainer.report_scope = reporter.report_scope = report_scope
    chainer.config = SimpleNamespace(train=True, enable_backprop=True, keep_graph_on_report=False)
    chainer.using_config = using_config
    chainer.no_backprop_mode = lambda: using_config("enable_backprop", False)
    chainer.Variable, chainer.Link = Variable, Link
    chainer.get_device = Device
    chainer.backend = SimpleNamespace(Device=Device)
    chainer.backends = SimpleNamespace(cuda=SimpleNamespace(cupy="cupy"))
    chainer.dataset = SimpleNamespace(Iterator=Iterator, Converter=Converter, concat_examples=concat_examples)
    return {"chainer": chainer, "chainer.reporter": reporter}
