"""Extensions: what a trainer calls after an update, whenever the extension's trigger fires.

Any callable that takes the trainer is one. The class and the decorator give it a default trigger, name and priority,
and hooks. A trainer calls the hooks in this order: `resume`, `initialize`, then `__call__` in the loop, `on_error`,
`finalize`; see Trainer.run.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from holdfast.training.trainer import Trainer

PRIORITY_WRITER = 300
"""For extensions that report values."""
PRIORITY_EDITOR = 200
"""For extensions that change values already reported."""
PRIORITY_READER = 100
"""For extensions that only read what was reported, or do not care."""

Function = TypeVar("Function", bound=Callable[..., Any])


class Extension:
    """The base class of extensions; everything has a default, and does nothing.

    A subclass may also have `resume(trainer)`: it is called before any extension's `initialize`, and is the place to
    restore what an earlier run left.

    Attributes:
        trigger: when to call it, if `Trainer.extend` is told nothing else.
        priority: higher ones are called earlier in an iteration.
        name: what it is registered under; None means `default_name`.
        is_snapshot: a snapshot is taken after every other extension of the iteration has run and after every
            trigger was asked, whatever its priority: what it holds is the state between two iterations.
        resume_last: restored after every other one; for an extension that restores the whole trainer.
    """

    trigger: Any = (1, "iteration")
    priority: int = PRIORITY_READER
    name: str | None = None
    is_snapshot: bool = False
    keys_may_differ = True  # its state may hold keys that a fresh one does not have; see holdfast.state.protocols
    resume_last: bool = False

    @property
    def default_name(self) -> str:
        """The name of the class."""
        return type(self).__name__

    def __call__(self, trainer: Trainer) -> Any:
        """Called in each iteration in which the trigger fires."""

    def initialize(self, trainer: Trainer) -> Any:
        """Called once before the loop, in falling priority, when all state has been restored."""

    def on_error(self, trainer: Trainer, exc: Exception, tb: TracebackType | None) -> None:
        """Called when the loop fails with an Exception, before anything is finalized."""

    def finalize(self) -> None:
        """Called at the end of the run, however it ends, if `initialize` or `resume` was called and came back."""

    def serialize(self, serializer: Any) -> None:
        """Save or restore the state, one way for both: `self.x = serializer("x", self.x)`."""


def make_extension(
    trigger: Any = None,
    default_name: str | None = None,
    priority: int | None = None,
    finalizer: Callable[[], None] | None = None,
    initializer: Callable[[Trainer], None] | None = None,
    on_error: Callable[[Trainer, Exception, TracebackType | None], None] | None = None,
) -> Callable[[Function], Function]:
    """A decorator that makes a function an extension, by giving it the attributes of one.

    Args:
        trigger: when to call it; every iteration if left out.
        default_name: what it is registered under; the function's own name if left out.
        priority: PRIORITY_READER if left out.
        finalizer: called at the end of the run.
        initializer: called with the trainer before the loop.
        on_error: called with trainer, exception and traceback when the loop fails.

    Example:
        @training.make_extension(trigger=(1, "epoch"), priority=training.PRIORITY_WRITER)
        def validate(trainer): ...
    """

    def decorate(function: Function) -> Function:
        attributes = {
            "trigger": Extension.trigger if trigger is None else trigger,
            "default_name": default_name or getattr(function, "__name__", None),
            "priority": Extension.priority if priority is None else priority,
            "finalize": finalizer,
            "initialize": initializer,
            "on_error": on_error,
        }
        for name, value in attributes.items():
            setattr(function, name, value)
        return function

    return decorate
