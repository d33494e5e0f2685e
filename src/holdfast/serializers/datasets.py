"""Arrays in an HDF5 file that h5py has opened: one dataset each, and back.

None is a dataset without elements, as Chainer has it. A text, which Chainer cannot write, is a string of UTF-8. Nothing
but these and arrays is read, and nothing that stands in another file.

HDF5 compares checksums when it reads what has some: headers of version 1.10, which is written here, and chunks with its
filter "fletcher32", which every array of several elements has. One element has no chunk, and stands in a header, unless
it is a very long text.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np

from holdfast.errors import CaptureError, DamagedError, UnknownFormatError
from holdfast.format.npz import MAX_DEFLATE
from holdfast.serializers.flat_file import AnyArray, is_none, node_of
from holdfast.state.tree import Node, Value

SIGNATURE = b"\x89HDF\r\n\x1a\n"
MAX_LEVEL = 9  # of gzip
MAX_IN_HEADER = 60_000  # bytes of a value; a header message has 64 KiB


def library() -> Any:
    """h5py, which is loaded when it is first needed.

    Raises:
        ModuleNotFoundError: it is not installed; names the extra that has it.
    """
    try:
        return import_module("h5py")
    except ModuleNotFoundError as error:
        if error.name != "h5py":
            raise
        raise ModuleNotFoundError(
            'HDF5 files need h5py, which is not installed: pip install "holdfast[hdf5]"', name="h5py"
        ) from None


# --- writing ---------------------------------------------------------------------------------------------------------


def image_of(arrays: Mapping[str, AnyArray], level: int | None) -> bytes:
    """An HDF5 file of these arrays, made in memory: where a disk is full, HDF5 ends the process when it closes a file.

    Args:
        level: as of write.
    Raises:
        CaptureError: HDF5 cannot hold one, or not under its name; names it.
    """
    h5py = library()
    access, how = h5py.h5p.create(h5py.h5p.FILE_ACCESS), h5py.h5p.create(h5py.h5p.FILE_CREATE)
    access.set_fapl_core(backing_store=False)
    access.set_libver_bounds(h5py.h5f.LIBVER_V110, h5py.h5f.LIBVER_V110)  # to be read it needs HDF5 1.10, of 2016
    how.set_obj_track_times(False)  # the same state gives the same bytes
    name = f"in memory: {id(arrays)}"  # no path; HDF5 opens no two files of one name
    with h5py.File(h5py.h5f.create(name.encode(), h5py.h5f.ACC_TRUNC, fcpl=how, fapl=access)) as file:
        for one, array in arrays.items():
            write(file, one, array, level)
        file.flush()  # else the image lacks what HDF5 has not written yet
        image: bytes = file.id.get_file_image()
    return image


def write(group: Any, name: str, array: AnyArray, level: int | None) -> None:
    """Write one array into a group.

    Args:
        level: of gzip, for more than one element; None: it is not packed.
    Raises:
        CaptureError: HDF5 cannot hold it, or not under that name; names it.
    """
    name = checked(name.strip("/"))
    data = library().Empty("f") if is_none(array) else _stored(name, array)
    try:
        if array.size > 1:
            group.create_dataset(name, data=data, compression=level, fletcher32=True)
        elif array.size and array.nbytes <= MAX_IN_HEADER and not is_none(array):
            _create_in_header(group, name, data)
        else:
            group.create_dataset(name, data=data)
    except (TypeError, ValueError, RuntimeError) as error:
        raise CaptureError(f"'{name}' cannot be written to '{group.name}' of the HDF5 file: {error}") from error


def _create_in_header(group: Any, name: str, data: AnyArray) -> None:
    """Create a dataset whose one element stands in its header; what h5py has for it takes no scalars."""
    h5py = library()
    how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    how.set_layout(h5py.h5d.COMPACT)
    how.set_obj_track_times(False)
    kind = h5py.h5t.py_create(data.dtype, logical=True)
    space = h5py.h5s.create_simple(data.shape) if data.shape else h5py.h5s.create(h5py.h5s.SCALAR)
    dataset = h5py.h5d.create(group.id, None, kind, space, how)
    dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, np.ascontiguousarray(data).reshape(data.shape))
    above, _, last = name.rpartition("/")
    parent = group.require_group(above) if above else group
    if last in parent:
        raise ValueError("the name exists")
    parent[last] = h5py.Dataset(dataset)


def _stored(name: str, array: AnyArray) -> AnyArray:
    """The array with a dtype that says how HDF5 is to hold it.

    Raises:
        CaptureError: HDF5 could not give it back.
    """
    h5py, data = library(), array
    if array.dtype.kind == "U":
        data = _encoded_texts(name, array)
        data = data.view(h5py.string_dtype("utf-8", data.dtype.itemsize))
    elif array.dtype.kind in "mM":
        data = array.view(h5py.opaque_dtype(array.dtype))
    elif array.dtype.isbuiltin == 2:  # of ml_dtypes: bytes without a type, as in an npz
        data = array.view(np.dtype((np.void, array.dtype.itemsize)))
    try:
        given_back = h5py.h5t.py_create(data.dtype, logical=True).dtype
    except (TypeError, ValueError) as error:
        raise CaptureError(f"'{name}' is {array.dtype}, which HDF5 cannot hold ({error}); save_npz can") from None
    if given_back != data.dtype:
        raise CaptureError(f"'{name}' is {array.dtype}, which HDF5 would give back as {given_back}; save_npz keeps it")
    return data


def _encoded_texts(name: str, array: AnyArray) -> AnyArray:
    try:
        return np.asarray(np.char.encode(array, "utf-8"))
    except UnicodeEncodeError as error:
        raise CaptureError(f"'{name}' holds a text that is no Unicode ({error}); save_npz can hold it") from None


def checked(name: str) -> str:
    """The name.

    Raises:
        CaptureError: HDF5 would take it for another one.
    """
    parts = name.split("/")
    if "" in parts or "." in parts:
        raise CaptureError(f"{name!r:.80} cannot be a name in an HDF5 file: a part of it is empty or a dot; rename it")
    return name


def level_of(compression: int | None) -> int | None:
    """The level of gzip.

    Raises:
        ValueError: it is none.
    """
    if compression is None or (isinstance(compression, int) and 0 <= compression <= MAX_LEVEL):
        return compression
    raise ValueError(f"compression is {compression!r}, wanted a level of gzip from 0 to {MAX_LEVEL}, or None")


# --- reading ---------------------------------------------------------------------------------------------------------


def beginning(where: str) -> bytes:
    """What a file begins with, which of an HDF5 file is SIGNATURE; nothing of what is no regular file."""
    if not stat.S_ISREG(os.stat(where).st_mode):  # opening a pipe would wait for ever
        return b""
    with open(where, "rb") as raw:
        return raw.read(len(SIGNATURE))


@contextmanager
def opened(where: str) -> Iterator[Any]:
    """A file, open for reading; errors about what it holds say which file.

    Raises:
        UnknownFormatError: it is no HDF5 file.
        DamagedError: it is not whole.
    """
    h5py = library()
    begin = beginning(where)
    if begin != SIGNATURE:
        raise UnknownFormatError(
            f"{where}: is no HDF5 file: it begins with {begin!r}; npz files and snapshot files are read by load_npz"
        )
    try:
        file = h5py.File(where, "r", locking=False)
    except (OSError, RuntimeError, ValueError) as error:
        raise DamagedError(f"{where}: is no whole HDF5 file ({error}); get it again from where it came") from None
    with file:
        try:
            yield file
        except (DamagedError, UnknownFormatError) as error:
            raise type(error)(f"{where}: {error}") from error.__cause__


def follow(group: Any, path: str) -> Any:
    """What stands in a group at a path, a group or a dataset; None where there is nothing."""
    for name in [name for name in path.split("/") if name]:
        if not isinstance(group, library().Group):
            return None
        with _damage(name):
            is_there = group.id.links.exists(_encoded(name))
        if not is_there:
            return None
        group = _member(group, name)
    return group


def _member(group: Any, name: str) -> Any:
    """What stands in a group under a name.

    Raises:
        UnknownFormatError: it is a link that leads elsewhere, perhaps into another file, or no group and no dataset.
        DamagedError: it cannot be opened.
    """
    h5py, where = library(), f"{group.name}/{name}".strip("/")
    with _damage(where):
        is_own = group.id.links.get_info(_encoded(name)).type == h5py.h5l.TYPE_HARD
        found = group[name] if is_own else None
    if not isinstance(found, h5py.Group | h5py.Dataset):
        what = "a link to elsewhere" if found is None else f"a {type(found).__name__}"
        raise UnknownFormatError(f"'{where}' is {what}; only groups and datasets are read, as Chainer writes them")
    return found


def read(found: Any, name: str) -> dict[str, Node]:
    """A dataset under its name; or all that is in a group, under names that go on behind it.

    Raises:
        UnknownFormatError: one holds something else than an array, a text or None.
        DamagedError: one cannot be read.
    """
    h5py = library()
    nodes: dict[str, Node] = {}
    seen: set[int] = set()
    ahead: list[tuple[str, Any, str | None]] = [(name, found, None)]  # the next one last; one is opened when it comes
    while ahead:
        place, group, key = ahead.pop()
        one = group if key is None else _member(group, key)
        if isinstance(one, h5py.Dataset):
            nodes[place] = _node(one, place)
            continue
        with _damage(one.name.strip("/")):
            address, names = h5py.h5o.get_info(one.id).addr, list(one)
        if address in seen:
            raise UnknownFormatError(f"the group '{place}' stands at a second place, or in itself; Chainer writes none")
        seen.add(address)
        for inner in reversed(names):
            if not isinstance(inner, str):  # h5py leaves it as bytes
                raise UnknownFormatError(f"the group '{place}' holds the name {inner!r:.80}, which is no text")
            ahead.append((f"{place}/{inner}" if place else inner, one, inner))
    return nodes


def _node(dataset: Any, name: str) -> Node:
    """The array, the text or the None of a dataset."""
    h5py, where = library(), dataset.name.strip("/")
    with _damage(where):
        shape, stored_bytes = dataset.shape, dataset.id.get_storage_size()
        lies_elsewhere = bool(dataset.is_virtual or dataset.external)
    if shape is None:
        return Value("none", None)
    try:
        dtype = dataset.dtype
    except (TypeError, ValueError) as error:  # numpy has no such dtype
        raise UnknownFormatError(f"'{where}' cannot be read: {error}; only arrays, texts and None are read") from None
    text = h5py.check_string_dtype(dtype)
    if text is not None and text.length is None and shape == ():
        with _damage(where):
            array = np.asarray(dataset.asstr("utf-8")[()])
    elif dtype.hasobject or lies_elsewhere:
        what = "lies in another file" if lies_elsewhere else f"holds elements of varying size ({dtype})"
        raise UnknownFormatError(f"'{where}' {what}; only arrays, texts and None are read")
    else:
        size_bytes = math.prod(shape) * dtype.itemsize
        if size_bytes > MAX_DEFLATE * (stored_bytes + 1):
            raise DamagedError(f"'{where}' claims {size_bytes} bytes out of {stored_bytes} in the file")
        array = np.zeros(shape, dtype)
        with _damage(where):
            if array.size:
                dataset.read_direct(array)
            if text is not None and text.encoding == "utf-8":
                array = np.asarray(np.char.decode(array, "utf-8"))
    try:
        return node_of(name, array)
    except CaptureError as error:
        raise UnknownFormatError(f"'{where}' cannot be read: {error}") from None


@contextmanager
def _damage(where: str) -> Iterator[None]:
    """What HDF5 cannot do with a file that was opened is the file's fault."""
    try:
        yield
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError) as error:
        raise DamagedError(f"'{where}' cannot be read ({error}); get the file again from where it came") from None


def _encoded(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")  # one that no file can hold is not found
