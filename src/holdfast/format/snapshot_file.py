"""A snapshot file's bytes -> its header, its tree and what each leaf's bytes must hash to. docs/format.md, reading.

Nothing is taken on trust: the header's sum is compared as bytes before any JSON is parsed, and a header whose sum is
right is still checked in full, so that whatever is wrong with a file is one of holdfast's own errors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from holdfast.errors import UnknownFormatError
from holdfast.format.checking import Sums
from holdfast.format.entries import leaves_of
from holdfast.format.prefix import header_damage, header_length
from holdfast.format.safetensors_file import read_entry
from holdfast.format.sums import HEADER_SUM, PAGE, PREFIX, header_sum
from holdfast.snapshot import Json
from holdfast.state import arrays, dtypes
from holdfast.state.arrays import Bytes
from holdfast.state.encoding import check_shape, collector_paused, decode, loads
from holdfast.state.strictjson import loads_beginning, shorten
from holdfast.state.tree import Leaf, StateTree

T = TypeVar("T")

OWN = "holdfast"  # the first letters of holdfast's own keys; every other pair is a tied array's further name
_BEGINNING = '{"__metadata__":'
_PAIRS_AT = len(_BEGINNING)


@dataclass(frozen=True, slots=True)
class Header:
    """A header that matches its sum, its JSON parsed and not looked at yet, but for entries as a writer writes them."""

    where: str
    length: int  # bytes, length prefix included; the data part follows
    pairs: dict[str, Json]  # what stands under "__metadata__"
    entries: dict[str, Json] | list[Leaf]  # every other entry, in file order, or the leaves that they tell of


def read_header(memory: Bytes, where: str) -> Header:
    """The header of a file that begins as a snapshot file does.

    Args:
        memory: the whole file.
        where: what messages call it.
    Raises:
        DamagedError: it is cut off, or does not match its sum.
    """
    length = header_length(memory[:PAGE].tobytes(), len(memory), where)
    raw = memory[:length].tobytes()
    if raw[HEADER_SUM] != header_sum(raw):
        raise header_damage(where, length, "does not match its checksum")

    def parse() -> Header:
        text = raw[PREFIX.size :].decode()
        found = loads_beginning(text, _PAIRS_AT) if text.startswith(_BEGINNING) else None
        if found is not None and type(found[0]) is dict:
            leaves = leaves_of(text, found[1], memory[length:])
            if leaves is not None:
                return Header(where, length, found[0], leaves)
        spec = loads(text)
        pairs = spec.pop("__metadata__") if type(spec) is dict else None
        if type(pairs) is not dict:
            raise ValueError("it is no object with another under '__metadata__'")
        return Header(where, length, pairs, spec)

    with collector_paused():
        return _checked(where, length, parse)


def read_metadata(header: Header) -> dict[str, Json]:
    """What the user stored beside the state.

    Raises:
        DamagedError: it is no JSON object.
    """

    def parse() -> dict[str, Json]:
        metadata: Json = loads(_text(header, "metadata"))
        if type(metadata) is not dict:
            raise ValueError("the metadata is no object")
        return metadata

    return _checked(header.where, header.length, parse)


def read_tree(header: Header, memory: Bytes) -> tuple[StateTree, Sums]:
    """The tree over the bytes of the file, which are not looked at; and what every leaf must hash to, in file order.

    Raises:
        DamagedError: the header is not as a writer writes it.
        UnknownFormatError: it names a dtype that holdfast does not know.
    """
    with collector_paused():
        return _checked(header.where, header.length, lambda: _read_tree(header, memory))


def _checked(where: str, length: int, parse: Callable[[], T]) -> T:
    try:
        return parse()
    except UnknownFormatError as error:
        raise UnknownFormatError(f"{where}: {error}; it may be from a newer holdfast, upgrade to read it") from None
    except ValueError as error:
        raise header_damage(where, length, f"matches its checksum, but is not as holdfast writes it: {error}") from None


def _read_tree(header: Header, memory: Bytes) -> tuple[StateTree, Sums]:
    structure, values = loads(_text(header, "tree")), loads(_text(header, "values"))
    if type(structure) is not dict or type(structure.get("dtypes")) is not dict:
        raise ValueError("the tree is no object with dtypes")
    logical, entries = structure.pop("dtypes"), header.entries
    leaves = entries if isinstance(entries, list) else _leaves(entries, memory[header.length :])
    if logical:
        leaves = _relabelled(leaves, logical)
    digests = _digests(_text(header, "checksums"), len(leaves))
    tree = decode(structure, values, leaves)
    tied = {name: kept for name, kept in tree.aliases().items() if not name.startswith(OWN)}
    if tied != {name: kept for name, kept in header.pairs.items() if not name.startswith(OWN)}:
        raise ValueError("the pairs of names are not the tied arrays of the tree")
    return tree, Sums(header.length, leaves, digests)


def _text(header: Header, name: str) -> str:
    text = header.pairs.get(f"{OWN}.{name}")
    if type(text) is not str:
        raise ValueError(f"there is no text under '{OWN}.{name}'")
    return text


def _leaves(entries: dict[str, Json], data: Bytes) -> list[Leaf]:
    """One a entry; they stand one behind the other and fill the data part."""
    leaves, offset, size = [], 0, len(data)
    address = arrays.address_of(data)
    for name, spec in entries.items():
        dtype, shape, start, end = read_entry(name, spec)
        if len(spec) != 3:
            raise ValueError(f"the entry {shorten(name)} has further keys")
        if start != offset:
            raise ValueError(f"the entry {shorten(name)} begins at {start}, the one before it ends at {offset}")
        if end > size:
            raise ValueError(f"the entry {shorten(name)} ends at {end}, the data part at {size}")
        offset = end
        leaves.append(Leaf(name, dtype, shape, end - start, data, address and address + start, start))
    if offset != size:
        raise ValueError(f"the entries end at {offset}, the data part at {size}")
    return leaves


def _relabelled(leaves: list[Leaf], logical: dict[str, Json]) -> list[Leaf]:
    """The same leaves, some with the dtype and shape that safetensors cannot tell."""
    found = list(leaves)
    for number, leaf in enumerate(leaves):
        if str(number) in logical:
            dtype, shape = _logical(leaf.path, leaf.dtype, leaf.shape, logical.pop(str(number)))
            found[number] = Leaf(leaf.path, dtype, shape, leaf.nbytes, leaf.holder, leaf.address, leaf.start)
    if logical:
        raise ValueError(f"there are dtypes for leaves that do not exist: {list(logical)[:4]}")
    return found


def _logical(name: str, dtype: str, shape: tuple[int, ...], wanted: Json) -> tuple[str, tuple[int, ...]]:
    """dtype and shape of a leaf whose dtype safetensors lacks: its items are rows of bytes there."""
    if type(wanted) is not str or wanted in dtypes.ITEM_SIZES:
        raise ValueError(f"the dtype of {shorten(name)} is {shorten(wanted)}")
    size = dtypes.item_size(wanted)
    if dtype != "U8" or shape[-1:] != (size,):
        raise ValueError(f"the entry {shorten(name)} does not end in rows of the {size} bytes of {shorten(wanted)}")
    check_shape(list(shape[:-1]), size)
    return wanted, shape[:-1]


def _digests(text: str, count: int) -> bytes:
    raw = bytes.fromhex(text) if len(text) == 32 * count else None
    if raw is None or raw.hex() != text:  # fromhex() takes capitals and spaces as well
        raise ValueError(f"the checksums are not 32 hex digits for each of {count} leaves")
    return raw
