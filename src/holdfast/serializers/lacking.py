"""What a file may lack of a trainer that is strictly restored from it: of what Chainer, or an old one, keeps nothing.

Chainer's own loading is strict about what a trainer's parts ask for: theirs ask for nothing where they have no state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from holdfast.state import lookup, protocols
from holdfast.state.capture import capture
from holdfast.state.tree import Branch, Key, join

_TRIGGERS = ("stop_trigger", "extension_triggers")
_STATELESS_IN_CHAINER = frozenset(
    {
        ("holdfast.training.extensions.parameter_statistics", "ParameterStatistics"),
        ("holdfast.training.extensions.variable_statistics_plot", "VariableStatisticsPlot"),
    }
)


def may_lack(obj: Any) -> Callable[[str], bool]:
    """Tells of a path in `obj` whether a file may have nothing there; always no, where `obj` is no trainer."""
    if not protocols.keeps_reserved(obj):
        return lambda path: False
    entries = obj.entries() if hasattr(obj, "entries") else []
    tolerated = {join("extensions", entry.name) for entry in entries if _is_stateless_in_chainer(entry.extension)}
    if all(join("extensions", name) in tolerated for name in _extensions_with_state(obj)):
        tolerated.add("extensions")
    return lambda path: path in tolerated or path.partition("/")[0] in _TRIGGERS


def _is_stateless_in_chainer(extension: object) -> bool:
    return any((kind.__module__, kind.__qualname__) in _STATELESS_IN_CHAINER for kind in type(extension).__mro__)


def _extensions_with_state(trainer: Any) -> list[Key]:
    extensions = lookup.child(capture(trainer).root, "extensions")
    if not isinstance(extensions, Branch):
        return []
    return [key for key, one in zip(extensions.keys, extensions.children, strict=True) if not lookup.is_hollow(one)]
