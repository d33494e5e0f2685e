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

from holdfast.errors import UnknownFormatError
from holdfast.files import opened
from holdfast.format.reader import SnapshotFile, parse
from holdfast.serializers.flat_file import (
    AnyArray,
    FlatDeserializer,
    FlatSerializer,
    StrPath,
    arrays_of,
    is_none,
    node_of,
    part_of,
    restore_into,
    serialize,
    untyped,
    written,
)
from holdfast.state import lookup
from holdfast.state.capture import capture
from holdfast.state.encoding import collector_paused
from holdfast.state.flat import by_name
from holdfast.state.loading import detached
from holdfast.state.tree import Node, StateTree, unescape

__all__ = ["DictionarySerializer", "NpzDeserializer", "load_npz", "save_npz", "serialize"]

Ignored = Union[str, Callable[[str], bool], Iterable[Union[str, Callable[[str], bool]]], None]


def save_npz(file: StrPath | BinaryIO, obj: object, compression: bool = True) -> None:
    """Write the state of `obj` into an npz file, as `numpy.load` and Chainer's `load_npz` read it.

    Args:
        file: a path, which is written under exactly this name, durably and in one step; or a binary file.
        obj: anything that can be captured; or a dict of names to arrays and single values, which is written as it is:
            this is a savefun too.
        compression: deflate each array.
    Raises:
        CaptureError: something in `obj` cannot be kept; names its path.
        CommitError: the file could not be written or made durable; an older one of that name is as it was.
    """
    arrays = arrays_of(obj)
    if isinstance(file, str | os.PathLike):
        with written(file, sum([array.nbytes for array in arrays.values()])) as path, open(path, "wb") as partial:
            _write(partial, arrays, compression)
    else:
        _write(file, arrays, compression)


def load_npz(
    file: StrPath | BinaryIO,
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
        file: a path, or a binary file, which is read to its end.
        obj: what can be restored in place.
        path: the part of the file that holds `obj`, such as "updater/model:main/".
        strict: a name that the file lacks is an error; else the object keeps its value.
        ignore_names: whole names, or functions that tell of one whether it is left alone.
    Raises:
        MismatchError: it does not fit; nothing was changed, or the message says what became of each object.
        NotFoundError: the file has no such `path`, and `strict` is set.
        DamagedError: the file is not whole.
        UnknownFormatError: it holds Python objects, or is of no format that holdfast reads.
    """
    ignored = _matchers(ignore_names)
    with collector_paused(), _opened(file) as source:
        tree = source.tree()
        node = part_of(lambda: lookup.at(tree.root, path), strict, source.where)
        source.verify(StateTree(node).leaves())
        if ignored:
            node = _without(node, capture(obj).root, path.strip("/"), ignored)
        restore_into(obj, StateTree(node, tree.reserved if not path.strip("/") else None), strict, source.where)


class DictionarySerializer(FlatSerializer):
    """Chainer's serializer into a dict: `target` maps names joined by "/" to arrays.

    Args:
        target: the dict to write into; a new one by default.
        path: what stands before every name; "" or ending in "/".
    """

    def __init__(self, target: dict[str, Any] | None = None, path: str = "") -> None:
        self.target: dict[str, Any] = {} if target is None else target
        self.path = path

    def __getitem__(self, key: str) -> DictionarySerializer:
        """The serializer for the part `key`."""
        return DictionarySerializer(self.target, f"{self.path}{key.strip('/')}/")

    def _put(self, name: str, array: AnyArray) -> None:
        self.target[self.path + name] = array


class NpzDeserializer(FlatDeserializer):
    """Chainer's deserializer from a mapping of names to arrays, such as `numpy.load` returns.

    Args:
        npz: names joined by "/" to arrays.
        path: what stands before every name; "" or ending in "/".
        strict: a missing name is a KeyError; else the value stays.
        ignore_names: as for `load_npz`.
    Raises:
        ValueError: `ignore_names` holds something else than names and functions.
    """

    def __init__(
        self, npz: Mapping[str, AnyArray], path: str = "", strict: bool = True, ignore_names: Ignored = None
    ) -> None:
        self.npz = npz
        self.path = path
        self.strict = strict
        self.ignore_names = _listed(ignore_names)
        self._ignored = _matchers(self.ignore_names)

    def __getitem__(self, key: str) -> NpzDeserializer:
        """The deserializer for the part `key`."""
        return NpzDeserializer(self.npz, f"{self.path}{key.strip('/')}/", self.strict, self.ignore_names)

    def __contains__(self, key: str) -> bool:
        """Whether there is a value or a part of that name."""
        name = self.path + key.strip("/")
        return name in self.npz or any(one.startswith(name + "/") for one in self.npz)

    def __call__(self, key: str, value: Any) -> Any:
        """What is stored under `key`: `value` itself where it changes in place or is ignored, else a new one.

        Raises:
            KeyError: there is nothing, and `strict` is set.
            MismatchError: it does not fit `value`.
            UnknownFormatError: it holds Python objects.
        """
        name = self.path + key.strip("/")
        if any(matches(name) for matches in self._ignored):
            return value
        return super().__call__(key, value)

    @property
    def _place(self) -> str:
        return self.path.strip("/")

    def _find(self, name: str) -> dict[str, Node]:
        whole = self.path + name
        if name and whole in self.npz:
            return {name: self._node(whole)}
        above = whole + "/" if name else whole
        return {one[len(self.path) :]: self._node(one) for one in self.npz if one.startswith(above)}

    def _node(self, whole: str) -> Node:
        try:
            array = np.asarray(self.npz[whole])
        except ValueError as error:  # numpy's, of a pickle
            raise UnknownFormatError(f"{whole!r}: {error}; load_npz reads Chainer's files without pickle") from None
        return node_of(whole, array)


def _opened(file: StrPath | BinaryIO) -> SnapshotFile:
    read = getattr(file, "read", None)
    if read is None:
        return opened(file, whole=True)
    return parse(memoryview(read()), str(getattr(file, "name", f"the {type(file).__name__}")))


def _write(file: Any, arrays: Mapping[str, AnyArray], compression: bool) -> None:
    method = zipfile.ZIP_DEFLATED if compression else zipfile.ZIP_STORED
    with zipfile.ZipFile(file, "w", method, allowZip64=True) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=is_none(array))


def _listed(ignored: Ignored) -> list[str | Callable[[str], bool]]:
    if ignored is None:
        return []
    listed = [ignored] if isinstance(ignored, str) or callable(ignored) else list(ignored)
    for one in listed:
        if not isinstance(one, str) and not callable(one):
            raise ValueError(f"ignore_names holds a {type(one).__name__}; want names and functions of a name")
    return listed


def _matchers(ignored: Ignored) -> list[Callable[[str], bool]]:
    return [one if callable(one) else one.__eq__ for one in _listed(ignored)]


def _without(node: Node, today: Node, path: str, ignored: list[Callable[[str], bool]]) -> Node:
    """The same names, but for the ignored ones, which get the value that the object has today."""

    def is_ignored(name: str) -> bool:
        plain = "/".join([str(unescape(part)) for part in name.split("/")])  # as Chainer spells it
        spelled = [f"{path}/{one}" if path else one for one in dict.fromkeys((name, plain))]
        return any(matches(one) for one in spelled for matches in ignored)

    found = {name: one for name, one in by_name(node).items() if not is_ignored(name)}
    found.update({name: detached(one) for name, one in by_name(today).items() if is_ignored(name)})
    return untyped(found)
