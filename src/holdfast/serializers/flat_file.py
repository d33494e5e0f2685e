"""What npz and HDF5 files have in common: Chainer's layout, which is names joined by "/" with one array each.

Such a file does not tell lists from dicts, or numbers from arrays of no dimensions: what it is restored into does.
"""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeGuard, Union

import numpy as np

from holdfast.errors import CaptureError, MismatchError, NotFoundError
from holdfast.serializers.lacking import may_lack
from holdfast.state import arrays, values
from holdfast.state.capture import Capture, capture
from holdfast.state.flat import flatten
from holdfast.state.restore import restore
from holdfast.state.serializable import TreeDeserializer
from holdfast.state.serializer import Deserializer, Serializer
from holdfast.state.tree import Array, Branch, Leaf, Node, StateTree, Value
from holdfast.storage.handover import handed_over
from holdfast.storage.local_upload import failing

AnyArray = np.ndarray[Any, Any]
StrPath = Union[str, "os.PathLike[str]"]

_log = logging.getLogger("holdfast")


# --- saving ----------------------------------------------------------------------------------------------------------


def serialize(obj: object) -> dict[str, AnyArray]:
    """The state of `obj` as flat names and arrays, each a copy that belongs to the caller.

    Raises:
        CaptureError: something in it cannot be kept; names its path.
    """
    return flatten(capture(obj))


def arrays_of(obj: object) -> Mapping[str, AnyArray]:
    """What a file is to hold.

    A dict of single values (arrays, numbers, texts, None) is written as it is: its keys are the names, and its arrays
    are not copied. Everything else is captured.
    Raises:
        CaptureError: something in it cannot be kept, or a name cannot stand in a file.
    """
    found = {name: _array_of(name, one) for name, one in obj.items()} if _is_flat(obj) else serialize(obj)
    for name in found:
        check_name(name)
    return found


def named(name: str, value: object) -> dict[str, AnyArray]:
    """A value as an array under its name; or what is in it, under names that go on behind a "/".

    Raises:
        CaptureError: something in it cannot be kept; names its path.
    """
    return flatten(StateTree(Branch("untyped", (name,), (Capture(value, at=name).tree.root,))))


def is_none(array: AnyArray) -> bool:
    """Whether an array stands for None, as Chainer has it: it has no dimensions, and is the object None."""
    return array.dtype == np.dtype(object) and array.shape == () and array[()] is None


def check_name(name: str) -> None:
    """Raises CaptureError for a name that would be another one in a file."""
    if "\0" in name or any("\ud800" <= character <= "\udfff" for character in name):
        raise CaptureError(
            f"{name!r:.80} cannot be the name of an array in a file: it holds a NUL character or a lone surrogate; "
            "give it another key"
        )


def _is_flat(obj: object) -> TypeGuard[dict[str, Any]]:
    if not isinstance(obj, dict) or type(obj) not in (dict, OrderedDict):
        return False
    return all(type(key) is str and _is_single(one) for key, one in obj.items())


def _is_single(value: Any) -> bool:
    if value is None or values.is_scalar(value):
        return True
    return arrays.framework_of(value) is not None and not arrays.is_jax_key(value)


def _array_of(name: str, value: Any) -> AnyArray:
    if type(value) is np.ndarray and (is_none(value) or not value.dtype.hasobject):
        return value
    [array] = named(name, value).values()
    return array


@contextmanager
def written(path: StrPath, size_bytes: int) -> Iterator[str]:
    """Gives a path to write a file to, which then gets its name; see storage/handover.py.

    Args:
        size_bytes: about what it needs, for the error.

    Raises:
        CommitError: it could not be written or made durable; an older file of that name is as it was.
    """
    with handed_over(path) as partial_path, failing(os.path.abspath(path), size_bytes, "it could not be written"):
        yield partial_path


# --- restoring -------------------------------------------------------------------------------------------------------


def node_of(name: str, array: AnyArray) -> Node:
    """The node of one array of a file.

    Raises:
        CaptureError: it holds Python objects, or is of a dtype that cannot be kept.
    """
    if is_none(array):
        return Value("none", None)
    node = Capture(array, at=name).tree.root
    assert isinstance(node, Array)
    return Array(Leaf(name, node.leaf.dtype, node.leaf.shape, node.leaf.nbytes, array), "numpy")


def untyped(found: Mapping[str, Node]) -> Branch:
    """Flat names as a branch."""
    return Branch("untyped", tuple(found), tuple(found.values()))


def part_of(find: Callable[[], Node], strict: bool, where: str) -> Node:
    """The part of a file that an object is to be restored from.

    Args:
        find: gives it, or raises NotFoundError.
        strict: where there is no such part, that is an error; else the part is empty.
        where: what messages call the file.
    Raises:
        NotFoundError: there is none; says what there is.
    """
    try:
        return find()
    except NotFoundError as error:
        if strict:
            raise NotFoundError(f"{where}: {error}") from None
        _log.warning("%s: %s; nothing is restored, since strict is False", where, str(error))
        return untyped({})


def restore_into(obj: Any, tree: StateTree, strict: bool, where: str) -> None:
    """Restore an object as Chainer does: numpy's "same_kind" casting rule, and what only the file holds is left out.

    Raises:
        MismatchError: it does not fit, or cannot change in place; nothing was changed, or the message says what became
            of each object.
    """
    try:
        restored = restore(
            tree,
            obj,
            strict=strict,
            casting="same_kind",
            may_lack=may_lack(obj),
            may_have_more=_always,
        )
    except MismatchError as error:
        raise MismatchError(f"{where}: {error}") from error.__cause__
    if restored is not obj:
        raise MismatchError(
            f"{where}: a {type(obj).__name__} cannot change in place; use holdfast.restore, which returns a new one"
        )


def _always(path: str) -> bool:
    return True


# --- serializers -----------------------------------------------------------------------------------------------------


class FlatSerializer(Serializer):
    """Saves what it is called with, or all of an object, array by array.

    Attributes:
        loading: False.
    """

    loading = False

    def __call__(self, key: str, value: Any) -> Any:
        """Save `value`, an array, a scalar or anything that can be captured, under `key`, and return it.

        Raises:
            CaptureError: it cannot be kept; names its path.
        """
        for name, array in named(key.strip("/"), value).items():
            self._put(name, array)
        return value

    def save(self, obj: Any) -> None:
        """Save an object: one with a `serialize` method, or anything else that can be captured.

        Raises:
            CaptureError: something in it cannot be kept; names its path.
        """
        if callable(getattr(obj, "serialize", None)):
            obj.serialize(self)
            return
        for name, array in serialize(obj).items():
            self._put(name, array)

    def _put(self, name: str, array: AnyArray) -> None:
        raise NotImplementedError


class FlatDeserializer(Deserializer):
    """Restores what it is called with, or all of an object.

    Attributes:
        loading: True.
        strict: whether a name that is not there is an error; else the value stays.
    """

    loading = True
    strict: bool

    def __call__(self, key: str, value: Any) -> Any:
        """What is stored under `key`: `value` itself where it changes in place, else a new one.

        Raises:
            KeyError: there is nothing, and `strict` is set.
            MismatchError: it does not fit `value`.
        """
        name = key.strip("/")
        found = self._find(name)
        if not found and not self.strict:
            return value
        take = TreeDeserializer(partial(_restore_part, self.strict), untyped(found), self._place, strict=self.strict)
        return take(name, value)

    def load(self, obj: Any) -> None:
        """Restore an object: by its `serialize` method, or as whatever else can be restored in place.

        A `serialize` method takes its values one after the other: what it took before an error stays. The load function
        of this format restores all or nothing.
        Raises:
            KeyError, MismatchError: as of a call.
        """
        if callable(getattr(obj, "serialize", None)):
            obj.serialize(self)
        else:
            restore_into(
                obj, StateTree(untyped(self._find(""))), self.strict, f"'{self._place}'" if self._place else "the whole"
            )

    @property
    def _place(self) -> str:
        """The names above this place, for messages."""
        raise NotImplementedError

    def _find(self, name: str) -> dict[str, Node]:
        """What is stored under a name, or under names that go on behind it and a "/", by their names from here on.

        Args:
            name: "" for all that is below this place.
        """
        raise NotImplementedError


def _restore_part(strict: bool, node: Node, value: Any, path: str) -> Any:
    try:
        return restore(StateTree(node), value, strict=strict, casting="same_kind", may_have_more=_always)
    except MismatchError as error:
        raise MismatchError(f"'{path}': {error}") from error.__cause__
