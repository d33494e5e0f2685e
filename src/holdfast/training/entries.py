"""What a trainer knows of a registered extension, and the orders in which extensions are called.

Any callable is an extension. What it does not say about itself gets a default, and a hook that is missing, or None, is
none.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from holdfast.training.extension import PRIORITY_READER, Extension
from holdfast.training.triggers.interval import get_trigger

if TYPE_CHECKING:
    from holdfast.training.trainer import Trainer


@dataclass(frozen=True, slots=True)
class Entry:
    """One registered extension, with what `Trainer.extend` was told or the extension says about itself."""

    name: str  # unique in its trainer, and a key in its snapshots
    extension: Callable[[Trainer], Any]
    trigger: Callable[[Trainer], bool]
    priority: int
    call_before_training: bool

    @property
    def is_snapshot(self) -> bool:
        """Whether it must run after everything else; see Extension.is_snapshot."""
        return bool(getattr(self.extension, "is_snapshot", False))

    def hook(self, name: str) -> Callable[..., Any] | None:
        """The extension's hook of that name, if it has one."""
        hook: Callable[..., Any] | None = getattr(self.extension, name, None)
        return hook


def make_entry(
    extension: Callable[[Trainer], Any],
    taken: Collection[str],
    *,
    name: str | None,
    trigger: Any,
    priority: int | None,
    call_before_training: bool,
) -> Entry:
    """Register `extension` beside those whose names are `taken`; see Trainer.extend."""
    if not callable(extension):
        raise TypeError(f"an extension is called with the trainer, and a {type(extension).__name__} cannot be called")
    if trigger is None:
        trigger = getattr(extension, "trigger", Extension.trigger)
    if priority is None:
        priority = getattr(extension, "priority", None)
    name = _free_name(_name_of(extension) if name is None else name, taken)
    entry = Entry(
        name,
        extension,
        get_trigger(trigger),
        PRIORITY_READER if priority is None else priority,
        call_before_training,
    )
    with contextlib.suppress(AttributeError):  # a bound method, or an object with slots, cannot be told its name
        extension.name = name  # type: ignore[attr-defined]
    return entry


def by_priority(entries: Iterable[Entry]) -> list[Entry]:
    """In falling priority; those of the same priority as they were registered."""
    return sorted(entries, key=lambda entry: -entry.priority)


def in_order_of_resuming(entries: Iterable[Entry]) -> list[Entry]:
    """As they were registered, those that restore the whole trainer at the end."""
    return sorted(entries, key=lambda entry: bool(getattr(entry.extension, "resume_last", False)))


def _name_of(extension: Any) -> str:
    for attribute in ("name", "default_name", "__name__"):
        name: str | None = getattr(extension, attribute, None)
        if name is not None:
            return name
    raise TypeError(
        f"a {type(extension).__name__} has no name, default_name or __name__: pass one, extend(extension, name='...')"
    )


def _free_name(name: str, taken: Collection[str]) -> str:
    if name == "training":
        raise ValueError('the name "training" is prohibited as an extension name: pass another name to extend')
    free, ordinal = name, 0
    while free in taken:
        ordinal += 1
        free = f"{name}_{ordinal}"
    return free
