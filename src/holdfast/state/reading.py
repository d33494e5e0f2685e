"""A state tree as what must be copied of it: its arrays, its packed bytes, its plain values, each in tree order.

Trees of one shape differ in nothing else, so that what is planned for the first serves every later one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from holdfast.snapshot import Json
from holdfast.state import arrays
from holdfast.state.arrays import Bytes
from holdfast.state.encoding import encode_values
from holdfast.state.tree import Leaf, Packed, StateTree


@dataclass(slots=True)
class Reading:
    """What a tree holds at one moment. Nothing is copied: it must be staged before the target changes."""

    arrays: list[Any] = field(default_factory=list)  # of numpy, torch or jax: one for each leaf that is not packed
    addresses: list[int] = field(default_factory=list)  # as arrays.address_of has them, one an array
    packed: list[Bytes] = field(default_factory=list)  # uint8 of shape (nbytes,), one for each packed leaf
    values: list[Json] = field(default_factory=list)  # as encode_values has them


def leaves_of(tree: StateTree) -> tuple[list[Leaf], list[Leaf]]:
    """The leaves of arrays, and those of packed values, each once and in tree order."""
    plain: dict[Leaf, None] = {}
    packed: dict[Leaf, None] = {}
    for node in tree.holders():
        (packed if type(node) is Packed else plain)[node.leaf] = None
    return list(plain), list(packed)


def read(tree: StateTree) -> Reading:
    """What a captured tree holds."""
    plain, packed = leaves_of(tree)
    sources = [leaf.source for leaf in plain]
    return Reading(
        sources,
        [arrays.address_of(source) for source in sources],
        [arrays.bytes_of(leaf) for leaf in packed],
        encode_values(tree),
    )
