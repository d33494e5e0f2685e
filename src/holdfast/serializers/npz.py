"""npz files in Chainer's layout: flat names joined by "/", one array each.

No pickle is read, and none is written but the one that stands for None, as Chainer has it. `load_npz` also reads
snapshot files and plain safetensors files: a file is recognised by its content, not by its name.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterable, Mapping
from typing import Any, BinaryIO, Union

import numpy as np

from holdfast.files import opened
from holdfast.state import lookup
from holdfast.state.capture import capture
from holdfast.state.flat import by_name, flatten
from holdfast.state.loading import detached
from holdfast.state.restore import restore
from holdfast.state.serializable import TreeDeserializer
from holdfast.state.tree import Array, Branch, Leaf, Node, StateTree, Value
from holdfast.storage.handover import handed_over

Arrays = Mapping[str, np.ndarray[Any, Any]]
Ignored = Union[str, Callable[[str], bool], Iterable[Union[str, Callable[[str], bool]]], None]


def save_npz(file: str | os.PathLike[str] | BinaryIO, obj: object, compression: bool = True) -> None:
    """Write the state of `obj` into an npz file, as `numpy.load` and Chainer's `load_npz` read it.

    Args:
        file: a path, which is written under exactly this name, durably and in one step; or a binary file.
        obj: anything that can be captured; or a dict of names to arrays, written as it is: this is a savefun too.
        compression: deflate each array.
    Raises:
        CaptureError: something in `obj` cannot be kept; names its path.
        CommitError: the file could not be made durable; an older one of that name is as it was.
    """
    arrays = obj if _is_flat(obj) else serialize(obj)
    if isinstance(file, str | os.PathLike):
        with handed_over(file) as path, open(path, "wb") as partial:
            _write(partial, arrays, compression)
    else:
        _write(file, arrays, compression)


def load_npz(
    file: str | os.PathLike[str],
    obj: Any,
    path: str = "",
    strict: bool = True,
    ignore_names: Ignored = None,
) -> None:
    """Restore `obj` from an npz file, a snapshot file or a plain safetensors file; wholly, or not at all.

    As Chainer's: arrays are copied in place under numpy's "same_kind" casting rule, and what only the file holds is
    left out. Better than it: nothing is pickled, a shape must match and not only broadcast, and a file that does not
    fit changes nothing.

    Args:
        file: a path.
        obj: what can be restored in place.
        path: the part of the file that holds `obj`, such as "updater/model:main/".
        strict: a name that the file lacks is an error; else the object keeps its value.
        ignore_names: names, or functions that tell of a name whether it is left alone.
    Raises:
        MismatchError: it does not fit; nothing was changed, or the message says what became of each object.
        DamagedError: the file is not whole.
        UnknownFormatError: it holds Python objects, or is of no format that holdfast reads.
    """
    with opened(file) as opened_file:
        tree = opened_file.tree()
        node = lookup.at(tree.root, path)
        opened_file.verify(StateTree(node).leaves())
        if ignore_names is not None:
            node = _without(node, capture(obj).root, path.strip("/"), _matchers(ignore_names))
        restore(
            StateTree(node, tree.reserved if not path.strip("/") else None),
            obj,
            strict=strict,
            casting="same_kind",
            may_have_more=lambda name: True,
        )


def serialize(obj: object) -> dict[str, np.ndarray[Any, Any]]:
    """The state of `obj` as flat names and arrays, each a copy that belongs to the caller.

    Raises:
        CaptureError: something in it cannot be kept; names its path.
    """
    return flatten(capture(obj))


class DictionarySerializer:
    """Chainer's serializer into a dict: `target` maps names joined by "/" to arrays.

    Args:
        target: the dict to write into; a new one by default.
        path: what stands before every name; "" or ending in "/".
    """

    loading = False

    def __init__(self, target: dict[str, Any] | None = None, path: str = "") -> None:
        self.target: dict[str, Any] = {} if target is None else target
        self.path = path

    def __getitem__(self, key: str) -> DictionarySerializer:
        """The serializer for the part `key`."""
        return DictionarySerializer(self.target, f"{self.path}{key.strip('/')}/")

    def __call__(self, key: str, value: Any) -> Any:
        """Save `value`, an array, a scalar or anything that can be captured, under `key`, and return it."""
        name = self.path + key.strip("/")
        for below, array in flatten(capture({"_": value})).items():
            self.target[name + below.removeprefix("_")] = array
        return value

    def save(self, obj: Any) -> None:
        """Save an object: one with a `serialize` method, or anything else that can be captured."""
        if callable(getattr(type(obj), "serialize", None)):
            obj.serialize(self)
        else:
            self.target.update({self.path + name: array for name, array in serialize(obj).items()})


class NpzDeserializer:
    """Chainer's deserializer from a mapping of names to arrays, such as `numpy.load` returns.

    Args:
        npz: names joined by "/" to arrays.
        path: what stands before every name; "" or ending in "/".
        strict: a missing name is a KeyError; else the value stays.
        ignore_names: as for `load_npz`.
    """

    loading = True

    def __init__(self, npz: Arrays, path: str = "", strict: bool = True, ignore_names: Ignored = None) -> None:
        self.npz = npz
        self.path = path
        self.strict = strict
        self.ignore_names = ignore_names
        self._ignored = _matchers(ignore_names)

    def __getitem__(self, key: str) -> NpzDeserializer:
        """The deserializer for the part `key`."""
        return NpzDeserializer(self.npz, f"{self.path}{key.strip('/')}/", self.strict, self.ignore_names)

    def __contains__(self, key: str) -> bool:
        """Whether there is a value or a part of that name."""
        name = self.path + key.strip("/")
        return name in self.npz or any(one.startswith(name + "/") for one in self.npz)

    def __call__(self, key: str, value: Any) -> Any:
        """What is stored under `key`: `value` itself where it changes in place, else a new one.

        Raises:
            KeyError: there is nothing, and `strict` is set.
            MismatchError: it does not fit `value`.
        """
        name = self.path + key.strip("/")
        if any(matches(name) for matches in self._ignored):
            return value
        found = {one: _node(one, array) for one, array in self.npz.items() if one == name or one.startswith(name + "/")}
        if not found and not self.strict:
            return value
        root = Branch("untyped", tuple(found), tuple(found.values()))
        return TreeDeserializer(_restore_part, root, "")(name, value)

    def load(self, obj: Any) -> None:
        """Restore an object with a `serialize` method."""
        obj.serialize(self)


def _restore_part(node: Node, value: Any, path: str) -> Any:
    return restore(StateTree(node), value, casting="same_kind", may_have_more=lambda name: True)


def _node(name: str, array: Any) -> Node:
    data = np.asarray(array)
    if data.dtype == object and data.shape == () and data.item() is None:
        return Value("none", None)
    captured = capture({"_": data}).root
    assert isinstance(captured, Branch)
    node = captured.children[0]
    assert isinstance(node, Array)
    return Array(Leaf(name, node.leaf.dtype, node.leaf.shape, node.leaf.nbytes, node.leaf.source), "numpy")


def _is_flat(obj: object) -> bool:
    return type(obj) is dict and all(type(key) is str and type(one) is np.ndarray for key, one in obj.items())


def _write(file: Any, arrays: Any, compression: bool) -> None:
    method = zipfile.ZIP_DEFLATED if compression else zipfile.ZIP_STORED
    with zipfile.ZipFile(file, "w", method, allowZip64=True) as archive:
        for name, array in arrays.items():
            is_none = array.dtype == object and array.shape == () and array[()] is None
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=is_none)


def _matchers(ignored: Ignored) -> list[Callable[[str], bool]]:
    if ignored is None:
        return []
    listed = [ignored] if isinstance(ignored, str) or callable(ignored) else list(ignored)
    for one in listed:
        if not isinstance(one, str) and not callable(one):
            raise ValueError(f"ignore_names holds a {type(one).__name__}; want names and functions of a name")
    return [one if callable(one) else one.__eq__ for one in listed]


def _without(node: Node, today: Node, path: str, ignored: list[Callable[[str], bool]]) -> Node:
    """The same names, but for the ignored ones, which get the value that the object has today."""

    def is_ignored(name: str) -> bool:
        whole = f"{path}/{name}" if path else name
        return any(matches(whole) for matches in ignored)

    found = {name: one for name, one in by_name(node).items() if not is_ignored(name)}
    found.update({name: detached(one) for name, one in by_name(today).items() if is_ignored(name)})
    return Branch("untyped", tuple(found), tuple(found.values()))
