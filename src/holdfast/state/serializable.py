"""Chainer's protocol, both ways: one `serialize(serializer)` saves and restores an object.

`serializer[key]` is the child for a part, `serializer(key, value)` saves the value or returns the stored one. Here the
value may be anything that can be captured, not only arrays and scalars. A key may be a path ("l1/W").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from holdfast.errors import CaptureError
from holdfast.state import arrays
from holdfast.state.lookup import Children
from holdfast.state.serializer import Deserializer, Serializer
from holdfast.state.tree import Node, join

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
        self._path = path
        self._strict = strict
        self._parts: dict[str, TreeDeserializer] = {}

    def __getitem__(self, key: str) -> TreeDeserializer:
        """The deserializer for the part `key`, which need not exist."""
        found = self
        for name in _names(key):
            if name not in found._parts:
                found._parts[name] = TreeDeserializer(
                    self._restore, found._children.get(name), join(found._path, name), strict=self._strict
                )
            found = found._parts[name]
        return found

    def __contains__(self, key: str) -> bool:
        """Whether the snapshot holds a value or a part `key`."""
        return self._find(key)[0] is not None

    def __call__(self, key: str, value: T) -> T:
        """What the snapshot holds under `key`: `value` itself where it changes in place, a new one where it cannot.

        Raises:
            KeyError: there is nothing under `key`, and the restore is strict.
            MismatchError: it does not fit `value`.
        """
        node, path = self._find(key)
        if node is None:
            if self._strict:
                raise KeyError(f"the snapshot holds no '{path}'")
            return value
        restored: T = self._restore(node, value, path)
        return restored

    def _find(self, key: str) -> tuple[Node | None, str]:
        *parts, name = _names(key)
        parent = self["/".join(parts)] if parts else self
        return parent._children.get(name), join(parent._path, name)


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
