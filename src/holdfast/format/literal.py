"""The Python literals of which a .npy header is made, read without Python's compiler.

`ast.literal_eval` runs nothing either, but it compiles: whoever watches a process for code that comes out of a file
could not tell. Read are dicts, tuples, lists, texts, whole numbers, True, False and None; nothing else stands in such a
header.
"""

from __future__ import annotations

import re
from typing import Any

MAX_DEPTH = 64
MAX_DIGITS = 20  # of a number: none of an array that exists has more

_TOKEN = re.compile(
    r"""\s*(?:(?P<mark>[()\[\]{},:])|(?P<number>[-+]?[0-9]+)L?(?![\w.])|(?P<name>True|False|None)\b"""
    r"""|[uU]?(?P<text>'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"))"""
)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[\\'\"abfnrtv])")
_CONTROLS = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_NAMES = {"True": True, "False": False, "None": None}
_CLOSING = {"(": ")", "[": "]", "{": "}"}


def parse(text: str) -> Any:
    """The value that a text stands for. Python 2's long numbers, such as 3L, are read as well.

    Raises:
        ValueError: it is no such literal, or one of these is nested deeper than MAX_DEPTH, too long, or a key twice.
    """
    tokens = _Tokens(text)
    value = _value(tokens, 0)
    tokens.end()
    return value


class _Tokens:
    """The tokens of a text, one at a time."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def next(self) -> tuple[str, str]:
        """The kind of the next one, and what stands there."""
        found = _TOKEN.match(self._text, self._at)
        if found is None:
            raise ValueError(f"its header is no literal at {self._text[self._at : self._at + 20]!r}")
        self._at = found.end()
        kind = str(found.lastgroup)
        return kind, found[kind]

    def take(self, mark: str) -> bool:
        """Whether the next one is this mark, which is then behind."""
        found = _TOKEN.match(self._text, self._at)
        if found is None or found["mark"] != mark:
            return False
        self._at = found.end()
        return True

    def end(self) -> None:
        """Nothing may follow."""
        if self._text[self._at :].strip():
            raise ValueError(f"its header goes on with {self._text[self._at : self._at + 20]!r}")


def _value(tokens: _Tokens, depth: int) -> Any:
    kind, found = tokens.next()
    if kind == "number":
        if len(found) > MAX_DIGITS:
            raise ValueError(f"its header has a number of {len(found)} digits")
        return int(found)
    if kind == "name":
        return _NAMES[found]
    if kind == "text":
        return _unescaped(found[1:-1])
    if found not in _CLOSING:
        raise ValueError(f"its header has {found!r} where a value should be")
    if depth >= MAX_DEPTH:
        raise ValueError(f"its header is nested deeper than {MAX_DEPTH} times")
    return _collection(tokens, found, depth + 1)


def _collection(tokens: _Tokens, opening: str, depth: int) -> Any:
    closing, items, pairs = _CLOSING[opening], list[Any](), dict[Any, Any]()
    commas = 0
    while not tokens.take(closing):
        if len(items) > commas:
            raise ValueError("its header lacks a comma")
        item = _value(tokens, depth)
        items.append(item)
        if opening == "{":
            if not tokens.take(":") or not isinstance(item, str) or item in pairs:
                raise ValueError("its header has a dict that is none, or one of its keys twice")
            pairs[item] = _value(tokens, depth)
        commas += tokens.take(",")
    if opening == "{":
        return pairs
    if opening == "(":
        return items[0] if len(items) == 1 and not commas else tuple(items)
    return items


def _unescaped(text: str) -> str:
    def one(found: re.Match[str]) -> str:
        code = found[1]
        return chr(int(code[1:], 16)) if code[0] in "xuU" else _CONTROLS.get(code, code)

    plain = _ESCAPE.sub(one, text)
    if "\\" in _ESCAPE.sub("", text):
        raise ValueError("its header has an escape that is none")
    return plain
