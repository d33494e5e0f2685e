"""A mapping of names to arrays, put into memory that another process can share, and a function that this finds by its
name. Nothing is pickled."""

from __future__ import annotations

import importlib
import json
import mmap
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from holdfast.memory import Memory

_ALIGNMENT = 64
_PLAIN = (type(None), bool, int, float, str)


def reference(function: Any, what: str, kwds: Mapping[str, Any], *, is_task: bool = False) -> dict[str, Any]:
    """How another process finds a function, and what it passes on to it.

    Args:
        what: what messages call the function.
        kwds: its keyword arguments.
    Raises:
        TypeError: it cannot be found by name, or an argument is no JSON value.
    """
    for key, value in kwds.items():
        if not _is_json(value):
            raise TypeError(
                f"{key}={value!r:.80} cannot be passed on to another process; it must be a JSON value: None, bool, "
                "int, float, str, or a list or dict of these"
            )
    module: Any = getattr(function, "__module__", None)
    name: Any = getattr(function, "__qualname__", None)
    if isinstance(module, str) and isinstance(name, str) and module != "__main__" and "<" not in name:
        try:
            if found(module, name) is function:
                return {"module": module, "name": name, "kwds": dict(kwds), "is_task": is_task}
        except (ImportError, AttributeError):
            pass
    raise TypeError(
        f"{what} runs in a process of its own, which must find it by its name: a function of a module that can be "
        f"imported, and not of __main__, no lambda and no inner function; {function!r} is not one. Move it to a "
        "module, or use ThreadWriter"
    )


def found(module: str, name: str) -> Any:
    """What stands in a module under a dotted name. Raises ImportError, AttributeError."""
    value: Any = sys.modules.get(module) or importlib.import_module(module)
    for part in name.split("."):
        value = getattr(value, part)
    return value


@dataclass(frozen=True, slots=True)
class Call:
    """One call for another process to make; a Parcel."""

    filename: str
    outdir: str  # absolute
    memory_fd: int
    index_at: int
    index_bytes: int
    lock_fd: int  # see Handoff

    def message(self) -> dict[str, Any]:
        """See Parcel."""
        return {
            "filename": self.filename,
            "outdir": self.outdir,
            "index_at": self.index_at,
            "index_bytes": self.index_bytes,
        }

    def descriptors(self) -> Sequence[int]:
        """See Parcel."""
        return [fd for fd in (self.memory_fd, self.lock_fd) if fd >= 0]


def packed(mapping: Mapping[str, Any]) -> tuple[Memory, int, int]:
    """A copy of a mapping in shared memory of its own; and where in it the index stands, and how long that is.

    Raises:
        TypeError: something in it is no array of plain numbers, texts or times.
        OSError, ValueError: there is no room for it.
    """
    index: list[dict[str, Any]] = []
    arrays: list[np.ndarray[Any, Any]] = []
    end = 0
    for name, value in mapping.items():
        array = np.asarray(value)
        entry: dict[str, Any] = {"name": name, "shape": array.shape, "at": end}
        if array.dtype == object and array.shape == () and array.item() is None:
            entry["none"] = True
        elif array.dtype.hasobject:
            raise TypeError(f"{name}: an array of Python objects cannot be handed to another process; use ThreadWriter")
        else:
            entry.update(_described(array.dtype))
            arrays.append(array)
            end += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
        index.append(entry)
    text = json.dumps(index).encode()
    memory = Memory(end + len(text), shared=True)
    for array, entry in zip(arrays, (one for one in index if "none" not in one), strict=True):
        place = memory.view[entry["at"] : entry["at"] + array.nbytes].view(array.dtype).reshape(array.shape)
        np.copyto(place, array)
    memory.view[end : end + len(text)] = np.frombuffer(text, np.uint8)
    return memory, end, len(text)


def unpacked(memory_fd: int, order: Mapping[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """The mapping again: arrays that look into the memory, which lives as long as one of them."""
    at, length = order["index_at"], order["index_bytes"]
    view = np.frombuffer(mmap.mmap(memory_fd, at + length, flags=mmap.MAP_SHARED), np.uint8)
    mapping = {}
    for entry in json.loads(view[at : at + length].tobytes()):
        shape = tuple(entry["shape"])
        if "none" in entry:
            mapping[entry["name"]] = np.array(None, dtype=object)
            continue
        dtype = _dtype(entry)
        nbytes = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        mapping[entry["name"]] = view[entry["at"] : entry["at"] + nbytes].view(dtype).reshape(shape)
    return mapping


def _described(dtype: np.dtype[Any]) -> dict[str, Any]:
    if dtype.type.__module__.partition(".")[0] == "ml_dtypes":
        return {"ml_dtype": dtype.name}
    return {"dtype": np.lib.format.dtype_to_descr(dtype)}


def _dtype(entry: Mapping[str, Any]) -> np.dtype[Any]:
    named: Any = entry.get("ml_dtype")
    descr = getattr(importlib.import_module("ml_dtypes"), named) if named else _tuples(entry["dtype"])
    made: np.dtype[Any] = np.dtype(descr) if named else np.lib.format.descr_to_dtype(descr)
    return made


def _tuples(descr: Any) -> Any:
    """JSON has made lists of the tuples of a dtype's fields."""
    if isinstance(descr, str):
        return descr
    return [_field(one) for one in descr] if descr and isinstance(descr[0], list) else tuple(map(_tuples, descr))


def _field(field: Any) -> tuple[Any, ...]:
    name, descr, *shape = field
    return (tuple(name) if isinstance(name, list) else name, _tuples(descr), *map(tuple, shape))


def _is_json(value: Any) -> bool:
    if type(value) in _PLAIN:
        return True
    if type(value) is list:
        return all(map(_is_json, value))
    return type(value) is dict and all(type(key) is str for key in value) and all(map(_is_json, value.values()))
