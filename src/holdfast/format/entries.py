"""The entries of a header as a writer of holdfast writes them, read by pattern: several times as fast as by JSON.

A header may have tens of thousands of entries. Whatever does not look exactly so is left to the JSON parser, and
whatever does not fit to those who say what is wrong with it.
"""

from __future__ import annotations

import re

from holdfast.state import arrays, dtypes
from holdfast.state.arrays import Bytes
from holdfast.state.encoding import check_shape
from holdfast.state.tree import Leaf

_NUMBER = "(?:0|[1-9][0-9]{0,17})"
_ENTRY = re.compile(
    r',"([^"\\\x00-\x1f]*)":\{"dtype":"([A-Z0-9_]*","shape":\[[0-9,]*)\],'
    rf'"data_offsets":\[({_NUMBER}),({_NUMBER})\]\}}'
)
_KIND = re.compile(rf'([A-Z0-9_]{{1,16}})","shape":\[((?:{_NUMBER}(?:,{_NUMBER})*)?)')


def leaves_of(text: str, start: int, data: Bytes) -> list[Leaf] | None:
    """One leaf for each entry that a header's JSON ends with; None where there is anything else, and where they do not
    stand one behind the other and fill the data part.

    Args:
        start: where the first entry begins, with the comma in front of it.
        data: what the leaves look into.
    """
    kinds: dict[str, tuple[str, tuple[int, ...], int]] = {}
    address, leaves = arrays.address_of(data), []
    begin, last = 0, "0"
    for found in _ENTRY.finditer(text, start):  # one by one: tens of thousands of short strings would scatter in memory
        name, kind, first, stop = found.groups()
        if first != last or found.start() != start:
            return None
        about = kinds.get(kind)
        if about is None:
            about = _about(kind)
            if about is None:
                return None
            kinds[kind] = about
        dtype, shape, size = about
        end = int(stop)
        if end - begin != size:
            return None
        leaves.append(Leaf(name, dtype, shape, size, data, address and address + begin, begin))
        begin, last, start = end, stop, found.end()
    if text[start : start + 1] != "}" or text[start + 1 :].strip(" ") or begin != len(data):
        return None
    names = {leaf.path for leaf in leaves}
    return leaves if len(names) == len(leaves) and "__metadata__" not in names else None


def _about(kind: str) -> tuple[str, tuple[int, ...], int] | None:
    """The dtype, shape and bytes that an entry tells of; None where another has to say what is wrong with them."""
    found = _KIND.fullmatch(kind)
    if found is None or found[1] not in dtypes.ITEM_SIZES:
        return None
    shape = [int(number) for number in found[2].split(",")] if found[2] else []
    try:
        count = check_shape(shape, dtypes.ITEM_SIZES[found[1]])
    except ValueError:
        return None
    return found[1], tuple(shape), count * dtypes.ITEM_SIZES[found[1]]
