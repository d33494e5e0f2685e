"""HDF5 files in Chainer's layout: a group for each part, a dataset for each array (serializers/datasets.py).

Texts can be written, too, so that a whole trainer with its log is one file; Chainer fails there.
"""

from __future__ import annotations

import os
from typing import Any

from holdfast.errors import NotFoundError
from holdfast.serializers import datasets
from holdfast.serializers.flat_file import (
    AnyArray,
    FlatDeserializer,
    FlatSerializer,
    StrPath,
    arrays_of,
    part_of,
    restore_into,
    untyped,
    written,
)
from holdfast.state.tree import Node, StateTree


def save_hdf5(filename: StrPath, obj: object, compression: int | None = 4) -> None:
    """Write the state of `obj` into an HDF5 file, as Chainer's `load_hdf5` reads it.

    The file is made in memory, and takes its size there until it is written. When it is read HDF5 compares checksums of
    everything but single texts of over 60 kB.

    Args:
        filename: a path, which is written under exactly this name, durably and in one step.
        obj: anything that can be captured; or a dict of names to arrays and single values, which is written as it is:
            this is a savefun too.
        compression: the level of gzip, 0 to 9, for arrays of more than one element; None: they are not packed.
    Raises:
        CaptureError: something in `obj` cannot be kept, or not in HDF5; names its path.
        CommitError: the file could not be written or made durable; an older one of that name is as it was.
        ValueError: `compression` is no such level.
        ModuleNotFoundError: h5py is not installed.
    """
    level = datasets.level_of(compression)
    image = datasets.image_of(arrays_of(obj), level)
    with written(filename, len(image)) as path, open(path, "wb") as file:
        file.write(image)


def tree_of(filename: StrPath) -> StateTree:
    """All that an HDF5 file holds, flat under whole names.

    Raises:
        DamagedError, UnknownFormatError, ModuleNotFoundError: as of load_hdf5.
    """
    with datasets.opened(os.fspath(filename)) as file:
        return StateTree(untyped(datasets.read(file, "")))


def load_hdf5(filename: StrPath, obj: Any, path: str = "", strict: bool = True) -> None:
    """Restore `obj` from an HDF5 file that Chainer or `save_hdf5` wrote; wholly, or not at all.

    As Chainer's: arrays are copied in place, and what only the file holds is left out. Better than it: a shape must
    match and not only broadcast, arrays are converted under numpy's "same_kind" casting rule and numbers only without
    loss, and a file that does not fit changes nothing.

    Args:
        filename: a path.
        obj: what can be restored in place.
        path: the part of the file that holds `obj`, such as "updater/model:main/"; only that is read.
        strict: a name that the file lacks is an error; else the object keeps its value.
    Raises:
        MismatchError: it does not fit; nothing was changed, or the message says what became of each object.
        NotFoundError: the file has no such `path`, and `strict` is set.
        DamagedError: the file is not whole.
        UnknownFormatError: it is no HDF5 file, or what is to be read holds something else than arrays, texts and None.
        ModuleNotFoundError: h5py is not installed.
    """
    where = os.fspath(filename)
    with datasets.opened(where) as file:
        node = part_of(lambda: _part(file, path), strict, where)
    restore_into(obj, StateTree(node), strict, where)


class HDF5Serializer(FlatSerializer):
    """Chainer's serializer into a group of an open HDF5 file.

    Args:
        group: an `h5py.Group` or `h5py.File` that can be written to.
        compression: as for `save_hdf5`.
    Raises:
        TypeError: `group` is none.
        ValueError: `compression` is no level of gzip.
        ModuleNotFoundError: h5py is not installed.
    """

    def __init__(self, group: Any, compression: int | None = 4) -> None:
        _check_group(group, "HDF5Serializer")
        self.group = group
        self.compression = datasets.level_of(compression)

    def __getitem__(self, key: str) -> HDF5Serializer:
        """The serializer for the part `key`, a group that is made where there is none."""
        return HDF5Serializer(self.group.require_group(datasets.checked(key.strip("/"))), self.compression)

    def _put(self, name: str, array: AnyArray) -> None:
        datasets.write(self.group, name, array, self.compression)


class HDF5Deserializer(FlatDeserializer):
    """Chainer's deserializer from a group of an open HDF5 file, which it never changes.

    Args:
        group: an `h5py.Group` or `h5py.File`; None for a part that is not there.
        strict: a missing name is a KeyError; else the value stays.
    Raises:
        TypeError: `group` is none.
        ModuleNotFoundError: h5py is not installed.
    """

    def __init__(self, group: Any, strict: bool = True) -> None:
        if group is not None:
            _check_group(group, "HDF5Deserializer")
        self.group = group
        self.strict = strict
        self._above = "" if group is None else group.name.strip("/")

    def __getitem__(self, key: str) -> HDF5Deserializer:
        """The deserializer for the part `key`, which need not exist."""
        found = self._follow(key)
        child = HDF5Deserializer(found if isinstance(found, datasets.library().Group) else None, self.strict)
        child._above = f"{self._above}/{key.strip('/')}".strip("/")
        return child

    def __contains__(self, key: str) -> bool:
        """Whether there is a value or a part of that name."""
        return self._follow(key) is not None

    @property
    def _place(self) -> str:
        return self._above

    def _find(self, name: str) -> dict[str, Node]:
        found = self._follow(name)
        return {} if found is None else datasets.read(found, name)

    def _follow(self, key: str) -> Any:
        return None if self.group is None else datasets.follow(self.group, key)


def _part(file: Any, path: str) -> Node:
    found = datasets.follow(file, path)
    if found is None:
        listed = ", ".join([repr(name) for name in file][:8])
        raise NotFoundError(f"there is no {path!r} in the file, which holds {listed or 'nothing'}")
    nodes = datasets.read(found, "")
    return nodes[""] if "" in nodes else untyped(nodes)


def _check_group(group: Any, who: str) -> None:
    if not isinstance(group, datasets.library().Group):
        raise TypeError(f"{who}: group is a {type(group).__name__}, wanted an h5py.Group or an h5py.File")
