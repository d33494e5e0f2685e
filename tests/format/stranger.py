"""A reader of snapshot files that knows docs/format.md, json, struct, numpy and xxhash, and nothing of holdfast.

It checks what "How to read one" asks for, and gives back plain Python: dicts and lists where the file has them, a
`Node` for every kind that needs more.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import xxhash

PAGE = 4096
START = b'{"__metadata__":{"holdfast":"'
OWN_BITS = "BF16 F8_E4M3 F8_E5M2 F8_E8M0 F8_E4M3FNUZ F8_E5M2FNUZ".split()
SPELLINGS = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "I16": "<i2", "U16": "<u2", "F16": "<f2", "BF16": "V2", "I32": "<i4",
    "U32": "<u4", "F32": "<f4", "I64": "<i8", "U64": "<u8", "F64": "<f8", "C64": "<c8",
    **dict.fromkeys("F8_E4M3 F8_E5M2 F8_E8M0 F8_E4M3FNUZ F8_E5M2FNUZ".split(), "V1"),
    **dict.fromkeys(
        "int4 uint4 int2 uint2 float8_e4m3 float8_e3m4 float8_e4m3b11fnuz float6_e2m3fn float6_e3m2fn "
        "float4_e2m1fn".split(),
        "V1",
    ),
}  # fmt: skip
"""V stands for bits that numpy has no dtype for."""


class Wrong(Exception):
    """The file is not as the page says."""


@dataclass(frozen=True)
class Node:
    """A value that is more than JSON and arrays; `data` says what it is made of."""

    kind: str
    data: Any
    meta: Any = None


@dataclass
class Snapshot:
    """All that a file says."""

    facts: dict[str, Any]
    metadata: dict[str, Any]
    arrays: dict[str, np.ndarray]  # by the names of the entries and of the aliases
    dtypes: dict[str, str]  # of the same
    root: Any
    reserved: Any = None


def need(condition: bool, what: str) -> None:
    if not condition:
        raise Wrong(what)


def facts_of(page: bytes, size: int) -> dict[str, Any]:
    """The facts of a file from its first 4096 bytes."""
    need(len(page) == PAGE and page[8:37] == START, "no snapshot file")
    end = 89
    while page[end : end + 1] != b'"':
        need(end < PAGE, "the facts do not end")
        end += 2 if page[end : end + 1] == b"\\" else 1
    need(page[72:88].decode() == xxhash.xxh3_64_hexdigest(page[:39] + page[89:end]), "the facts' sum")
    need(page[37:38] == b"1", "another version")
    facts = json.loads(json.loads(b'"' + page[89:end] + b'"'))
    need(facts["size_bytes"] == size, "another size")
    facts["epoch"] = None if facts["epoch"] is None else number(facts["epoch"])
    facts["metrics"] = {name: number(metric) for name, metric in facts["metrics"].items()}
    return facts


def read(file: bytes) -> Snapshot:
    facts = facts_of(file[:PAGE], len(file))
    length = 8 + struct.unpack_from("<Q", file)[0]
    need(length % PAGE == 0 and length <= min(64 << 20, len(file)), "the length")
    header = file[:length]
    zeroed = header[:39] + b"0" * 32 + header[71:]
    need(header[39:71].decode() == xxhash.xxh3_128_hexdigest(zeroed), "the header's sum")
    entries = json.loads(header[8:])
    pairs = entries.pop("__metadata__")
    tree = json.loads(pairs["holdfast.tree"])
    blocks, offset = [], 0
    for number_, (name, entry) in enumerate(entries.items()):
        begin, end = entry["data_offsets"]
        need(begin == offset, "a hole")
        offset = end
        block = file[length + begin : length + end]
        digits = pairs["holdfast.checksums"][32 * number_ : 32 * number_ + 32]
        need(xxhash.xxh3_128_hexdigest(block) == digits, f"the checksum of {name}")
        dtype, shape = entry["dtype"], entry["shape"]
        if str(number_) in tree["dtypes"]:
            need(dtype == "U8", "a dtype of its own")
            dtype, shape = tree["dtypes"][str(number_)], shape[:-1]
        blocks.append((name, dtype, shape, block))
    need(offset == len(file) - length, "bytes behind the last entry")
    reader = Reader(blocks, json.loads(pairs["holdfast.values"]))
    root = reader.node(tree["root"])
    reserved = reader.node(tree["reserved"]) if "reserved" in tree else None
    need(reader.taken == len(reader.values), "values that nothing takes")
    arrays = {name: array_of(dtype, shape, block) for name, dtype, shape, block in blocks}
    dtypes = {name: dtype for name, dtype, _, _ in blocks}
    for name, kept in pairs.items():
        if not name.startswith("holdfast"):
            arrays[name], dtypes[name] = arrays[kept], dtypes[kept]
    return Snapshot(facts, json.loads(pairs["holdfast.metadata"]), arrays, dtypes, root, reserved)


def dtype_of(name: Any) -> np.dtype:
    """numpy's dtype of a name, or of a part of a structured one."""
    if isinstance(name, str) and name[:1] in ("{", "["):
        name = json.loads(name)
    if isinstance(name, str):
        return np.dtype(SPELLINGS.get(name, name))
    if isinstance(name, list):
        return np.dtype((dtype_of(name[0]), tuple(name[1])))
    fields = {"names": name["names"], "formats": [dtype_of(one) for one in name["formats"]]}
    return np.dtype({**fields, "offsets": name["offsets"], "itemsize": name["itemsize"]}, align=name["aligned"])


def array_of(dtype: str, shape: list[int], block: bytes) -> np.ndarray:
    found = dtype_of(dtype)
    if found.itemsize == 0 or not block:
        return np.ndarray(shape, found)
    row = np.zeros(len(block) // found.itemsize, found)
    row.view(np.uint8).reshape(-1)[:] = np.frombuffer(block, np.uint8)
    return row.reshape([*shape, *found.shape]) if found.subdtype else row.reshape(shape)


def number(found: Any) -> float:
    return struct.unpack(">d", bytes.fromhex(found))[0] if isinstance(found, str) else found


def integer(found: Any) -> int | None:
    return int(found, 16) if isinstance(found, str) else found


def text(digits: str) -> str:
    return bytes.fromhex(digits).decode("utf-8", "surrogatepass")


def value(found: Any) -> Any:
    if not isinstance(found, list):
        return found
    kind, data = found
    if kind == "int":
        return int(data, 16)
    if kind == "float":
        return number(data)
    if kind == "complex":
        return complex(number(data[0]), number(data[1]))
    if kind == "str":
        return text(data)
    if kind == "bytes":
        return bytes.fromhex(data)
    if kind == "range":
        return range(*[integer(part) for part in data])
    if kind == "slice":
        return slice(*[integer(part) for part in data])
    if kind == "numpy":
        return Node(kind, (data[0], bytes.fromhex(data[1])))
    need(kind in ("torch.Size", "torch.dtype", "torch.device"), f"the kind {kind}")
    return Node(kind, tuple(data) if isinstance(data, list) else data)


def key(found: Any) -> Any:
    if not isinstance(found, list):
        return found
    code, data = found
    if code == "t":
        return tuple(key(part) for part in data)
    if code == "s":
        return text(data)
    return {"i": integer, "f": number, "y": bytes.fromhex}[code](data)


class Reader:
    def __init__(self, blocks: list[tuple[str, str, list[int], bytes]], values: list[Any]) -> None:
        self.blocks = blocks
        self.values = values
        self.taken = 0

    def node(self, spec: Any) -> Any:
        if spec == 0:
            self.taken += 1
            return value(self.values[self.taken - 1])
        if spec[0] == "a":
            return self.array(*spec[1:])
        if spec[0] == "p":
            block = self.blocks[spec[1]][3]
            if spec[2] == "json":
                inner, values = json.loads(block)
                return Reader([], values).node(inner)
            return block if spec[2] == "bytes" else block.decode("utf-8")
        return self.branch(*spec)

    def array(self, entry: int, framework: str, view: Any = None) -> Node:
        name, dtype, shape, block = self.blocks[entry]
        if view is None:
            return Node(framework, (name, array_of(dtype, shape, block)))
        offset, dtype, shape, strides = view
        if 0 in shape:
            return Node(framework, (name, np.ndarray(shape, dtype_of(dtype))))
        return Node(framework, (name, np.ndarray(shape, dtype_of(dtype), block, offset, strides)))

    def branch(self, kind: str, keys: Any, children: Any, meta: Any = None) -> Any:
        nodes = [self.node(child) for child in ([0] * children if isinstance(children, int) else children)]
        names = range(len(nodes)) if keys is None else [key(one) for one in keys]
        if kind == "list":
            return nodes
        if kind == "dict":
            return dict(zip(names, nodes, strict=True))
        return Node(kind, list(zip(names, nodes, strict=True)), meta)
