"""Containers as branches and back: jax's registered pytrees, dict, list, tuple and their kin, dataclasses, enums.

The builtin ones are told by their exact type. A class of the user's never stands in a file: it comes from the target,
or a dict, a tuple or the plain value takes its place.
"""

from __future__ import annotations

import copy
import dataclasses
import enum
import functools
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from holdfast.errors import CaptureError, MismatchError
from holdfast.state.tree import Key

_EXACT: dict[type, str] = {
    dict: "dict", OrderedDict: "OrderedDict", Counter: "Counter", defaultdict: "defaultdict", list: "list",
    tuple: "tuple", deque: "deque", set: "set", frozenset: "frozenset",
}  # fmt: skip
_KEY_TYPES = (str, int, bool, float, bytes, type(None))

MAX_KEY_BITS = 4096  # of an int: it stands in a path

MAPPINGS = frozenset(("dict", "OrderedDict", "Counter", "defaultdict"))
SEQUENCES = frozenset(("list", "tuple", "deque", "set", "frozenset"))
GROWING = frozenset(("Counter", "defaultdict", "deque", "set", "frozenset"))
"""What these hold changes while a program runs: the target takes it from the snapshot as it is."""
IN_PLACE = frozenset(("dict", "OrderedDict", "Counter", "defaultdict", "list", "set", "deque"))
"""These change in place, by methods that nobody can have overridden."""


@dataclass(frozen=True, slots=True)
class Parts:
    """A container taken apart: what becomes of it is a Branch of the same kind, keys and meta."""

    kind: str
    keys: tuple[Key, ...]
    children: tuple[Any, ...]
    meta: Any = None


def take_apart(value: Any) -> Parts | None:
    """The parts of a container; None where it is none.

    Raises:
        CaptureError: a key is of a type that cannot be kept.
    """
    kind = _EXACT.get(type(value))
    if kind in MAPPINGS:
        for key in value:
            _check_key(key)
        return Parts(kind, tuple(value), tuple(value.values()))
    if kind in ("set", "frozenset"):
        items = sorted(value, key=_order)  # that of a set is chance
        return Parts(kind, tuple(range(len(items))), tuple(items))
    if kind is not None:
        return Parts(kind, tuple(range(len(value))), tuple(value), value.maxlen if kind == "deque" else None)
    if isinstance(value, enum.Enum):
        return Parts("enum", ("value",), (value.value,))
    if isinstance(value, type):
        return None
    if is_pytree(value):
        tree_util = sys.modules["jax"].tree_util
        pairs, _ = tree_util.tree_flatten_with_path(value, is_leaf=lambda child: child is not value)
        return Parts("pytree", tuple(_pytree_key(path[0]) for path, _ in pairs), tuple(child for _, child in pairs))
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return Parts("namedtuple", tuple(value._fields), tuple(value))
    if dataclasses.is_dataclass(value):
        return _dataclass_parts(value)
    return None


def _dataclass_parts(value: Any) -> Parts:
    fields = {field.name for field in dataclasses.fields(value)}
    for name in getattr(value, "__dict__", ()):
        if name not in fields and not isinstance(getattr(type(value), name, None), functools.cached_property):
            raise CaptureError(
                f"is a dataclass, {type(value).__qualname__}, with the attribute {name!r} that is no field and would "
                "be lost; declare it as a field, or give the class state_dict() and load_state_dict()"
            )
    names = tuple(field.name for field in dataclasses.fields(value) if hasattr(value, field.name))
    return Parts("dataclass", names, tuple(getattr(value, name) for name in names))


def is_pytree(value: Any) -> bool:
    """Whether jax knows how to take this apart, by a registration of the user's."""
    jax = sys.modules.get("jax")
    if (
        jax is None
        or type(value) in _EXACT
        or value is None
        or (isinstance(value, tuple) and hasattr(value, "_fields"))
    ):
        return False
    tree_structure = jax.tree_util.tree_structure
    # not treedef_is_leaf, for which a pytree without children is a leaf
    return bool(tree_structure(value, is_leaf=lambda child: child is not value) != tree_structure(0))


def is_hollow(value: Any) -> bool:
    """Whether this is a container of nothing but empty containers."""
    parts = take_apart(value)
    return parts is not None and all(is_hollow(child) for child in parts.children)


def put_together(kind: str, keys: Sequence[Key], children: Sequence[Any], meta: Any = None, like: Any = None) -> Any:
    """A new container; a user's class comes from `like`, a container of the same kind.

    Without one, a named tuple becomes a tuple, a dataclass a dict, a pytree a dict or a tuple, an enum its value.
    Raises:
        MismatchError: the class of `like` has no such value or element.
    """
    if kind in MAPPINGS:
        pairs = zip(keys, children, strict=True)
        if kind == "defaultdict":
            return defaultdict(like.default_factory if type(like) is defaultdict else None, pairs)
        return (
            Counter(dict(pairs)) if kind == "Counter" else OrderedDict(pairs) if kind == "OrderedDict" else dict(pairs)
        )
    if kind == "deque":
        return deque(children, meta if type(meta) is int else None)
    if kind in SEQUENCES:
        try:
            return {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}[kind](children)
        except TypeError:
            raise MismatchError(f"a {kind} holds what cannot be in one") from None
    if kind == "enum":
        return children[0] if like is None else member_of(like, children[0])
    if like is None:
        named = kind == "dataclass" or (kind == "pytree" and any(type(key) is str for key in keys))
        return dict(zip(keys, children, strict=True)) if named else tuple(children)
    if kind == "namedtuple":
        return tuple.__new__(type(like), children)
    if kind == "pytree":
        tree_util = sys.modules["jax"].tree_util
        return tree_util.tree_unflatten(
            tree_util.tree_structure(like, is_leaf=lambda child: child is not like), children
        )
    made = copy.copy(like)
    for name, child in zip(keys, children, strict=True):
        object.__setattr__(made, str(name), child)  # a frozen one as well
    return made


def change(kind: str, target: Any, keys: Sequence[Key], children: Sequence[Any]) -> None:
    """Give a container that can change in place what it is to hold. Doing it twice does no harm, and it cannot fail.

    Args:
        keys: in a dict others stay, unless it is of a growing kind; an OrderedDict takes their order.
    """
    if kind in MAPPINGS:
        if kind in GROWING:
            target.clear()
        for key, child in zip(keys, children, strict=True):
            target[key] = child
            if kind == "OrderedDict":
                target.move_to_end(key)
    elif kind == "list":
        target[:] = children
    else:
        target.clear()
        (target.update if kind == "set" else target.extend)(children)


def member_of(target: enum.Enum, value: Any) -> enum.Enum:
    """The member of the enum of `target` that has a value.

    Raises:
        MismatchError: there is none.
    """
    kind = type(target)
    try:
        return kind(value)
    except ValueError:
        raise MismatchError(f"{kind.__name__} has no member with the value {value!r:.80}") from None


def _order(item: Any) -> Any:
    """Something to sort by that depends on the item alone."""
    if type(item) is int:
        return "int", hex(item)  # there is a limit to the digits of repr
    if type(item) in (tuple, frozenset):
        parts = [_order(part) for part in item]
        return type(item).__name__, str(parts if type(item) is tuple else sorted(parts))
    return type(item).__name__, item.tobytes().hex() if isinstance(item, np.generic) else repr(item)


def _check_key(key: object) -> None:
    if type(key) is tuple:
        for part in key:
            _check_key(part)
    elif type(key) not in _KEY_TYPES:
        raise CaptureError(
            f"has the key {key!r:.80} of type {type(key).__name__}; keys are str, int, bool, float, bytes, None or "
            "tuples of these: take its value, name or text"
        )
    elif type(key) is int and key.bit_length() > MAX_KEY_BITS:
        raise CaptureError(f"has an int of {key.bit_length()} bits as a key, of at most {MAX_KEY_BITS}; take its text")
    elif key != key:
        raise CaptureError("has the key nan, which is equal to no key and could not be found again; take None or a str")


def _pytree_key(entry: Any) -> Key:
    """One step of a jax key path: an attribute's name, a dict's key or a position."""
    for name in ("name", "key", "idx"):
        if hasattr(entry, name):
            key: Key = getattr(entry, name)
            _check_key(key)
            return key
    raise CaptureError(f"is a pytree with the unknown key {entry!r:.80}")
