"""npz archives, as numpy.savez and Chainer write them: read without pickle, and never written here.

A zip of .npy files, stored or deflated. Every size is checked against the archive before it is believed, every checksum
of the archive is compared, and an object array is read only where it is exactly what numpy writes for None.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from typing import Any

import numpy as np

from holdfast.errors import CaptureError, DamagedError, UnknownFormatError
from holdfast.format import literal
from holdfast.format.pickled_none import is_pickled_none
from holdfast.state import dtypes
from holdfast.state.arrays import Bytes
from holdfast.state.encoding import check_shape
from holdfast.state.tree import Array, Branch, Leaf, Node, StateTree, Value

MAX_DEFLATE = 1032  # bytes that one byte of a deflate stream can stand for
MAX_NPY_HEADER = 10_000  # bytes; numpy's own limit for files that are not trusted

_LOCAL = struct.Struct(
    "<4s5H3L2H"
)  # the zip header before each member: signature first, lengths of name and extra last
_END = struct.Struct("<4s4H2LH")  # the last of an archive, before its comment: number of members, the directory, ...
_ZIP64 = 0xFFFF  # a number that stands elsewhere
_ENCRYPTED, _UTF8 = 0x1, 0x800  # flags of a member
_LENGTHS = {b"\1\0": struct.Struct("<H"), b"\2\0": struct.Struct("<I"), b"\3\0": struct.Struct("<I")}  # by npy version
_ALIGNMENT = 16  # bytes, in memory


def parse(memory: Bytes, where: str) -> StateTree:
    """The arrays of an archive, flat under their whole names.

    Args:
        memory: the whole file. The leaves of stored members look into it; deflated ones are unpacked.
        where: what messages call it.
    Raises:
        DamagedError: the archive is not whole, or a member does not match its checksum or size.
        UnknownFormatError: a member is no array without Python objects.
    """
    try:
        with zipfile.ZipFile(io.BufferedReader(_Memory(memory))) as archive:
            members, end = archive.infolist(), len(memory) - _END.size - len(archive.comment)
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, OverflowError, struct.error) as error:
        raise _damage(where, f"is no whole zip archive ({error})") from None
    signature, *_, count, _size, _offset, _comment = _END.unpack(memory[end : end + _END.size].tobytes())
    if signature != b"PK\5\6" or count not in (len(members), _ZIP64):  # zipfile looks at neither
        raise _damage(where, f"is no whole zip archive (its directory has {len(members)} members of {count})")
    if sum(member.compress_size for member in members) > len(memory):
        raise _damage(where, "has members that are larger together than the archive")
    children: dict[str, Node] = {}
    for member in members:
        name = member.filename.removesuffix(".npy")
        if name == member.filename:
            raise UnknownFormatError(
                f"{where}: is a zip archive with the member {name!r:.80}, which is no .npy file; of zip archives only "
                "those that numpy.savez writes are read (files of torch.save hold pickles: read them with torch)"
            )
        if name in children:
            raise _damage(where, f"has two members {name!r:.80}")
        children[name] = _node(name, _content(memory, member, where), where)
    return StateTree(Branch("untyped", tuple(children), tuple(children.values())))


class _Memory(io.RawIOBase):
    """Memory as a file for zipfile, which reads only the directory through it; io.BytesIO would copy all of it."""

    def __init__(self, memory: Bytes) -> None:
        super().__init__()
        self._memory = memory
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self._memory)}[whence]
        if base + offset < 0:
            raise OSError("it points to before its beginning")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        found = self._memory[self._at : self._at + len(buffer)]
        buffer[: len(found)] = found.tobytes()
        self._at += len(found)
        return len(found)


def _content(memory: Bytes, member: zipfile.ZipInfo, where: str) -> Bytes:
    """What a member holds, checked against its checksum."""
    packed = _packed(memory, member, where)
    if member.compress_type == zipfile.ZIP_STORED:
        content = packed
    else:
        if member.file_size > MAX_DEFLATE * (len(packed) + 1):
            raise _member_damage(where, member, f"claims {member.file_size} bytes out of {len(packed)} deflated ones")
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            content = np.frombuffer(unpacker.decompress(packed.data, member.file_size + 1), np.uint8)
        except zlib.error as error:
            raise _member_damage(where, member, f"cannot be unpacked ({error})") from None
        if not unpacker.eof:
            raise _member_damage(where, member, "does not end where the archive says")
    if len(content) != member.file_size:
        raise _member_damage(
            where, member, f"has {len(content)} bytes, and {member.file_size} by the archive's directory"
        )
    if zlib.crc32(content.data) != member.CRC:
        raise _member_damage(where, member, "does not match its checksum")
    return content


def _packed(memory: Bytes, member: zipfile.ZipInfo, where: str) -> Bytes:
    """The bytes of a member as they stand in the archive."""
    if member.flag_bits & _ENCRYPTED or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UnknownFormatError(
            f"{where}: the member {member.filename!r:.80} is encrypted, or packed otherwise than by deflate; write the "
            "archive again with numpy.savez"
        )
    begin = member.header_offset
    if not 0 <= begin <= len(memory) - _LOCAL.size:
        raise _member_damage(where, member, f"begins at {begin}, and the archive has {len(memory)} bytes")
    signature, *_, name_size, extra_size = _LOCAL.unpack(memory[begin : begin + _LOCAL.size].tobytes())
    name = memory[begin + _LOCAL.size : begin + _LOCAL.size + name_size].tobytes()
    encoding = "utf-8" if member.flag_bits & _UTF8 else "cp437"
    if signature != b"PK\x03\x04" or name.decode(encoding, "replace") != member.orig_filename:
        raise _member_damage(where, member, "is not where the archive's directory says")
    start = begin + _LOCAL.size + name_size + extra_size
    end = start + member.compress_size
    if not start <= end <= len(memory):
        raise _member_damage(
            where, member, f"stands at bytes {start}-{end - 1}, and the archive has {len(memory)} bytes"
        )
    return memory[start:end]


def _node(name: str, content: Bytes, where: str) -> Node:
    """The array of one .npy file."""
    member = f"the member {name + '.npy'!r:.80}"
    try:
        shape, fortran, dtype, data = _read_npy(content)
        if dtype.hasobject:
            if dtype == np.dtype(object) and shape == () and not fortran and is_pickled_none(data.tobytes()):
                return Value("none", None)
            raise UnknownFormatError(
                "it holds Python objects as a pickle, which holdfast never runs; write it again as numbers or strings"
            )
        kind = dtypes.from_numpy(dtype)
        size = check_shape(list(shape), dtype.itemsize) * dtype.itemsize
        if size != len(data):
            raise ValueError(f"it has {len(data)} bytes of elements, its shape and dtype want {size}")
    except (UnknownFormatError, CaptureError) as error:
        raise UnknownFormatError(f"{where}: {member} cannot be read: {error}") from None
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError, MemoryError) as error:
        raise _damage(where, f"{member} is no .npy file: {error}") from None
    if fortran and size:
        rows = data.view(np.dtype((np.void, dtype.itemsize))).reshape(shape[::-1])
        data = np.ascontiguousarray(rows.T).reshape(-1).view(np.uint8)
    elif data.ctypes.data % _ALIGNMENT:
        data = data.copy()
    data.flags.writeable = False
    return Array(Leaf(name, kind, shape, size, data), "numpy")


def _read_npy(content: Bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any], Bytes]:
    """Shape, whether in Fortran order, dtype, and the bytes of the elements. numpy's own reader only warns or guesses
    where a header is odd, and has no public function for version 3.

    Raises:
        UnknownFormatError: a dtype that holdfast does not know.
        ValueError, TypeError, ...: it is no .npy file.
    """
    magic = content[:8].tobytes()
    if magic[:6] != b"\x93NUMPY" or magic[6:] not in _LENGTHS:
        raise ValueError(f"it begins with {magic!r}")
    field = _LENGTHS[magic[6:]]
    start = len(magic) + field.size
    length = int(field.unpack(content[len(magic) : start].tobytes().ljust(field.size, b"\0"))[0])
    if length > min(MAX_NPY_HEADER, len(content) - start):
        raise ValueError(f"its header has {length} bytes, at most {MAX_NPY_HEADER} and the member's own are read")
    text = content[start : start + length].tobytes().decode("utf-8" if magic[6] == 3 else "latin-1")
    spec = literal.parse(text)
    if type(spec) is not dict or spec.keys() != {"descr", "fortran_order", "shape"}:
        raise ValueError("its header has other keys than descr, fortran_order and shape")
    shape, fortran, descr = spec["shape"], spec["fortran_order"], spec["descr"]
    if type(shape) is not tuple or type(fortran) is not bool:
        raise ValueError("its header has no shape and order")
    _check_descr(descr)
    dtype = np.lib.format.descr_to_dtype(descr)
    if dtype.subdtype is not None:  # of a whole array: numpy makes its shape longer instead
        raise ValueError("its dtype is that of a sub-array")
    return shape, fortran, dtype, content[start + length :]


def _check_descr(descr: Any) -> None:
    """numpy.dtype would take much more than what numpy.save writes, some of it with a warning."""
    if type(descr) is str:
        if descr != "|O":
            dtypes.to_numpy(descr)
    elif type(descr) is tuple and len(descr) == 2:  # with the shape of a sub-array
        _check_descr(descr[0])
    elif type(descr) is list and all(type(field) is tuple and 2 <= len(field) <= 3 for field in descr):
        for field in descr:
            _check_descr(field[1])
    else:
        raise ValueError("its dtype is none")


def _damage(where: str, what: str) -> DamagedError:
    return DamagedError(f"{where}: {what}; get the archive again from where it came")


def _member_damage(where: str, member: zipfile.ZipInfo, what: str) -> DamagedError:
    return _damage(where, f"the member {member.filename!r:.80} {what}")
