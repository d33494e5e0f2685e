"""Whether some bytes are numpy's pickle of array(None, dtype=object), which is how Chainer stores None.

The opcodes are compared with those that pickle writes for exactly this array, and nothing is executed.
"""

from __future__ import annotations

import pickletools
from collections.abc import Iterable
from typing import Any

MAX_SIZE = 512  # bytes; the longest known has 191


def _none_array(module: str, false: Any, true: Any) -> tuple[Any, ...]:
    return (
        ("global", module, "_reconstruct"),
        ("global", "numpy", "ndarray"), ("int", 0), "TUPLE1", ("bytes", b"b"), "TUPLE3", "REDUCE",
        "MARK", ("int", 1), "EMPTY_TUPLE",
        ("global", "numpy", "dtype"), ("str", "O8"), false, true, "TUPLE3", "REDUCE",
        "MARK", ("int", 3), ("str", "|"), "NONE", "NONE", "NONE", ("int", -1), ("int", -1), ("int", 63), "TUPLE",
        "BUILD", "NEWFALSE", "EMPTY_LIST", "NONE", "APPEND", "TUPLE", "BUILD", "STOP",
    )  # fmt: skip


_ALLOWED = frozenset(
    _none_array(module, false, true)
    for module in ("numpy.core.multiarray", "numpy._core.multiarray")  # renamed in numpy 2
    for false, true in (("NEWFALSE", "NEWTRUE"), (("int", 0), ("int", 1)))  # the second in old versions of numpy
)
_BYTES_AS_TEXT = (("global", "_codecs", "encode"), ("str", "b"), ("str", "latin1"), "TUPLE2", "REDUCE")
"""b"b" in protocol 2, which has no bytes."""

_INTS = frozenset(("BININT", "BININT1", "BININT2"))
_TEXTS = frozenset(("BINUNICODE", "SHORT_BINUNICODE"))
_PROTO, _LAST_PROTOCOL = 0x80, 5
_FRAME_SIZE = 9  # bytes of the opcode and its length


def is_pickled_none(payload: bytes) -> bool:
    """Whether `payload` is that pickle, of protocol 2 to 5, from numpy 1 or 2, and nothing beside it."""
    if not 2 <= len(payload) <= MAX_SIZE or payload[0] != _PROTO or not 2 <= payload[1] <= _LAST_PROTOCOL:
        return False
    if b"\\" in payload:  # pickletools would warn of an unknown escape
        return False
    try:
        tokens, end = _tokens(payload)
    except (ValueError, IndexError, KeyError):
        return False
    return end == len(payload) and tokens in _ALLOWED


def _tokens(payload: bytes) -> tuple[tuple[Any, ...], int]:
    """The opcodes that push or build something, texts joined to the names they make; and where STOP ends.

    Raises:
        ValueError, IndexError, KeyError: it is no pickle, or one of no interest here.
    """
    found: list[Any] = []
    memo: dict[int, Any] = {}
    end = 0
    operations: Iterable[tuple[Any, Any, Any]] = pickletools.genops(payload)
    for opcode, argument, at in operations:
        name, end = opcode.name, at + 1
        if (name == "PROTO" and at == 0) or (name == "FRAME" and argument == len(payload) - at - _FRAME_SIZE):
            continue
        if name in ("MEMOIZE", "BINPUT", "LONG_BINPUT"):
            memo[len(memo) if name == "MEMOIZE" else argument] = found[-1]
            if found[-1] == "MARK":
                raise ValueError("there is nothing to remember")
        elif name in ("BINGET", "LONG_BINGET"):
            found.append(("str", _text(memo[argument])))
        elif name in _INTS:
            found.append(("int", argument))
        elif name in _TEXTS:
            found.append(("str", argument))
        elif name == "SHORT_BINBYTES":
            found.append(("bytes", argument))
        elif name == "GLOBAL":
            found.append(("global", *argument.split(" ")))
        elif name == "STACK_GLOBAL":
            attribute, module = _text(found.pop()), _text(found.pop())
            found.append(("global", module, attribute))
        else:
            found.append(name)
        if tuple(found[-5:]) == _BYTES_AS_TEXT:
            found[-5:] = [("bytes", b"b")]
    return tuple(found), end


def _text(token: Any) -> str:
    if token[0] != "str":
        raise ValueError("no other object is remembered, or names a global")
    return str(token[1])
