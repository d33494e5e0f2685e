"""The entries of a header as a writer of holdfast writes them, read by pattern: several times as fast as by JSON.

A header may have tens of thousands of entries. Whatever does not look exactly so is left to the JSON parser, and
whatever does not fit to those who say what is wrong with it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from holdfast.snapshot import Json
from holdfast.state import arrays, dtypes
from holdfast.state.arrays import Bytes
from holdfast.state.encoding import check_shape
from holdfast.state.tree import Leaf

_NUMBER = "(?:0|[1-9][0-9]{0,17})"
_ENTRY = re.compile(
    r',"([^"\\\x00-\x1f]*)":\{"dtype":"([A-Z0-9_]{1,16})",'
    rf'"shape":\[((?:{_NUMBER}(?:,{_NUMBER})*)?)\],"data_offsets":\[({_NUMBER}),({_NUMBER})\]\}}'
)
_FRAME = len(',"":{"dtype":"","shape":[],"data_offsets":[,]}')

Rows = list[tuple[str, str, str, str, str]]
"""Of each entry its name, dtype, shape with "," between its numbers, begin and end."""


def find_rows(text: str, start: int) -> Rows | None:
    """The entries that a header's JSON ends with; None where that is not so.

    Args:
        start: where the first begins, with the comma in front of it.
    """
    rows: Rows = _ENTRY.findall(text, start)
    stop = start + sum([len("".join(row)) for row in rows]) + _FRAME * len(rows)
    if text[stop : stop + 1] != "}" or text[stop + 1 :].strip(" "):
        return None  # there is something else between them or behind them
    names = {row[0] for row in rows}
    return rows if len(names) == len(rows) and "__metadata__" not in names else None


def as_json(rows: Rows) -> dict[str, Json]:
    """What the JSON parser would have made of them."""
    return {
        name: {"dtype": dtype, "shape": _numbers(shape), "data_offsets": [int(begin), int(end)]}
        for name, dtype, shape, begin, end in rows
    }


def leaves_of(rows: Rows, data: Bytes) -> list[Leaf] | None:
    """One leaf for each; None where they do not stand one behind the other and fill the data part."""
    begins, ends = [int(row[3]) for row in rows], [int(row[4]) for row in rows]
    if not rows or begins != [0, *ends[:-1]] or ends[-1] != len(data):
        return None
    known: dict[tuple[str, str], tuple[tuple[int, ...], int]] = {}
    address, leaves = arrays.address_of(data), []
    for (name, dtype, text, _, _), begin, end in zip(rows, begins, ends, strict=True):
        found = known.get((dtype, text))
        if found is None:
            if dtype not in dtypes.ITEM_SIZES:
                return None
            shape, item_size = _numbers(text), dtypes.ITEM_SIZES[dtype]
            found = known[dtype, text] = tuple(shape), check_shape(shape, item_size) * item_size
        if end - begin != found[1]:
            return None
        leaves.append(Leaf(name, dtype, found[0], end - begin, data[begin:end], address and address + begin))
    return leaves


def _numbers(text: str) -> Sequence[int]:
    return [int(number) for number in text.split(",")] if text else []
