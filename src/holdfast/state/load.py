"""State tree -> new objects: nested dicts, lists and tuples, or what a target's own load method is to be given."""

from __future__ import annotations

import enum
import sys
from typing import Any, Literal

import numpy as np

from holdfast.errors import MismatchError, UnknownFormatError
from holdfast.state import arrays, containers, fit, generators, lookup, moving, values
from holdfast.state.arrays import Bytes
from holdfast.state.tree import Array, Branch, Key, Leaf, Node, StateTree, Value

Framework = Literal["numpy", "torch", "jax"]


def load(tree: StateTree, *, framework: Framework = "numpy", device: Any = None) -> Any:
    """The whole state in nested dicts, lists and tuples, without what a trainer keeps for itself.

    Args:
        tree: as a reader gives it.
        framework: of the arrays. "numpy": read-only, over the tree's own memory; "torch": over the same memory, which
            must be theirs alone to write to; "jax".
        device: where torch or jax put them.
    Raises:
        ModuleNotFoundError: the framework is not installed.
        UnknownFormatError: numpy has no such dtype: install ml_dtypes, or load with framework="torch".
        MismatchError: the framework has no such dtype.
    """
    if framework == "torch":
        import torch  # noqa: F401  # the builder finds it where every other module does
    elif framework == "jax":
        import jax  # noqa: F401
    elif framework != "numpy":
        raise ValueError(f"framework is {framework!r}, wanted 'numpy', 'torch' or 'jax'")
    return Builder(framework, device=device, private=False).build(tree.root)


class Builder:
    """Makes values of nodes; arrays that shared a leaf share memory again.

    Args:
        framework: of arrays that have no counterpart; None: the one that each was of when it was captured, or numpy
            where that is not loaded.
        device: of these.
        private: copy each leaf, so that whoever gets the arrays may keep and change them; else they look into the
            tree's memory, numpy's read-only.
        casting: what may be converted to the dtype of a counterpart.
        placing: put arrays on the devices of their counterparts.
    """

    def __init__(
        self,
        framework: str | None,
        *,
        device: Any = None,
        private: bool = True,
        casting: str = "no",
        placing: bool = True,
    ) -> None:
        self._framework = framework
        self._device = device
        self._private = private
        self._casting = casting
        self._placing = placing
        self._common: dict[Leaf, Bytes] = {}  # memory that several arrays look into, or that was copied at once
        self._made: dict[tuple[Leaf, Any, str, str, Any], Any] = {}

    def build(self, node: Node, like: Any = None) -> Any:
        """The value of a node.

        Args:
            like: what stands at its place in a target today: it gives classes, frameworks, devices, and the types of
                what a file without a tree of its own does not tell.
        Raises:
            MismatchError: it holds what cannot be made; names the path of an array.
            UnknownFormatError: it holds a dtype that needs ml_dtypes, which is not installed.
        """
        node = lookup.unpacked(node)
        if isinstance(node, Value):
            if node.kind == "none" and arrays.is_uninitialised(like):
                return like
            value = values.from_value(node)
            return containers.member_of(like, value) if isinstance(like, enum.Enum) and value is not None else value
        if isinstance(node, Array):
            if values.is_scalar(like) and arrays.shape_of(node) == ():
                return scalar(node, like)
            try:
                return self._array(node, like)
            except (MismatchError, UnknownFormatError) as error:
                raise type(error)(f"'{node.leaf.path}': {error}") from None
        assert isinstance(node, Branch)
        if node.kind in generators.KINDS:
            return self._generator(node)
        parts = containers.take_apart(like) if like is not None else None
        if node.kind == "untyped":
            return self._untyped(node, like, parts)
        if parts is not None and parts.kind in fit.RECORDS - {node.kind} and fit.kinds_fit(node.kind, parts.kind):
            found, rest = fit.children_for(node, parts.keys, parts.kind)
            if len(found) == len(parts.keys) and not rest:
                node = Branch(parts.kind, parts.keys, tuple(found[key] for key in parts.keys), parts.meta)
        today = dict(zip(parts.keys, parts.children, strict=True)) if parts is not None else {}
        children = [self.build(child, today.get(key)) for key, child in zip(node.keys, node.children, strict=True)]
        same = parts is not None and (parts.kind == node.kind or {parts.kind, node.kind} <= containers.MAPPINGS)
        fits = same and parts is not None and (parts.kind in containers.MAPPINGS or parts.keys == node.keys)
        return containers.put_together(node.kind, node.keys, children, node.meta, like if fits else None)

    def state(self, node: Branch) -> dict[Any, Any]:
        """The children of a generator's branch by their keys, the arrays as numpy's."""
        builder = Builder("numpy")
        return {key: builder.build(child) for key, child in zip(node.keys, node.children, strict=True)}

    def _array(self, node: Array, like: Any) -> Any:
        dtype, found = arrays.dtype_name(node), arrays.dtype_name(node)
        own = None if arrays.is_jax_key(like) else arrays.framework_of(like)
        wanted = own or self._framework or node.framework
        framework = wanted if wanted in sys.modules else "numpy"
        device, place = self._device, None
        if own is not None and not arrays.is_uninitialised(like):
            today = arrays.dtype_of(like, own)
            dtype = today if arrays.can_cast(found, today, self._casting) else found
            if self._placing and own == "torch":
                device = like.device
            elif self._placing and own == "jax":
                place = like
        key = (node.leaf, node.view, framework, dtype, str(device) if place is None else place.sharding)
        if key not in self._made:
            carried = arrays.cast(arrays.carried(node, self._bytes(node)), found, dtype)
            made = arrays.wrap(carried, dtype, framework, device, place)
            if framework == "numpy" and not self._private:
                made.flags.writeable = False
            self._made[key] = made
        return self._made[key]

    def copy_at_once(self, node: Node) -> None:
        """Copy the arrays of a node together, before they are built of it: many times as fast as one by one."""
        self._common.update(moving.copies([one.leaf for one in StateTree(node).holders() if isinstance(one, Array)]))

    def _bytes(self, node: Array) -> Bytes:
        if node.view is None and node.leaf not in self._common:
            data = arrays.bytes_of(node.leaf)
            return np.array(data) if self._private else data
        if node.leaf not in self._common:
            data = arrays.bytes_of(node.leaf)
            self._common[node.leaf] = np.array(data) if self._private else data
        return self._common[node.leaf]

    def _untyped(self, node: Branch, like: Any, parts: containers.Parts | None) -> Any:
        found = lookup.Children(node)
        if parts is None:
            if not self._private:  # as safetensors' own readers give it: one flat dict
                return dict(zip(node.keys, [self.build(child) for child in node.children], strict=True))
            return self.build(found.rest(()))
        made: dict[Key, Any] = {}
        for key, today in zip(parts.keys, parts.children, strict=True):
            child = found.get(key)
            if child is not None:
                made[key] = self.build(child, today)
            elif parts.kind not in containers.MAPPINGS or containers.is_hollow(today):
                made[key] = today
        if parts.kind in containers.MAPPINGS:
            rest = found.rest(parts.keys)
            made.update((key, self.build(child)) for key, child in zip(rest.keys, rest.children, strict=True))
        return containers.put_together(parts.kind, tuple(made), tuple(made.values()), parts.meta, like)

    def _generator(self, node: Branch) -> Any:
        state = self.state(node)
        if node.kind == "jax.key" and "jax" not in sys.modules:
            return state.get("data")
        return generators.make(node.kind, state, node.meta)


def scalar(node: Array, like: Any) -> Any:
    """What an array of no dimensions stands for where a plain value of the type of `like` is wanted.

    Raises:
        MismatchError: it is no such value.
    """
    found = arrays.wrap(arrays.carried(node), arrays.dtype_name(node), "numpy")
    try:
        return values.from_array(found, like)
    except (TypeError, ValueError) as error:
        raise MismatchError(f"{found.dtype} stands for no value of type {type(like).__name__}: {error}") from None
