"""Two pairs to save and restore with in tests: the least that Chainer's protocol asks for, and holdfast's own."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from holdfast.state.capture import capture
from holdfast.state.restore import restore
from holdfast.state.tree import StateTree


class FlatSerializer:
    """Saves into a flat dict of paths to values, as Chainer's DictionarySerializer does."""

    def __init__(self, state: dict[str, Any], path: str = "") -> None:
        self._state = state
        self._path = path

    def __getitem__(self, key: str) -> FlatSerializer:
        return type(self)(self._state, f"{self._path}{key}/")

    def __call__(self, key: str, value: Any) -> Any:
        self._state[self._path + key] = value.copy() if isinstance(value, np.ndarray) else value
        return value


class FlatDeserializer(FlatSerializer):
    """Restores from one, as Chainer's NpzDeserializer does: arrays in place, and KeyError for what is not there."""

    def __call__(self, key: str, value: Any) -> Any:
        stored = self._state[self._path + key]
        if isinstance(value, np.ndarray):
            np.copyto(value, stored)
            return value
        return stored


def saved(target: Any) -> dict[str, Any]:
    """The state of a target, through the least of serializers."""
    state: dict[str, Any] = {}
    target.serialize(FlatSerializer(state))
    return state


def loaded(state: dict[str, Any], target: Any) -> Any:
    """The target, with that state."""
    target.serialize(FlatDeserializer(state))
    return target


def tree_of(target: object) -> StateTree:
    """The state of a target, captured by holdfast, in memory of its own."""
    return copy.deepcopy(capture(target))


def restored(tree: StateTree, target: Any, *, strict: bool = True) -> Any:
    """The target, with that state; extensions and triggers may differ from the snapshot's."""

    def may_differ(path: str) -> bool:
        return path.split("/")[0] in ("extensions", "extension_triggers", "stop_trigger")

    return restore(tree, target, strict=strict, may_lack=may_differ, may_have_more=may_differ)
