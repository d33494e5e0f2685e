"""FunctionUpdater: one call of a function with one batch is one iteration, whatever it is written with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from holdfast.reporter import report
from holdfast.state.serializable import serialize_state
from holdfast.training.updater import is_optimizer
from holdfast.training.updaters.iterator_updater import IteratorUpdater, check_keeps_its_place

if TYPE_CHECKING:
    from holdfast.training.trainer import Trainer


class FunctionUpdater(IteratorUpdater):
    """Calls `step(batch)` for each batch of an iterator, and keeps the state of everything that it changes.

    Args:
        iterator: gives the batches, and can save and restore its own place, by `serialize` (BatchIterator) or by
            `state_dict` and `load_state_dict`. One without `__next__` is begun anew each time that it ends.
        step: does one update with one batch; returns a mapping of names to values, which is reported under exactly
            these names, or None.
        targets: names to what `step` changes: models, optimizers, arrays, anything that can be captured. Observers of
            the trainer's reporter, too: `report(values, model)`.

    Attributes:
        targets: a dict of the same. What cannot be changed in place (a jax state) is to be assigned here by `step`, and
            is assigned here when it is restored.
        iteration: finished updates.

    Raises:
        TypeError: the place of `iterator` could not be restored, or `step` is not callable.
        ValueError: the name of a target is taken, or holds a "/".
    """

    def __init__(
        self, iterator: Any, step: Callable[[Any], Mapping[str, Any] | None], *, targets: Mapping[str, object]
    ) -> None:
        _check_iterator(iterator)
        if not callable(step):
            raise TypeError(f"step must be a function of one batch, not {type(step).__name__}")
        for name in targets:
            if (
                not isinstance(name, str)
                or not name
                or "/" in name
                or name == "iteration"
                or name.startswith("iterator:")
            ):
                raise ValueError(f"{name!r} cannot be the name of a target: want a str, without '/', not 'iteration'")
        self.iteration = 0
        self.targets: dict[str, Any] = dict(targets)
        self._iterator = iterator
        self._step = step
        self._pass: Iterator[Any] | None = None  # the running one, of an iterator that is begun anew

    def connect_trainer(self, trainer: Trainer) -> None:
        """Make each target an observer of the trainer's reporter, under its name."""
        for name, target in self.targets.items():
            trainer.reporter.add_observer(name, target)

    def update(self) -> None:
        """Do one update with the next batch, and report what it returns.

        Raises:
            TypeError: `step` returned something else than a mapping or None.
        """
        values = self._step(self._next_batch())
        if isinstance(values, Mapping):
            report(values)
        elif values is not None:
            raise TypeError(
                f"step returned a {type(values).__name__}; want a mapping of names to values, such as "
                "{'loss': loss}, or None"
            )
        self.iteration += 1

    def finalize(self) -> None:
        """Finalize the iterator, if it can be."""
        self._pass = None
        finalize = getattr(self._iterator, "finalize", None)
        if finalize is not None:
            finalize()

    def get_iterator(self, name: str = "main") -> Any:
        """The iterator; "main" is its name."""
        if name != "main":
            raise KeyError(f"there is no iterator {name!r}; the only one is 'main'")
        return self._iterator

    def get_target(self, name: str) -> Any:
        """The target of that name, as it is now.

        Raises:
            KeyError: there is none; says which there are.
        """
        if name not in self.targets:
            raise KeyError(
                f"there is no target {name!r}; the targets are {', '.join(map(repr, self.targets)) or 'none'}"
            )
        return self.targets[name]

    get_optimizer = get_target

    def get_all_optimizers(self) -> dict[str, Any]:
        """Those of the targets that are optimizers of PyTorch (`param_groups`) or Chainer (`target` and `update`)."""
        return {name: target for name, target in self.targets.items() if is_optimizer(target)}

    def serialize(self, serializer: Any) -> None:
        """Save or restore the iterator, each target under its name, and the count of iterations."""
        self._iterator = serialize_state(serializer, "iterator:main", self._iterator)
        if getattr(serializer, "loading", False):
            self._pass = None  # the next one goes on from the place that was restored
        for name, target in self.targets.items():
            self.targets[name] = serialize_state(serializer, name, target)
        self.iteration = serializer("iteration", self.iteration)

    def _main_iterator(self, wanted: str) -> Any:
        return self._iterator

    def _next_batch(self) -> Any:
        if hasattr(self._iterator, "__next__"):
            return next(self._iterator)
        if self._pass is not None:
            for batch in self._pass:
                return batch
        for _ in range(2):  # a pass that was restored at its very end has no batch left
            self._pass = iter(self._iterator)
            for batch in self._pass:
                return batch
        raise ValueError(f"the iterator, a {type(self._iterator).__name__}, gave no batch at all")


def _check_iterator(iterator: Any) -> None:
    kind = type(iterator).__name__
    if not hasattr(iterator, "__iter__") and not hasattr(iterator, "__next__"):
        raise TypeError(f"iterator must give batches, and a {kind} cannot be iterated over")
    check_keeps_its_place("the iterator", iterator)
