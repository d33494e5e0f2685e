"""Live object -> state tree: asks the protocols in order, at every place of a target.

The order: Chainer's `serialize(serializer)`; `state_dict()` with `load_state_dict()`; pytrees registered with jax; the
containers of containers.py; random generators; arrays; plain values. Whatever else is refused with its path: a
snapshot that silently lacks a part of the state would be found out at the worst moment.

Nothing is copied here: leaves look into the live arrays, and must be staged before the target changes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from holdfast.errors import CaptureError
from holdfast.state import arrays, containers, generators, lookup, protocols, sharing, values
from holdfast.state.containers import Parts
from holdfast.state.encoding import MAX_DEPTH, collector_paused, encode_plain
from holdfast.state.serializable import TreeSerializer
from holdfast.state.sharing import Placed
from holdfast.state.tree import RESERVED, ROOT_LEAF, Array, Branch, Leaf, Node, Packed, StateTree, Value, join

LONG_BRANCH = 256  # plain values; a branch with more stands in a leaf of its own, so that the header stays short


def capture(target: Any) -> StateTree:
    """The state of `target`; its leaves look into the live arrays.

    Args:
        target: any object that one of the protocols knows, or an array or plain value itself.
    Raises:
        CaptureError: something in it cannot be kept, or it contains itself; names the path and what would work.
    """
    reserved = target.reserved_state() if protocols.keeps_reserved(target) else None
    with collector_paused():  # it would run again and again over what is only growing
        return Capture(target, reserved).tree


class Capture:
    """One capture: the tree, and which object with a protocol of its own stands at which path."""

    def __init__(self, target: object, reserved: object = None, *, at: str = "") -> None:
        self.owners: dict[str, object] = {}
        self._leaves: dict[object, Leaf] = {}  # by place in memory: the tied ones fall together
        self._placed: list[Placed] = []
        self._open: set[int] = set()  # ids of the containers around the present place
        self._sizes: dict[int, int] = {}  # by id, of plain branches: how many values they hold
        self._met: list[object] = []  # everything but arrays and plain values
        self._inside_modules = 0  # how many stand around the present place
        root = self._node(target, at, 0)
        kept = self._node(reserved, RESERVED, 0) if reserved is not None else None
        windows = sharing.common_leaves(self._placed)
        if windows:
            root = sharing.with_windows(root, windows)
            kept = sharing.with_windows(kept, windows) if kept is not None else None
        if kept is not None and not isinstance(kept, Branch):
            raise CaptureError("the reserved part of a state must be a dict with an entry")
        self.tree = StateTree(root, kept)

    def holds(self, value: object) -> bool:
        """Whether an object stands somewhere in the target: itself, and not an equal one."""
        return any(one is value for one in self._met) or any(leaf.source is value for leaf in self._leaves.values())

    def _node(self, value: Any, path: str, depth: int) -> Node:
        if type(value) is np.ndarray:
            return self._array(value, "numpy", path)
        try:
            plain = values.to_value(value)
        except CaptureError as error:
            raise CaptureError(f"{where(path)}: {error}") from None
        if plain is not None:
            return plain
        if type(value) in (str, bytes):
            return self._packed(type(value).__name__, value.encode() if type(value) is str else value, path)
        framework = arrays.framework_of(value)
        if framework is not None and not arrays.is_jax_key(value):
            return self._array(value, framework, path)
        if id(value) in self._open:
            raise CaptureError(
                f"{where(path)} is {protocols.named(value)} that contains itself, and a state must end somewhere"
            )
        if depth >= MAX_DEPTH:
            raise CaptureError(f"{where(path)} lies over {MAX_DEPTH} levels deep; flatten the target")
        self._open.add(id(value))
        try:
            return self._inside(value, path, depth)
        finally:
            self._open.discard(id(value))

    def _inside(self, value: Any, path: str, depth: int) -> Node:
        self._met.append(value)
        protocol = protocols.protocol_of(value, where(path))
        if protocol is not None:
            self.owners[path] = value
        if protocol == "serialize":
            serializer = TreeSerializer(lambda child, at, level: self._node(child, at, depth + level), path)
            value.serialize(serializer)
            return self._from_serializer(serializer, path, depth)
        if protocol == "state_dict":
            self._inside_modules += protocols.is_torch(value)
            try:
                return self._node(value.state_dict(), path, depth)
            finally:
                self._inside_modules -= protocols.is_torch(value)
        generator = None if arrays.is_abstract(value) else generators.kind_of(value)
        try:
            parts = generators.take_apart(generator, value) if generator else containers.take_apart(value)
        except CaptureError as error:
            raise CaptureError(f"{where(path)} {error}") from None
        if parts is None:
            raise CaptureError(f"{where(path)} is {protocols.named(value)}, {protocols.advice(value)}")
        if generator:
            self.owners[path] = value
        return self._branch(parts, path, depth)

    def _from_serializer(self, serializer: TreeSerializer, path: str, depth: int) -> Node:
        found: dict[str, Node] = {}
        for key, child in serializer.children.items():
            if not isinstance(child, TreeSerializer):
                found[key] = child
                continue
            part = self._from_serializer(child, join(path, key), depth + 1)
            if not isinstance(part, Branch) or part.children:  # else it was only asked for
                found[key] = part
        return self._finish(Branch("dict", tuple(found), tuple(found.values())), path)

    def _branch(self, parts: Parts, path: str, depth: int) -> Node:
        children = [
            self._node(child, join(path, key), depth + 1) for key, child in zip(parts.keys, parts.children, strict=True)
        ]
        if parts.kind in ("set", "frozenset"):
            for key, child in zip(parts.children, children, strict=True):
                if not lookup.is_plain(child):
                    raise CaptureError(
                        f"{where(path)} is a {parts.kind} with the element {key!r:.80}, {protocols.named(key)}, which "
                        "a file could not give back; keep a set of plain values and tuples of them"
                    )
        return self._finish(Branch(parts.kind, parts.keys, tuple(children), parts.meta), path)

    def _finish(self, branch: Branch, path: str) -> Node:
        size: int | None = len(branch.children)
        for child in branch.children:
            inner = 0 if type(child) is Value else self._sizes.get(id(child)) if type(child) is Branch else None
            size = None if size is None or inner is None else size + inner
        self._sizes.pop(id(branch), None)  # of an earlier branch that lay at the same address
        if size is None:
            return branch
        if size > LONG_BRANCH:
            return self._packed("json", encode_plain(branch), path)
        self._sizes[id(branch)] = size
        return branch

    def _packed(self, kind: str, data: bytes, path: str) -> Packed:
        return Packed(kind, Leaf(path or ROOT_LEAF, "U8", (len(data),), len(data), np.frombuffer(data, np.uint8)))

    def _array(self, value: Any, framework: str, path: str) -> Node:
        if self._inside_modules and arrays.is_uninitialised(value):
            return Value("none", None)  # of a lazy module that did not run yet
        try:
            arrays.check(value, framework)
            dtype = arrays.dtype_of(value, framework)
        except CaptureError as error:
            raise CaptureError(f"{where(path)}: {error}") from None
        extent = sharing.extent_of(value, framework)
        place: object = (
            id(value) if extent is None else (extent.space, extent.address, dtype, extent.shape, extent.strides)
        )
        leaf = self._leaves.get(place)
        if leaf is None:
            shape = tuple(value.shape)
            nbytes = math.prod(shape) * arrays.item_size(value, framework)
            leaf = self._leaves[place] = Leaf(path or ROOT_LEAF, dtype, shape, nbytes, value)
            if extent is not None:
                self._placed.append(Placed(leaf, extent))
        return Array(leaf, framework)


def where(path: str) -> str:
    """A place of a target, for messages."""
    if len(path) > 200:
        path = f"{path[:90]}...{path[-90:]}"
    return f"'{path}'" if path else "the target"
