"""JSON as every reader understands it: what a strict parser refuses is neither written nor read."""

from __future__ import annotations

import gc
import json
import math
import re
import reprlib
from collections import Counter
from contextlib import suppress

from holdfast.snapshot import Json

MAX_NESTING = 576  # brackets inside one another: 128 branches, a key or the metadata in the innermost

_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]')
_SHORT = reprlib.Repr()
_SHORT.maxlist = _SHORT.maxdict = 4
_SHORT.maxlevel = 3
_SHORT.maxstring = _SHORT.maxlong = _SHORT.maxother = 60


def dumps(value: Json) -> str:
    """Compact ASCII JSON.

    Raises:
        ValueError: `value` holds a NaN or an infinity.
    """
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def loads(text: str | bytes) -> Json:
    """Strict JSON, with the garbage collector paused: it would run again and again over what is only growing.

    Raises:
        ValueError: it is no UTF-8 or no JSON, nests too deeply, names a key twice, or has a NaN or an infinity.
        RecursionError: the caller's stack left no room for what is no deeper than it may be.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8")
    try:
        with collector_paused():
            return _DECODER.decode(text)
    except RecursionError:
        if _nesting(text) <= MAX_NESTING:
            raise  # says nothing about the text
        raise ValueError("its JSON is nested too deeply") from None


def loads_beginning(text: str, start: int) -> tuple[Json, int] | None:
    """The JSON that begins at a place of a text, and where it ends; None where `loads` is to say what is wrong."""
    with collector_paused(), suppress(ValueError, RecursionError):
        found: tuple[Json, int] = _DECODER.raw_decode(text, start)
        return found
    return None


def _nesting(text: str) -> int:
    """How many brackets stand inside one another."""
    depth = deepest = 0
    for found in _BRACKET.finditer(text):
        if found.group() in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif found.group() in "]}":
            depth -= 1
    return deepest


def shorten(value: Json) -> str:
    """What was found, for a message; a file may hold anything, of any length."""
    return _SHORT.repr(value)


def is_unicode(text: str) -> bool:
    """Whether there is no surrogate in it: a JSON reader joins two of them into one character."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class collector_paused:
    """No garbage collection inside; afterwards as before. A class, as it stands around parsing that takes 10 us."""

    def __enter__(self) -> None:
        self._enabled = gc.isenabled()
        gc.disable()

    def __exit__(self, *error: object) -> None:
        if self._enabled:
            gc.enable()


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise ValueError(f"its JSON has the key {twice[:80]!r} twice")
    return found


def _refuse_constant(text: str) -> Json:
    raise ValueError(f"its JSON holds {text}")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"its JSON holds {text[:40]}, which no float64 holds")
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite)
