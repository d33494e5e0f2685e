"""The outline of a tree that was captured: reads the same target again, many times as fast as a capture.

It goes through the target along the branches it knows, and gives up at the first difference: another key, another dtype
or shape, a value where an array was, arrays that share memory where they did not. Then the target must be captured
anew. What it does read is what a capture would have found.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Union

from holdfast.errors import CaptureError
from holdfast.state import arrays, containers, generators, protocols, values
from holdfast.state.arrays import Bytes
from holdfast.state.capture import Capture
from holdfast.state.encoding import collector_paused, encode_value
from holdfast.state.reading import Reading
from holdfast.state.serializable import TreeSerializer
from holdfast.state.specs import Changed, Specs
from holdfast.state.tree import Array, Branch, Node, Packed, StateTree, Value, escape

_PLAIN: dict[type, str] = {dict: "dict", OrderedDict: "OrderedDict", list: "list", tuple: "tuple"}
"""What is taken apart here, by exact type; everything else as a capture does it."""


@dataclass(frozen=True, slots=True)
class _Spot:
    """A branch, without what it holds."""

    kind: str
    names: tuple[str, ...]  # the keys, escaped; of mappings and the like
    plain_names: bool  # all are str keys, and stand for themselves
    meta: Any
    children: tuple[_Place, ...]
    arrays_only: bool


_ARRAY, _VALUE = "array", "value"
_Place = Union[str, _Spot]  # "array", "value", or how a packed leaf is packed: "bytes", "str", "json"


def outline_of(tree: StateTree) -> Outline | None:
    """The outline of a captured tree; None where it holds what must be looked at anew each time: overlapping
    arrays, or arrays of two frameworks over one memory."""
    nodes = [node for node in tree.holders() if isinstance(node, Array)]
    if any(node.view is not None or arrays.framework_of(node.leaf.source) != node.framework for node in nodes):
        return None
    reserved = None if tree.reserved is None else _spot(tree.reserved)
    return Outline(_place(tree.root), reserved, nodes)


class Outline:
    """What a target was made of; see outline_of()."""

    def __init__(self, root: _Place, reserved: _Spot | None, nodes: list[Array]) -> None:
        self._root = root
        self._reserved = reserved
        self._specs = Specs(nodes)
        self._is_large = len(nodes) > 500  # of fewer, a collection is not due while they are read

    def read(self, target: Any) -> Reading:
        """What the target holds now.

        Raises:
            Changed: it must be captured anew, and what is wrong with it will show then.
        """
        reserved = target.reserved_state() if protocols.keeps_reserved(target) else None
        if (reserved is None) != (self._reserved is None):
            raise Changed
        if self._is_large:
            with collector_paused():
                return self._read(target, reserved)
        return self._read(target, reserved)

    def _read(self, target: Any, reserved: Any) -> Reading:
        found = Reading()
        try:
            _walk_into(found, target, self._root)
            if self._reserved is not None:
                _walk_into(found, reserved, self._reserved)
        except CaptureError:
            raise Changed from None
        self._specs.check(found)
        return found


def _place(node: Node) -> _Place:
    if isinstance(node, Branch):
        return _spot(node)
    return _ARRAY if isinstance(node, Array) else node.kind if isinstance(node, Packed) else _VALUE


def _spot(node: Branch) -> _Spot:
    children = tuple([_place(child) for child in node.children])
    names = tuple([escape(key) for key in node.keys])
    return _Spot(node.kind, names, names == node.keys, node.meta, children, all(one is _ARRAY for one in children))


def _walk_into(found: Reading, value: Any, place: _Place) -> None:
    """Append what stands at one place of the target."""
    if place is _ARRAY:
        found.arrays.append(value)
    elif place is _VALUE:
        plain = values.to_value(value)
        if plain is None:
            raise Changed
        found.values.append(encode_value(plain))
    elif isinstance(place, _Spot):
        _walk(found, value, place)
    else:
        found.packed.append(_packed(value, place))


def _walk(found: Reading, value: Any, spot: _Spot) -> None:
    kind = _PLAIN.get(type(value))
    if kind is None or (kind == "OrderedDict" and hasattr(value, "state_dict")):
        children = _children(value, spot, found)
        if children is None:
            return
    elif kind != spot.kind:
        raise Changed
    elif kind in ("list", "tuple"):
        children = value
    else:
        _check_keys(value, spot)
        children = value.values()
    if len(children) != len(spot.children):
        raise Changed
    if spot.arrays_only:
        found.arrays.extend(children)
        return
    for child, place in zip(children, spot.children, strict=True):
        _walk_into(found, child, place)


def _check_keys(keys: Iterable[Any], spot: _Spot) -> None:
    names = tuple(keys)
    if spot.plain_names:
        if names != spot.names or not {str}.issuperset(map(type, names)):
            raise Changed
        return
    try:
        if tuple([escape(key) for key in names]) != spot.names:
            raise Changed
    except TypeError:
        raise Changed from None


def _children(value: Any, spot: _Spot, found: Reading) -> Any:
    """What an object is made of that is no plain container, in the order of its keys; None where it was walked."""
    protocol = protocols.protocol_of(value, "")
    if protocol == "state_dict":
        _walk(found, value.state_dict(), spot)
        return None
    if protocol == "serialize":
        raw: dict[int, Any] = {}
        serializer = TreeSerializer(lambda child, path, level: _marker(child, raw), "")
        value.serialize(serializer)
        return _serialized(serializer, spot, found, raw)
    generator = None if arrays.is_abstract(value) else generators.kind_of(value)
    parts = generators.take_apart(generator, value) if generator else containers.take_apart(value)
    if parts is None or parts.kind != spot.kind or parts.meta != spot.meta:
        raise Changed
    _check_keys(parts.keys, spot)
    return parts.children


def _marker(child: Any, raw: dict[int, Any]) -> Value:
    """A node that stands for a live value, which it is found by."""
    marker = Value("none", None)
    raw[id(marker)] = child
    return marker


def _serialized(serializer: TreeSerializer, spot: _Spot, found: Reading, raw: dict[int, Any]) -> None:
    """Walk what a serialize() method gave: parts that hold nothing were only asked for."""
    parts = {
        name: child
        for name, child in serializer.children.items()
        if not isinstance(child, TreeSerializer) or not _is_empty(child)
    }
    if spot.kind != "dict":
        raise Changed
    _check_keys(parts, spot)
    for child, place in zip(parts.values(), spot.children, strict=True):
        if not isinstance(child, TreeSerializer):
            _walk_into(found, raw[id(child)], place)
        elif isinstance(place, _Spot):
            _serialized(child, place, found, raw)
        else:
            raise Changed  # a part of many plain values, which are packed


def _is_empty(serializer: TreeSerializer) -> bool:
    return all(isinstance(child, TreeSerializer) and _is_empty(child) for child in serializer.children.values())


def _packed(value: Any, kind: str) -> Bytes:
    """The bytes of a long plain value, as a capture packs it."""
    node = Capture(value).tree.root
    if not isinstance(node, Packed) or node.kind != kind:
        raise Changed
    return arrays.bytes_of(node.leaf)
