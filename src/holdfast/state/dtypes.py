"""The names of dtypes, the same for every framework.

A dtype that safetensors knows has its name there ("F32", "BF16", ...). Every other one has numpy's own spelling
(">f4", "<c16", "<M8[ns]", "<U7"; a structured one its `descr` as JSON), or ml_dtypes' ("float8_e4m3b11fnuz", "int4").
"""

from __future__ import annotations

import json
import sys
from functools import lru_cache
from typing import Any

import numpy as np

from holdfast.errors import CaptureError, UnknownFormatError

ITEM_SIZES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "F8_E4M3FNUZ": 1, "F8_E5M2FNUZ": 1,
    "I16": 2, "U16": 2, "F16": 2, "BF16": 2, "I32": 4, "U32": 4, "F32": 4, "F64": 8, "I64": 8, "U64": 8, "C64": 8,
}  # fmt: skip
"""Every safetensors dtype that a whole number of bytes holds, with that number. Source: safetensors 0.8."""

_NUMPY = {
    "BOOL": "|b1", "U8": "|u1", "I8": "|i1", "I16": "<i2", "U16": "<u2", "F16": "<f2", "I32": "<i4", "U32": "<u4",
    "F32": "<f4", "F64": "<f8", "I64": "<i8", "U64": "<u8", "C64": "<c8",
}  # fmt: skip
_ML_DTYPES = {
    "BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
}  # fmt: skip
_ML_ONLY = {
    "float8_e4m3b11fnuz", "float8_e4m3", "float8_e3m4", "int4", "uint4", "int2", "uint2", "float4_e2m1fn",
    "float6_e2m3fn", "float6_e3m2fn",
}  # fmt: skip
_FROM_NUMPY = {spelling: name for name, spelling in _NUMPY.items()}
_FROM_ML = {spelling: name for name, spelling in _ML_DTYPES.items()}
_KINDS = frozenset("biufcmMSUV")
MAX_NAME = 65536  # characters; a structured dtype may be long


def from_numpy(dtype: np.dtype[Any]) -> str:
    """The name of a numpy dtype.

    Raises:
        CaptureError: it holds Python objects, or is of an extension that is not known here.
    """
    if dtype.hasobject:
        raise CaptureError(f"dtype {dtype} holds Python objects, whose bytes are addresses")
    if dtype.names is not None or dtype.subdtype is not None:
        name = json.dumps(_describe(dtype), separators=(",", ":"))
        if len(name) > MAX_NAME or to_numpy(name) != dtype:
            raise CaptureError(f"dtype {str(dtype)[:200]} cannot be written down exactly")
        return name
    if dtype.name in _FROM_ML or dtype.name in _ML_ONLY:
        if not dtype.isnative:
            raise CaptureError(f"dtype {dtype} has its bytes swapped, which its name could not say")
        return _FROM_ML.get(dtype.name, str(dtype.name))
    if dtype.kind not in _KINDS or (dtype.kind == "V" and not dtype.str.startswith("|V")):
        raise CaptureError(f"dtype {dtype} is not one of numpy's own or ml_dtypes'")
    return _FROM_NUMPY.get(dtype.str, str(dtype.str))


def _describe(dtype: np.dtype[Any]) -> Any:
    """JSON for a dtype: a name, [base, shape], or {"names", "formats", "offsets", "itemsize", "aligned"}."""
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return [_describe(base), list(shape)]
    if dtype.names is None:
        return from_numpy(dtype)
    fields = [dtype.fields[name] for name in dtype.names]  # type: ignore[index]
    if any(len(field) > 2 for field in fields):
        raise CaptureError(f"dtype {dtype} has titles, which are not kept")
    return {
        "names": list(dtype.names),
        "formats": [_describe(field[0]) for field in fields],
        "offsets": [field[1] for field in fields],
        "itemsize": dtype.itemsize,
        "aligned": dtype.isalignedstruct,
    }


@lru_cache(maxsize=1024)
def to_numpy(name: str) -> np.dtype[Any]:
    """The numpy dtype of a name; the file that the name came from need not be trusted.

    Raises:
        UnknownFormatError: no such dtype, or it needs the package ml_dtypes, which is not installed.
    """
    if name in _NUMPY:
        return np.dtype(_NUMPY[name])
    if name in _ML_DTYPES or name in _ML_ONLY:
        return _ml_dtype(_ML_DTYPES.get(name, name))
    if len(name) > MAX_NAME:
        raise UnknownFormatError(f"a dtype of {len(name)} characters is not one that holdfast writes")
    try:
        dtype = _parse(json.loads(name)) if name.startswith(("{", "[")) else _parse_plain(name)
    except (TypeError, ValueError, KeyError, RecursionError, OverflowError, MemoryError) as error:
        raise UnknownFormatError(f"{name[:80]!r} is no dtype that holdfast knows ({error})") from None
    return dtype


def _parse_plain(name: str) -> np.dtype[Any]:
    """numpy's own spelling: byte order, kind letter, size; a unit for times. Nothing else that numpy would accept."""
    order, kind, rest = name[:1], name[1:2], name[2:]
    digits = rest.split("[")[0] if kind in "mM" else rest
    if order not in "<>|" or kind not in _KINDS or not (digits.isascii() and digits.isdigit()):
        raise ValueError("want byte order, kind and size, as in '>f4'")
    return np.dtype(name)


def _parse(spec: Any) -> np.dtype[Any]:
    if isinstance(spec, str):
        return to_numpy(spec)
    if isinstance(spec, list):
        base, shape = spec
        return np.dtype((_parse(base), tuple(_list_of(int, shape))))
    return np.dtype(
        {
            "names": _list_of(str, spec["names"]),
            "formats": [_parse(part) for part in _list_of((str, list, dict), spec["formats"])],
            "offsets": _list_of(int, spec["offsets"]),
            "itemsize": _list_of(int, [spec["itemsize"]])[0],
        },
        align=_list_of(bool, [spec["aligned"]])[0],
    )


def _list_of(kinds: type | tuple[type, ...], spec: Any) -> list[Any]:
    wanted = kinds if isinstance(kinds, tuple) else (kinds,)
    if type(spec) is not list or any(type(part) not in wanted for part in spec):
        raise ValueError(f"a part of it is {spec!r:.40}")
    return spec


def _ml_dtype(spelling: str) -> np.dtype[Any]:
    try:
        import ml_dtypes
    except ModuleNotFoundError:
        raise UnknownFormatError(
            f"numpy has no {spelling}: install ml_dtypes, or load with framework='torch'"
        ) from None
    dtype: np.dtype[Any] = np.dtype(getattr(ml_dtypes, spelling))
    return dtype


def item_size(name: str) -> int:
    """Bytes that one element takes.

    Raises:
        UnknownFormatError: no such dtype.
    """
    if name in ITEM_SIZES:
        return ITEM_SIZES[name]
    if name in _ML_ONLY:
        return 1
    return to_numpy(name).itemsize


assert sys.byteorder == "little", "holdfast writes memory as it lies, in little-endian files"
