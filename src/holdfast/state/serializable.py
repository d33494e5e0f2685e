"""Chainer's protocol, both ways: one `serialize(serializer)` saves and restores an object.

`serializer[key]` is the child for a part, `serializer(key, value)` saves the value or returns the stored one. Here the
value may be anything that can be captured, not only arrays and scalars. A key may be a path ("l1/W").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from holdfast.errors import CaptureError, MismatchError
from holdfast.state import arrays, containers
from holdfast.state.lookup import Children
from holdfast.state.serializer import Deserializer, Serializer
from holdfast.state.tree import Array, Branch, Node, Value, join
from holdfast.state.update_rules import is_of_no_update

T = TypeVar("T")


class TreeSerializer(Serializer):
    """Saving: collects the nodes of a branch.

    Attributes:
        loading: False.
        children: names to nodes and to child serializers, in the order in which they came.
    """

    loading = False

    def __init__(self, capture: Callable[[object, str, int], Node], path: str, level: int = 0) -> None:
        self.children: dict[str, Node | TreeSerializer] = {}
        self._capture = capture
        self._path = path
        self._level = level

    def __getitem__(self, key: str) -> TreeSerializer:
        """The serializer for the part `key`."""
        found = self
        for name in _names(key):
            child = found.children.get(name)
            if child is None:
                child = TreeSerializer(found._capture, join(found._path, name), found._level + 1)
                found.children[name] = child
            elif not isinstance(child, TreeSerializer):
                raise CaptureError(f"'{join(found._path, name)}' is serialized both as a value and as a part")
            found = child
        return found

    def __call__(self, key: str, value: T) -> T:
        """Save `value` under `key`, and return it.

        Raises:
            CaptureError: it cannot be captured, or `key` is a part already.
        """
        *parts, name = _names(key)
        parent = self["/".join(parts)] if parts else self
        path = join(parent._path, name)
        before = parent.children.get(name)
        if isinstance(before, TreeSerializer) and before.children:
            raise CaptureError(f"'{path}' is serialized both as a part and as a value")
        parent.children[name] = self._capture(value, path, parent._level + 1)
        return value


class TreeDeserializer(Deserializer):
    """Restoring: gives what a branch holds.

    Attributes:
        loading: True.
    """

    loading = True

    def __init__(
        self, restore: Callable[[Node, Any, str], Any], node: Node | None, path: str, *, strict: bool = True
    ) -> None:
        self._restore = restore
        self._children = Children(node)
        self._is_flat = isinstance(node, Branch) and node.kind == "untyped"
        self._path = path
        self._strict = strict
        self._parts: dict[str, TreeDeserializer] = {}

    def __getitem__(self, key: str) -> TreeDeserializer:
        """The deserializer for the part `key`, which need not exist."""
        found = self
        for name in _names(key):
            if name not in found._parts:
                part = TreeDeserializer(
                    self._restore, found._children.get(name), join(found._path, name), strict=self._strict
                )
                part._is_flat = part._is_flat or found._is_flat
                found._parts[name] = part
            found = found._parts[name]
        return found

    def __contains__(self, key: str) -> bool:
        """Whether the snapshot holds a value or a part `key`."""
        part, name = self._part_of(key)
        return part._children.get(name) is not None

    def __call__(self, key: str, value: T) -> T:
        """What the snapshot holds under `key`: `value` itself where it changes in place, a new one where it cannot.

        Raises:
            KeyError: there is nothing under `key`, and the restore is strict.
            MismatchError: it does not fit `value`.
        """
        part, name = self._part_of(key)
        node, path = part._children.get(name), join(part._path, name)
        if node is None:
            if self._strict and not part._may_lack(value):
                raise KeyError(f"the snapshot holds no '{path}'")
            return value
        if type(value) is str:
            node = _as_text(node, path)
        restored: T = self._restore(node, value, path)
        return restored

    def _part_of(self, key: str) -> tuple[TreeDeserializer, str]:
        """The part in which a key stands, and its name there."""
        *parts, name = _names(key)
        return (self["/".join(parts)] if parts else self), name

    def _may_lack(self, value: object) -> bool:
        """Whether nothing need be stored for a value.

        An update rule of Chainer's that counts no update has no moments to save; a fresh one asks for them with None,
        and then makes them at its first update. Flat names show nothing of what is empty.
        """
        if value is not None:
            return self._is_flat and _is_hollow(value)
        return is_of_no_update(self._children)


def _is_hollow(value: Any) -> bool:
    """Whether there is nothing in it but empty containers, and objects without state."""
    if isinstance(value, TreeSerializer):
        return all(_is_hollow(child) for child in value.children.values())
    if callable(getattr(type(value), "serialize", None)):
        serializer: TreeSerializer = TreeSerializer(lambda child, path, level: child, "")  # type: ignore[arg-type,return-value]
        value.serialize(serializer)
        return _is_hollow(serializer)
    return containers.is_hollow(value.state_dict() if callable(getattr(value, "state_dict", None)) else value)


def _as_text(node: Node, path: str) -> Node:
    """The text that was saved where a program wants one: under Python 2 Chainer wrote texts as arrays of bytes.

    Raises:
        MismatchError: the bytes are no text.
    """
    if not isinstance(node, Array) or arrays.shape_of(node) != () or not arrays.dtype_name(node).startswith("|S"):
        return node
    try:
        return Value("str", arrays.carried(node).item().decode())
    except UnicodeDecodeError as error:
        raise MismatchError(f"'{path}' is bytes in the snapshot, and no text in UTF-8: {error}") from None


def _names(key: str) -> list[str]:
    names = [name for name in key.split("/") if name]
    if not names:
        raise CaptureError(f"{key!r} is no key of a state: want a name, or names joined by '/'")
    return names


def serialize_state(serializer: Any, key: str, value: T) -> T:
    """Save or restore `value` under `key` with any serializer of Chainer's protocol.

    With holdfast's own, `value` may be anything that can be captured; another's takes what Chainer's take: objects with
    a serialize method, arrays, scalars, strings and None.
    Returns:
        `value` where it was saved or changed in place, else the restored one.
    Raises:
        CaptureError: the serializer is another's, and cannot take this.
    """
    if hasattr(serializer, "loading"):
        restored: T = serializer(key, value)
        return restored
    if callable(getattr(type(value), "serialize", None)):
        value.serialize(serializer[key])  # type: ignore[attr-defined]
        return value
    if value is None or arrays.framework_of(value) is not None or isinstance(value, bool | int | float | complex | str):
        return serializer(key, value)  # type: ignore[no-any-return]
    raise CaptureError(
        f"{key!r}, a {type(value).__qualname__}, cannot be written by {type(serializer).__qualname__}, which takes "
        "arrays, scalars and objects with serialize(); use a snapshot file"
    )
