"""Files that lie on purpose: endless, by a seed, each with its checksums made right again.

Snapshot files whose header says anything but the truth; npz archives whose directory or members do; and files of two
formats at once. What is drawn may by chance be harmless.
"""

from __future__ import annotations

import copy
import io
import json
import pickle
import random
import struct
import zipfile
from collections.abc import Callable, Container, Iterator
from typing import Any

import numpy as np

from format.archives import described, npy, npz, zip_of
from format.handmade import data_of, file_of, sealed, sealed_bytes, small_tree, spec_of
from holdfast.format.sums import PREFIX

FILE = file_of(small_tree())
SPEC, DATA = spec_of(FILE), data_of(FILE)
SPEC_TEXT = json.dumps(SPEC)  # a copy is read from it sooner than made
HEADER = FILE[PREFIX.size : len(FILE) - len(DATA)].rstrip(b" ")
DOCUMENTS = tuple(f"holdfast.{name}" for name in ("tree", "values", "metadata"))  # JSON in a text
ARRAYS: dict[str, Any] = {"a/W": np.arange(6.0).reshape(2, 3), "n": np.int64(3), "text": np.array("x"), "none": None}

Kind = Callable[[random.Random], bytes]


class Bomb:
    """What a pickle of it would run when it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, ("__import__('os').system('true')",)


def files(seed: int, names: Container[str] | None = None) -> Iterator[tuple[str, bytes]]:
    """What kind each is, and its bytes; only kinds of some names, where `names` is given."""
    chance = random.Random(seed)
    kinds = [kind for kind, weight in KINDS.items() for _ in range(weight) if names is None or name_of(kind) in names]
    while True:
        kind = chance.choice(kinds)
        yield name_of(kind), kind(chance)


def name_of(kind: Kind) -> str:
    """What it is called."""
    return kind.__name__.strip("_")


def _anything(chance: random.Random, depth: int = 0) -> Any:
    """A JSON value that is seldom what is wanted."""
    scalars: tuple[Any, ...] = (
        None, True, False, 0, -1, 1, 2, 7, 1 << 31, 1 << 53, (1 << 63) - 1, 1 << 63, 1 << 64, -(1 << 63), 10**30, 0.5,
        -0.0, 1e308, float("inf"), float("nan"), "", "x", "a", "dict", "list", "F32", "U8", "<c16", "|O", "../../x",
        "/etc/passwd", "\0", "\ud800", "W" * 300, "~shared/0", "~i0", "__class__", "w", "W", "n", "0x" + "f" * 50,
        "00" * 16, "torch.Tensor", "os.system",
    )  # fmt: skip
    if depth > 3 or chance.random() < 0.7:
        return chance.choice(scalars)
    if chance.random() < 0.5:
        return [_anything(chance, depth + 1) for _ in range(chance.randrange(4))]
    return {str(_anything(chance, 9)): _anything(chance, depth + 1) for _ in range(chance.randrange(3))}


def _changed(document: Any, chance: random.Random) -> Any:
    """A JSON document with something in it changed, left out, doubled or moved."""
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        if isinstance(node, dict | list):
            pairs = node.items() if isinstance(node, dict) else enumerate(node)
            for key, child in list(pairs):
                places.append((node, key))
                walk(child)

    walk(document)
    if not places or chance.random() < 0.02:
        return _anything(chance)
    node, key = chance.choice(places)
    deed = chance.random()
    if deed < 0.6:
        node[key] = _anything(chance)
    elif deed < 0.7:
        del node[key]
    elif deed < 0.8:
        other, at = chance.choice(places)
        node[key] = copy.deepcopy(other[at]) if at in other or (isinstance(other, list) and at < len(other)) else None
    elif isinstance(node, list):
        node.insert(key, copy.deepcopy(node[key]))
    else:
        node[str(_anything(chance, 9))] = node[key]
    return document


def _lying_header(chance: random.Random) -> bytes:
    spec = json.loads(SPEC_TEXT)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        name = chance.choice(DOCUMENTS)
        if chance.random() < 0.6 and spec["__metadata__"].get(name) == SPEC["__metadata__"][name]:
            spec["__metadata__"][name] = json.dumps(_changed(json.loads(SPEC["__metadata__"][name]), chance))
        else:
            first = spec["__metadata__"]["holdfast"]
            found = _changed(spec, chance)
            spec = found if isinstance(found, dict) else {"x": found}
            if not isinstance(spec.get("__metadata__"), dict):
                spec["__metadata__"] = dict(SPEC["__metadata__"])
            spec["__metadata__"]["holdfast"] = first  # the checksums stand in it
            if not all(isinstance(spec["__metadata__"].get(one, ""), str) for one in DOCUMENTS):
                break
    return sealed(spec, DATA)


def _lying_facts(chance: random.Random) -> bytes:
    names = ("step", "epoch", "metrics", "reason", "created_at", "run_id", "sequence", "role", "template", "name",
             "library", "size_bytes", "x")  # fmt: skip
    return sealed(SPEC, DATA, **{chance.choice(names): _anything(chance) for _ in range(chance.randrange(1, 3))})


def _lying_text(chance: random.Random) -> bytes:
    """What JSON itself forbids, or readers differ about."""
    at = chance.randrange(len(HEADER) // 2, len(HEADER))
    piece = chance.choice(
        (b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\", b"\0", b"\xff", b"\xed\xa0\x80", b"NaN", b"-Infinity", b"01",
         b"1e999", b"9" * 5000, b"[" * 60_000, b'{"a":' * 2000, b'"w":{},', b'"__metadata__":{},', b"//", b"'", b" ",
         HEADER[at // 2 : at])
    )  # fmt: skip
    text = HEADER[:at] + piece + HEADER[at + chance.choice((0, 0, 1, len(piece))) :]
    size = len(sealed_bytes(text, DATA))
    return sealed_bytes(text.replace(str(len(FILE)).encode(), str(size).encode(), 1), DATA)


def _many_entries(chance: random.Random) -> bytes:
    count = chance.choice((10, 1000, 5000))
    spec = json.loads(SPEC_TEXT)
    empty = {"dtype": "U8", "shape": [0], "data_offsets": [len(DATA)] * 2}
    spec.update({f"e{number}": empty for number in range(count)})
    return sealed(spec, DATA)


def _long_prefix(chance: random.Random) -> bytes:
    length = chance.choice(
        (0, 1, 4096, (64 << 20) - 8, 64 << 20, (1 << 31) - 1, 1 << 32, 1 << 62, 1 << 63, (1 << 64) - 1)
    )
    return struct.pack("<Q", length) + FILE[8 : chance.choice((8, 100, len(FILE)))]


def _two_formats(chance: random.Random) -> bytes:
    archive = npz({"a": np.zeros(3)})
    return chance.choice(
        (FILE + archive, archive + FILE, FILE[:4096] + archive, b"\x89HDF\r\n\x1a\n" + FILE, archive + b"\0" * 22,
         b"\x80\x04" + pickle.dumps(Bomb()), struct.pack("<Q", 2) + b"{}" + archive)
    )  # fmt: skip


def _plain_safetensors(chance: random.Random) -> bytes:
    spec = {"w": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}, "__metadata__": {"a": "b"}}
    text = json.dumps(_changed(spec, chance)).encode()
    return struct.pack("<Q", len(text)) + text + bytes(chance.choice((0, 11, 12, 13)))


def _lying_member(chance: random.Random) -> bytes:
    shapes = ((2,), (2,), (2,), (), (), (-1,), (1 << 40,), (1 << 63, 2), (2, 1 << 62, 0), [2], "x", (1.5,), (True,),
              ((),), (0,) * 70)  # fmt: skip
    descrs = ("<f8", "|O", "O", ">f4", "<M8[s]", "|V9999999", "<U536870911", [("a", "<i4")], [("a", "|O")],
              ("<f8", (2,)), [], {}, "os.system", [("a", [("b", "<i2")] * 3)], None)  # fmt: skip
    header = described(chance.choice(descrs), chance.choice(shapes), chance.choice((True, False, False, False, 1, "x")))
    if chance.random() < 0.2:
        header = chance.choice(
            ("{" * 500, "(" * 5000, "__import__('os').system('true')", header[:-3], header * 3, "9" * 9000)
        )
    content = npy(header, chance.choice((b"", bytes(16), pickle.dumps(Bomb()))), chance.choice((1, 2, 3)))
    if chance.random() < 0.2:
        content = pickle.dumps(Bomb())
    strange = ("../a.npy", "/a.npy", "a", "a/../../b.npy", "", "a\0.npy", "A" * 5000 + ".npy")
    name = "a.npy" if chance.random() < 0.5 else chance.choice(strange)
    method = chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    return zip_of({name: content, "b.npy": npy(described("<f8"), bytes(16))}, method)


def _lying_archive(chance: random.Random) -> bytes:
    file = bytearray(npz(ARRAYS | {"none": np.array(None)}, chance.random() < 0.5))
    signature = chance.choice((b"PK\3\4", b"PK\1\2", b"PK\5\6"))
    at = file.find(signature) + chance.randrange(4, 46)
    size = chance.choice((1, 2, 4))
    file[at : at + size] = chance.choice((bytes(size), b"\xff" * size, chance.randbytes(size)))
    return bytes(file[: chance.choice((len(file), len(file), chance.randrange(len(file))))])


def _zip_bomb(chance: random.Random) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", npy(described("|u1", (1 << 16,)), bytes(1 << 16)))
    file = bytearray(packed.getvalue())
    at = file.find(b"PK\1\2") + 24  # the unpacked size in the directory
    file[at : at + 4] = struct.pack("<I", chance.choice((1, 1 << 10, 1 << 20, (1 << 32) - 2)))
    return bytes(file)


KINDS: dict[Kind, int] = {
    _lying_header: 60, _lying_facts: 8, _lying_text: 10, _many_entries: 1, _long_prefix: 4, _two_formats: 3,
    _plain_safetensors: 6, _lying_member: 20, _lying_archive: 12, _zip_bomb: 1,
}  # fmt: skip
"""Each with how often it is drawn."""
