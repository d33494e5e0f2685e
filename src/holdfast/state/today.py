"""What a target holds today, where what it is to hold depends on that."""

from __future__ import annotations

from typing import Any

from holdfast.errors import CaptureError, MismatchError
from holdfast.state import arrays, fit, lookup
from holdfast.state.capture import Capture
from holdfast.state.containers import Parts
from holdfast.state.load import Builder
from holdfast.state.tree import Branch, Node, Packed


def typed(node: Branch, kind: str, today: Parts) -> Branch:
    """The state of a generator out of flat names, with the types that its state has today; unchanged if it is none."""
    found, made = lookup.Children(node), []
    for key, like in zip(today.keys, today.children, strict=True):
        child = found.get(key)
        if child is None:
            return node
        try:
            value = Builder("numpy").build(fit.plain(child) if like is None else child, like)
        except MismatchError:
            return node
        made.append(Capture(value).tree.root)
    return Branch(kind, today.keys, tuple(made), today.meta)


def is_hollow(value: Any) -> bool:
    """Whether a file of flat names has nothing of it: an empty container, or an object without state."""
    today = None if arrays.framework_of(value) else captured(value)
    return today is not None and lookup.is_hollow(today)


def captured(value: Any) -> Node | None:
    """What stands in a target today; None where it holds what has no values, such as a jax.ShapeDtypeStruct."""
    try:
        return Capture(value).tree.root
    except CaptureError:
        return None


def alike(one: list[Any], other: list[Any]) -> bool:
    """Whether two lists hold the same values, and the very same arrays."""
    nodes = Capture((one, other)).tree.root
    return isinstance(nodes, Packed) or (isinstance(nodes, Branch) and nodes.children[0] == nodes.children[1])
