"""Evaluator: measures a model on data of its own, now and then while it is trained.

It keeps nothing: whatever it reports follows from the model, the data and the global random generators. It touches the
training only as far as Chainer's does: it goes through its own iterator, and where this shuffles by a global generator,
or a DataLoader of PyTorch is begun, which draws a seed, that generator moves on. Snapshots hold the global generators,
so that a resumed run moves on in the same way.
"""

from __future__ import annotations

import contextlib
import copy
import sys
import types
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING, Any

from holdfast.reporter import DictSummary, Reporter, report, report_scope
from holdfast.training import chainer_bridge
from holdfast.training.extension import PRIORITY_WRITER, Extension
from holdfast.training.extensions.evaluation_bar import EvaluationBar

if TYPE_CHECKING:
    from holdfast.training.trainer import Trainer


class Evaluator(Extension):
    """Calls a function with each batch of an iterator, and reports the means of what it reports.

    A mean is over batches, as Chainer's: a last batch that is smaller counts as much as the others. A value that is
    reported as a pair (value, weight) counts by its weight, such as the number of examples.

    What is reported with an observer (`holdfast.report(values, model)`) has the names of the evaluator and the target
    before its own: "validation/main/loss". So have the values of a mapping that the function returns, as if the target
    "main" had reported them. What is reported without an observer keeps its bare name, as Chainer's does.

    Links of Chainer's run with `chainer.config.train` off and without a graph; PyTorch runs under `torch.no_grad()`,
    the modules among the targets in eval mode, and each module is put back into the mode it was in. A module that the
    function reaches by another way stays as it is: name it among the targets.

    Args:
        iterator: gives the batches, and comes to an end (`repeat=False`); or a mapping of names to iterators, of which
            "main" is gone through. Before each evaluation `reset()` is called. One without is copied, with Chainer's
            DeprecationWarning; and what only can be iterated over (a list of batches, a DataLoader) is begun anew. It
            must be another one than the training's. One that shuffles by a generator of its own, as a BatchIterator
            does, has another order after a resume.
        target: what is evaluated: a link, a module, a function, anything; or a mapping of names to such, the one that
            is called by the name "main". Each is an observer under its name, and so are the links or modules in it
            ("validation/main/l1"). None: nothing, where `eval_func` is given.
        converter: makes the arguments out of a batch and a device. None: Chainer's `concat_examples` for lists of
            examples, as Chainer's iterators give them, and for a Chainer link any list; all other batches stay as
            they are, but for tensors, which are sent to the device.
        device: where a batch is sent. As `chainer.get_device` takes it, where the iterator, a target or the converter
            is Chainer's; otherwise handed to the converter as it is. None: they stay where they are.
        eval_hook: called with this evaluator before each evaluation.
        eval_func: called for each batch. None: the target "main". A tuple becomes its arguments, a dict its keyword
            arguments, and everything else the one argument: also a list, as a DataLoader gives it.
        progress_bar: show how far it is, on a terminal below everything that is printed.

    Attributes:
        converter, device, eval_hook, eval_func: as given; `converter` is a function in any case.

    Raises:
        TypeError: there is nothing to call, or one of these is of another kind.

    Warns:
        UserWarning: an iterator repeats its data for ever, and so would the evaluation.
    """

    trigger = (1, "epoch")
    default_name = "validation"
    priority = PRIORITY_WRITER

    def __init__(
        self,
        iterator: Any,
        target: Any,
        converter: Callable[[Any, Any], Any] | None = None,
        device: Any = None,
        eval_hook: Callable[[Evaluator], Any] | None = None,
        eval_func: Callable[..., Any] | None = None,
        *,
        progress_bar: bool = False,
    ) -> None:
        self._iterators: dict[str, Any] = dict(iterator) if isinstance(iterator, Mapping) else {"main": iterator}
        if isinstance(target, Mapping):
            self._targets: dict[str, Any] = dict(target)
        else:
            self._targets = {} if target is None else {"main": target}
        for what, function in (("converter", converter), ("eval_hook", eval_hook), ("eval_func", eval_func)):
            if function is not None and not callable(function):
                raise TypeError(f"Evaluator: {what} must be a function or None, not {type(function).__name__}")
        for name, one in self._iterators.items():
            _check_iterator(name, one)
        if type(self).evaluate is Evaluator.evaluate:
            self._check_main(eval_func)
        if device is not None and self._is_chainers(converter):
            device = sys.modules["chainer"].get_device(device)
        self.converter: Callable[[Any, Any], Any] = self._default_converter if converter is None else converter
        self.device = device
        self.eval_hook = eval_hook
        self.eval_func = eval_func
        self._progress_bar = progress_bar

    def get_iterator(self, name: str) -> Any:
        """The iterator of that name; "main" where only one was given.

        Raises:
            KeyError: there is none; says which there are.
        """
        return _found(self._iterators, name, "iterator")

    def get_all_iterators(self) -> dict[str, Any]:
        """Names to iterators."""
        return dict(self._iterators)

    def get_target(self, name: str) -> Any:
        """The target of that name; "main" where only one was given.

        Raises:
            KeyError: there is none; says which there are.
        """
        return _found(self._targets, name, "target")

    def get_all_targets(self) -> dict[str, Any]:
        """Names to targets."""
        return dict(self._targets)

    def __call__(self, trainer: Trainer | None = None) -> dict[str, Any]:
        """Evaluate, and report the result to the current reporter, if there is one.

        Args:
            trainer: not needed: an evaluator can be called by anybody.
        Returns:
            The result of `evaluate`.
        """
        reporter = Reporter()
        for name, target in self._targets.items():
            _observe(reporter, self._prefix + name, target)
        parts = [*self._targets.values(), self.eval_func, getattr(self.eval_func, "__self__", None)]
        with reporter, chainer_bridge.testing(), _eval_mode(parts):
            result = self.evaluate()
        report(result)
        return result

    def evaluate(self) -> dict[str, Any]:
        """Go through the main iterator, and take the means: what a subclass overrides.

        It is called with a reporter of its own current, to which the targets are known, and with Chainer and PyTorch
        switched to evaluation; this method itself switches graphs off, around each call of the function.

        Returns:
            Names to means, which are then reported without an observer.
        Raises:
            ValueError: the iterator gave no batch.
        """
        iterator = self.get_iterator("main")
        eval_func = self.get_target("main") if self.eval_func is None else self.eval_func
        if self.eval_hook is not None:
            self.eval_hook(self)
        summary, count = DictSummary(), 0
        batches = _from_the_start(iterator)
        with ExitStack() as stack:
            bar = None
            if self._progress_bar:
                told_by = batches if hasattr(batches, "epoch_detail") else iterator
                bar = stack.enter_context(EvaluationBar(self.name or self.default_name, told_by))
            for batch in batches:
                observation: dict[str, Any] = {}
                with report_scope(observation):
                    self._evaluate_batch(eval_func, batch)
                summary.add(observation)
                count += 1
                if bar is not None:
                    bar.update()
        if not count:
            raise ValueError(
                f"Evaluator: the iterator 'main', a {type(iterator).__name__}, gave no batch at all; want data to "
                "evaluate on, and an iterator that can be gone through again"
            )
        return summary.compute_mean()

    def finalize(self) -> None:
        """Finalize every iterator that can be, whatever the others raise."""
        with ExitStack() as iterators:
            for iterator in reversed(self._iterators.values()):
                if hasattr(iterator, "finalize"):
                    iterators.callback(iterator.finalize)

    @property
    def _prefix(self) -> str:
        return "" if self.name is None else f"{self.name}/"

    def _evaluate_batch(self, eval_func: Callable[..., Any], batch: Any) -> None:
        if self.converter == self._default_converter:
            arguments = self.converter(batch, self.device)
        else:
            arguments = chainer_bridge.convert(self.converter, batch, self.device)
        with chainer_bridge.no_backprop(), _no_grad():
            if isinstance(arguments, tuple):
                returned = eval_func(*arguments)
            elif isinstance(arguments, dict):
                returned = eval_func(**arguments)
            else:
                returned = eval_func(arguments)
        # what a link of Chainer's returns is not reported there either
        if isinstance(returned, Mapping) and not chainer_bridge.is_a(eval_func, "Link"):
            report({f"{self._prefix}main/{name}": value for name, value in returned.items()})

    def _default_converter(self, batch: Any, device: Any) -> Any:
        """The arguments that a batch stands for; see `converter`."""
        takes_examples = chainer_bridge.is_a(self._iterators.get("main"), "dataset.Iterator") or (
            isinstance(batch, list) and chainer_bridge.is_a(self._targets.get("main"), "Link")
        )
        if takes_examples:
            return sys.modules["chainer"].dataset.concat_examples(batch, device)
        if device is None or "torch" not in sys.modules:
            return batch
        from holdfast.training.updaters.torch_updater import to_device

        return to_device(batch, device)

    def _is_chainers(self, converter: Any) -> bool:
        """Whether devices are Chainer's."""
        return (
            chainer_bridge.is_a(converter, "dataset.Converter")
            or any(chainer_bridge.is_a(one, "dataset.Iterator") for one in self._iterators.values())
            or any(chainer_bridge.is_a(one, "Link") for one in self._targets.values())
        )

    def _check_main(self, eval_func: Any) -> None:
        if "main" not in self._iterators:
            raise TypeError(
                f"Evaluator: the iterator that is gone through must be named 'main'; the iterators are "
                f"{_listed(self._iterators)}"
            )
        if eval_func is None and not callable(self._targets.get("main")):
            found = "no target" if not self._targets else f"the targets {_listed(self._targets)}"
            if "main" in self._targets:
                found = f"the target 'main', a {type(self._targets['main']).__name__}, which cannot be called"
            raise TypeError(
                f"Evaluator: there is nothing to call with a batch: eval_func is None, and there is {found}; pass a "
                "function as eval_func, or as the target"
            )


def _check_iterator(name: str, iterator: Any) -> None:
    kind = type(iterator).__name__
    if not hasattr(iterator, "__iter__"):
        raise TypeError(f"Evaluator: the iterator {name!r} must give batches, and a {kind} cannot be iterated over")
    if isinstance(iterator, types.GeneratorType):
        raise TypeError(
            f"Evaluator: the iterator {name!r} is a generator, which can be gone through only once; pass a list of "
            "batches, a loader, or an iterator with reset()"
        )
    if getattr(iterator, "repeat", False) is True:
        warnings.warn(
            f"Evaluator: the iterator {name!r}, a {kind}, was made with repeat=True: it may never stop, and then the "
            "evaluation never ends; pass repeat=False, or the data loader itself",
            stacklevel=3,
        )


def _from_the_start(iterator: Any) -> Iterator[Any]:
    """The batches of an iterator, from its first."""
    if hasattr(iterator, "reset"):
        iterator.reset()
    elif hasattr(iterator, "__next__"):
        warnings.warn(
            f"Evaluator: a {type(iterator).__name__} has no reset(), so it is copied for each evaluation, as Chainer "
            "does; give it a reset()",
            DeprecationWarning,
            stacklevel=3,
        )
        iterator = copy.copy(iterator)
    return iter(iterator)


def _observe(reporter: Reporter, name: str, target: Any) -> None:
    """Let a target, and each link or module in it, report under a name of its own."""
    reporter.add_observer(name, target)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(target, torch.nn.Module):
        reporter.add_observers(f"{name}/", [(path, module) for path, module in target.named_modules() if path])
    elif callable(getattr(target, "namedlinks", None)):
        reporter.add_observers(name, target.namedlinks(skipself=True))


@contextlib.contextmanager
def _eval_mode(parts: list[Any]) -> Iterator[None]:
    """PyTorch's modules among `parts` in eval mode, and at the end each module in the mode it was in."""
    torch = sys.modules.get("torch")
    roots = [] if torch is None else [part for part in parts if isinstance(part, torch.nn.Module)]
    before = [(module, module.training) for root in roots for module in root.modules()]
    was = [root.training for root in roots]
    try:
        for root in roots:
            root.eval()
        yield
    finally:
        for root, training in zip(roots, was, strict=True):
            root.train(training)  # a module may do more in it than note the mode
        for module, training in before:
            module.training = training


def _no_grad() -> AbstractContextManager[Any]:
    torch = sys.modules.get("torch")
    return contextlib.nullcontext() if torch is None else torch.no_grad()


def _found(things: Mapping[str, Any], name: str, what: str) -> Any:
    if name not in things:
        raise KeyError(f"Evaluator: there is no {what} {name!r}; the {what}s are {_listed(things)}")
    return things[name]


def _listed(things: Mapping[str, Any]) -> str:
    return ", ".join(map(repr, things)) or "none"
