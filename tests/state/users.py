"""Classes of a user: records, enums, and pytrees that jax is told of."""

from __future__ import annotations

import enum
from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import jax


@dataclass
class Plain:
    a: Any
    b: Any


@dataclass(slots=True)
class Slots:
    a: Any
    b: Any


@dataclass(frozen=True)
class Frozen:
    a: Any
    b: Any


@dataclass(frozen=True, slots=True)
class FrozenSlots:
    a: Any
    b: Any


Point = namedtuple("Point", ("a", "b"))


class Colour(enum.Enum):
    RED = 1
    GREEN = "green"
    BLUE = (0, 0, 1.0)


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Mode(enum.Flag):
    READ = 1
    WRITE = 2


class Node:
    """A pytree that jax knows by its children alone."""

    def __init__(self, a, b):
        self.a, self.b = a, b


class Keyed:
    """A pytree with names for its children, and a part that is not saved."""

    def __init__(self, a, b, static=7):
        self.a, self.b, self.static = a, b, static


@dataclass
class Registered:
    """A dataclass that jax takes apart by its fields."""

    a: Any
    b: Any


jax.tree_util.register_pytree_node(Node, lambda one: ((one.a, one.b), None), lambda _, children: Node(*children))
jax.tree_util.register_pytree_with_keys(
    Keyed,
    lambda one: (
        ((jax.tree_util.GetAttrKey("a"), one.a), (jax.tree_util.GetAttrKey("b"), one.b)),
        one.static,
    ),
    lambda static, children: Keyed(*children, static),
)
jax.tree_util.register_dataclass(Registered, ["a", "b"], [])
RECORDS = (Plain, Slots, Frozen, FrozenSlots, Point, Node, Keyed, Registered)
