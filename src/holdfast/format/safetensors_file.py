"""Plain safetensors files, as other libraries write them: read, never written, and checked as strictly as theirs do.

https://huggingface.co/docs/safetensors: a length (8 bytes), a JSON header of at most 100 MB, and the arrays with no
holes. There are no checksums in them.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

from holdfast.errors import DamagedError, UnknownFormatError
from holdfast.snapshot import Json
from holdfast.state import dtypes
from holdfast.state.arrays import Bytes
from holdfast.state.encoding import check_shape, collector_paused, loads
from holdfast.state.strictjson import shorten
from holdfast.state.tree import Array, Branch, Leaf, StateTree

LENGTH = struct.Struct("<Q")  # of the JSON header, which follows
MAX_JSON = 100_000_000  # bytes, safetensors' own limit
_BEGINNING = re.compile(rb'\{\s*["}]')


class Entry(NamedTuple):
    """What a header says of one array."""

    dtype: str
    shape: tuple[int, ...]
    start: int  # bytes from the start of the data part
    end: int


def is_safetensors(page: bytes) -> bool:
    """Whether a file that begins like this is one of these, whole or not."""
    return _BEGINNING.match(page, LENGTH.size) is not None


def parse(memory: Bytes, where: str) -> tuple[StateTree, dict[str, str]]:
    """The arrays of a file, flat under their whole names, and its metadata.

    A pair of the metadata that names an array and a name that is none is a tied array's further name, as
    safetensors.torch.save_model writes it: both names get the same leaf.

    Args:
        memory: the whole file.
        where: what messages call it.
    Raises:
        DamagedError: the header is not whole, or does not fit the file.
        UnknownFormatError: an array is of a dtype that holdfast does not know.
    """
    length = int(LENGTH.unpack(memory[: LENGTH.size].tobytes())[0])
    if length > MAX_JSON:
        raise _damage(where, LENGTH.size, f"gives its own length as {length} bytes, at most {MAX_JSON} are read")
    stop = LENGTH.size + length
    if stop > len(memory):
        raise _damage(where, stop, f"is cut off: the file has {len(memory)} bytes")
    try:
        with collector_paused():
            return _parse(loads(memory[LENGTH.size : stop].tobytes()), memory[stop:])
    except UnknownFormatError as error:
        raise UnknownFormatError(f"{where}: {error}; convert it with the library that wrote it") from None
    except ValueError as error:
        raise _damage(where, stop, f"is none of a safetensors file: {error}") from None


# A lone surrogate is no Unicode: safetensors refuses it, and .encode() raises UnicodeEncodeError, a ValueError.


def _parse(spec: Json, data: Bytes) -> tuple[StateTree, dict[str, str]]:
    if type(spec) is not dict:
        raise ValueError("it is no object")
    metadata = spec.pop("__metadata__", None)
    metadata = {} if metadata is None else metadata
    if type(metadata) is not dict or not all(type(text) is str for text in metadata.values()):
        raise ValueError("its metadata is no object of texts")
    for text in metadata.items():
        "".join(text).encode()
    entries = {name: read_entry(name, entry) for name, entry in spec.items()}
    offset = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].end)):
        if entry.start != offset:
            raise ValueError(f"the array {shorten(name)} begins at {entry.start}, the one before it ends at {offset}")
        offset = entry.end
    if offset != len(data):
        raise ValueError(f"the arrays take {offset} bytes, and {len(data)} follow the header")
    leaves = {
        name: Leaf(name, entry.dtype, entry.shape, entry.end - entry.start, data[entry.start : entry.end])
        for name, entry in entries.items()
    }
    tied = {name: leaves[kept] for name, kept in metadata.items() if kept in leaves and name not in leaves}
    arrays = {**leaves, **tied}
    tree = StateTree(Branch("untyped", tuple(arrays), tuple(Array(leaf, "numpy") for leaf in arrays.values())))
    return tree, metadata


def read_entry(name: str, spec: Json) -> Entry:
    """One entry of a header, with a size that fits its shape.

    Raises:
        ValueError: it is none.
        UnknownFormatError: holdfast does not know the dtype.
    """
    if not name.isascii():
        name.encode()
    try:
        dtype, shape, offsets = spec["dtype"], spec["shape"], spec["data_offsets"]
    except (TypeError, KeyError):
        raise ValueError(f"the entry {shorten(name)} is {shorten(spec)}") from None
    if type(dtype) is not str:
        raise ValueError(f"the entry {shorten(name)} has the dtype {shorten(dtype)}")
    item_size = dtypes.ITEM_SIZES.get(dtype)
    if item_size is None:
        raise UnknownFormatError(
            f"the entry {shorten(name)} has the dtype {shorten(dtype)}, which holdfast does not know"
        )
    if type(offsets) is not list or len(offsets) != 2:
        raise ValueError(f"the entry {shorten(name)} has the data_offsets {shorten(offsets)}")
    start, end = offsets
    if type(start) is not int or type(end) is not int:
        raise ValueError(f"the entry {shorten(name)} has the data_offsets {shorten(offsets)}")
    if type(shape) is list and len(shape) == 1 and type(shape[0]) is int and 0 <= shape[0] < 1 << 40:
        size = shape[0] * item_size
    else:
        size = check_shape(shape, item_size) * item_size
    if start < 0 or end - start != size:
        raise ValueError(f"the entry {shorten(name)} stands at {start}-{end}, its shape and dtype want {size} bytes")
    return Entry(dtype, tuple(shape), start, end)


def _damage(where: str, end: int, what: str) -> DamagedError:
    return DamagedError(f"{where}: the header (bytes 0-{end - 1}) {what}; get the file again from where it came")
