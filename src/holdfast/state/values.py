"""Plain values as nodes and back: numbers, strings, bytes, None, and the fixed table of further types.

Types are exact, not isinstance: a subclass may hold more than its base shows. What comes from a file is never
evaluated, and makes only what stands in this table.
"""

from __future__ import annotations

import math
import struct
import sys
from typing import Any

import numpy as np

from holdfast.errors import CaptureError, MismatchError
from holdfast.state import dtypes
from holdfast.state.encoding import EXACT_INT, decode_plain, encode_plain
from holdfast.state.tree import Value

LONG_TEXT = 256  # characters or bytes; longer ones stand in a leaf of their own, so that the header stays short


def to_value(value: object) -> Value | None:
    """The node of a plain value; None where it is no plain value, or a text too long for the header.

    Raises:
        CaptureError: it is of a known type, but holds what cannot be kept.
    """
    kind = type(value)
    if value is None:
        return Value("none", None)
    if kind is bool:
        return Value("bool", value)
    if kind is int:
        return Value("int", _from_int(value))  # type: ignore[arg-type]
    if kind is float:
        return Value("float", _from_float(value))  # type: ignore[arg-type]
    if kind is str:
        return Value("str", value) if len(value) <= LONG_TEXT or not _is_unicode(value) else None  # type: ignore[arg-type]
    if kind is bytes:
        return Value("bytes", value.hex()) if len(value) <= LONG_TEXT else None  # type: ignore[arg-type,attr-defined]
    if kind is complex:
        return Value("complex", [_from_float(value.real), _from_float(value.imag)])  # type: ignore[attr-defined]
    if isinstance(value, range):
        return Value("range", [_from_int(part) for part in (value.start, value.stop, value.step)])
    if isinstance(value, slice):
        return Value("slice", [_from_bound(part) for part in (value.start, value.stop, value.step)])
    if isinstance(value, np.generic):
        return _from_scalar(value)
    return _from_torch(value)


def from_value(node: Value) -> Any:
    """The plain value of a node.

    Raises:
        MismatchError: a numpy scalar or a torch object that this process cannot make.
        UnknownFormatError: a numpy scalar of a dtype that needs ml_dtypes.
    """
    kind, data = node.kind, node.data
    if kind in ("none", "bool", "str"):
        return data
    if kind == "int":
        return _to_int(data)
    if kind == "float":
        return _to_float(data)
    if kind == "bytes":
        return bytes.fromhex(data)
    if kind == "complex":
        return complex(_to_float(data[0]), _to_float(data[1]))
    if kind in ("range", "slice"):
        bounds: list[Any] = [None if part is None else _to_int(part) for part in data]
        return (range if kind == "range" else slice)(*bounds)
    if kind == "numpy":
        return _to_scalar(*data)
    return _to_torch(kind, data)


def is_scalar(value: object) -> bool:
    """Whether this is a plain value that an array of no dimensions can stand for."""
    return type(value) in _SCALARS or isinstance(value, np.generic) or _from_torch(value) is not None


_SCALARS = (bool, int, float, complex, str, bytes, range, slice)


def to_array(node: Value) -> np.ndarray[Any, Any]:
    """A plain value as an array of no dimensions; None as the object, as Chainer has it.

    What numpy has no dtype for (an int beyond 64 bits, a range, a torch.dtype) is its JSON as text.
    """
    value = from_value(node)
    if type(value) is bytes:
        return np.asarray(np.void(value) if value else value)  # as text it would lose zeros at its end
    fits = type(value) is int and -(1 << 63) <= value < 1 << 64
    if fits or value is None or isinstance(value, bool | float | complex | np.generic):
        return np.asarray(value)
    if type(value) is str and not value.endswith("\0") and not value.startswith(_JSON):
        return np.asarray(value)
    return np.asarray(encode_plain(node).decode())


_JSON = "[0,["  # how encode_plain of a plain value begins


def from_array(array: np.ndarray[Any, Any], like: Any) -> Any:
    """The plain value, of the type of `like`, that an array of no dimensions stands for.

    Raises:
        TypeError, ValueError: it is no such value.
    """
    kind, found = type(like), array.item()
    if isinstance(like, np.generic):
        flexible = like.dtype.kind in "SUV" and like.dtype.isbuiltin != 2
        if flexible and array.dtype.kind != like.dtype.kind:
            raise TypeError("one is text and one is not")
        return array[()] if flexible else array.astype(like.dtype, casting="same_kind")[()]
    if type(found) is str:
        value = _from_text(found)
        if type(value) is not kind:
            raise ValueError(f"it is {found!r:.80}")
        return value
    if kind is bytes and type(found) is bytes:
        return found
    if kind not in (bool, int, float, complex) or type(found) not in (bool, int, float, complex):
        raise TypeError(f"it is {found!r:.80}")
    if array.dtype.kind in "mM":
        raise TypeError("it is a time")
    value = kind(found)
    if value != found and found == found:  # not a number is not equal to itself
        raise ValueError(f"{found!r:.80} is no {kind.__name__}")
    return value


def guess(array: np.ndarray[Any, Any]) -> Value:
    """The node of the plain value that an array of no dimensions most likely stands for."""
    found, scalar = array.item(), array[()]
    if type(found) is str:
        found = _from_text(found)
        return Value("str", found) if type(found) is str else to_value(found) or Value("none", None)
    if type(found) is bytes:
        return Value("bytes", found.hex())
    is_number = (
        array.dtype.kind in "biufc" or array.dtype.isbuiltin == 2
    )  # ml_dtypes' say of themselves that they are V
    return (to_value(found) if is_number else None) or _from_scalar(scalar)  # type: ignore[arg-type]


def _from_text(text: str) -> Any:
    if not text.startswith(_JSON):
        return text
    try:
        node = decode_plain(text.encode())
    except ValueError:
        return text
    return from_value(node) if isinstance(node, Value) else text


def _from_int(value: int) -> int | str:
    return value if abs(value) < EXACT_INT else hex(value)


def _to_int(data: int | str) -> int:
    return data if isinstance(data, int) else int(data, 16)


def _from_float(value: float) -> float | str:
    return value if math.isfinite(value) else struct.pack(">d", value).hex()


def _to_float(data: float | str) -> float:
    return data if isinstance(data, float) else float(struct.unpack(">d", bytes.fromhex(data))[0])


def _from_bound(part: object) -> int | str | None:
    if part is None:
        return None
    if type(part) is not int:
        raise CaptureError(f"a slice may hold ints and None, not {type(part).__name__}")
    return _from_int(part)


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text)


def _from_scalar(value: np.generic) -> Value:
    data = value.tobytes()[: value.dtype.itemsize]  # of an empty text numpy gives a byte
    return Value("numpy", [dtypes.from_numpy(value.dtype), data.hex()])


def _to_scalar(name: str, data: str) -> np.generic:
    dtype, found = dtypes.to_numpy(name), bytes.fromhex(data)
    if dtype.itemsize != len(found):
        raise MismatchError(
            f"a numpy scalar of {dtype} has {dtype.itemsize} bytes, but the snapshot holds {len(found)}"
        )
    made: Any  # out of an array, texts would come without the zeros at their end
    if dtype.kind == "S":
        made = np.bytes_(found)
    elif dtype.kind == "U":
        made = np.str_(found.decode("utf-32-le" if dtype.isnative else "utf-32-be", "surrogatepass"))
    else:
        array = np.zeros((1,), dtype)
        if dtype.itemsize:
            array.view(np.uint8)[:] = np.frombuffer(found, np.uint8)
        made = array[0].copy() if dtype.kind == "V" else array[0]  # a record looks into the array it came from
    scalar: np.generic = made
    return scalar


def _from_torch(value: object) -> Value | None:
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    if isinstance(value, torch.Size):
        return Value("torch.Size", [int(size) for size in value])
    if isinstance(value, torch.dtype):
        return Value("torch.dtype", str(value).removeprefix("torch."))
    if isinstance(value, torch.device):
        return Value("torch.device", str(value))
    return None


def _to_torch(kind: str, data: Any) -> Any:
    torch = sys.modules.get("torch")
    if kind == "torch.Size":
        return tuple(data) if torch is None else torch.Size(data)
    if torch is None:
        return str(data)
    if kind == "torch.device":
        try:
            return torch.device(data)
        except RuntimeError:
            raise MismatchError(f"the snapshot names the device {data[:80]!r}, which torch does not know") from None
    found = getattr(torch, data, None)
    if not isinstance(found, torch.dtype):
        raise MismatchError(f"the snapshot names the dtype torch.{data[:80]}, which this torch does not have")
    return found
