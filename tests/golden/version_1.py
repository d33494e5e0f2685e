"""What the golden file of format version 1 holds: every kind of node, value, key and dtype. Frozen with the file."""

from __future__ import annotations

from datetime import datetime, timezone

import numpy as np

from format.handmade import Seed, array, branch, grow, memory, packed, value, window
from holdfast.format.prefix import Facts
from holdfast.state.encoding import encode_plain
from holdfast.state.tree import StateTree

FACTS = Facts(
    step=7,
    epoch=float("inf"),
    metrics={"loss": 0.25, "accuracy": -0.0, "gone": float("nan")},
    reason="trigger",
    created_at=datetime(2026, 11, 24, 12, 34, 56, 789, timezone.utc),
    run_id="0123456789abcdef0123456789abcdef",
    sequence=3,
    role="trainer",
    template="snapshot_iter_{.updater.iteration}",
    name='model/"é"\udcff.safetensors',
    library="0.1.0",
)
METADATA = {"note": "é", "rows": [1, 2.5, None, True, {"deep": []}]}

NUMBERS = np.arange(6)
ONE_BYTE = "F8_E4M3 F8_E5M2 F8_E8M0 F8_E4M3FNUZ F8_E5M2FNUZ int4 uint4 int2 uint2 float8_e4m3 float8_e3m4".split()
ONE_BYTE += "float8_e4m3b11fnuz float6_e2m3fn float6_e3m2fn float4_e2m1fn".split()

ARRAYS = {
    "bool": np.array([True, False]),
    **{str(np.dtype(kind)): NUMBERS.astype(kind) for kind in "u1 i1 u2 i2 u4 i4 u8 i8 f2 f4 f8 c8 c16".split()},
    **{"big " + str(np.dtype(kind)): NUMBERS.astype(">" + kind) for kind in "u2 i4 f4 f8 c8".split()},
    "time": np.array(["2030-01-01", "NaT"], "M8[ns]"),
    "span": np.array([[1], [-1]], ">m8[25us]"),
    "text": np.array(["a", "é😀"]),
    "bytes": np.array([b"ab", b""]),
    "void": np.array([b"xyz"], "V3"),
    "structure": np.array([(1.5, [1, 2]), (2.5, [3, 4])], np.dtype([("a", "<f4"), ("é", ">i2", (2,))], align=True)),
    "nested": np.zeros(2, [("in", [("t", "M8[s]"), ("c", "<c16")]), ("s", "S5")]),
    "none in it": np.zeros((0, 3)),
    "one": np.array(7.5),
    "no bytes": np.ndarray((3,), "S0"),
    "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
}
"""Whose dtype numpy has."""

BITS = {name: (np.arange(3, dtype=np.uint8), name) for name in ONE_BYTE} | {
    "BF16": (np.arange(3, dtype=np.uint16), "BF16")
}
"""Whose dtype numpy has not."""

SPANNED = bytes(range(32))

VALUES: dict[str, Seed] = {
    "none": value("none", None),
    "true": value("bool", True),
    "int": value("int", -5),
    "most exact": value("int", (1 << 53) - 1),
    "big": value("int", hex(-(1 << 200))),
    "float": value("float", 1.0),
    "minus zero": value("float", -0.0),
    "smallest": value("float", 5e-324),
    "nan": value("float", "7ff8000000000001"),
    "infinity": value("float", "fff0000000000000"),
    "complex": value("complex", [1.5, "7ff0000000000000"]),
    "str": value("str", 'é "\\/\u2028😀'),
    "surrogates": value("str", "a\ud83d\ude00"),
    "bytes": value("bytes", "00ff"),
    "range": value("range", [0, "0x20000000000000", -1]),
    "slice": value("slice", [None, 5, None]),
    "scalar": value("numpy", ["F32", "0000c03f"]),
    "complex scalar": value("numpy", ["<c16", "00" * 16]),
    "size": value("torch.Size", [2, 3]),
    "dtype": value("torch.dtype", "bfloat16"),
    "device": value("torch.device", "cuda:1"),
}

KEYS = {
    "": value("int", 0),
    "a/b~c": value("int", 1),
    "__own": value("int", 2),
    "\ud800": value("int", 3),
    5: value("int", 4),
    True: value("int", 5),
    None: value("int", 6),
    2.5: value("int", 7),
    float("inf"): value("int", 8),
    1 << 60: value("int", 9),
    b"\x00k": value("int", 10),
    (1.0, ("x", b"y"), ()): array(np.array([11])),
}


def every_kind() -> StateTree:
    tied = array(np.arange(4, dtype=np.float32).reshape(2, 2), "torch")
    common = memory(SPANNED)
    long = branch("list", [value("int", n) for n in range(300)])("")
    branches = {
        "OrderedDict": branch("OrderedDict", {"z": value("int", 1), "a": value("int", 2)}),
        "Counter": branch("Counter", {"x": value("int", 3)}),
        "defaultdict": branch("defaultdict", {1: branch("list", [])}),
        "list": branch("list", [value("int", 1), branch("list", [value("none", None)])]),
        "tuple": branch("tuple", [tied, value("int", 1)]),
        "deque": branch("deque", [value("int", 1)]),
        "short deque": branch("deque", [value("int", 1)], 5),
        "set": branch("set", [value("int", 1), value("int", 2)]),
        "frozenset": branch("frozenset", []),
        "namedtuple": branch("namedtuple", {"mu": array(np.zeros(2), "jax"), "nu": value("int", 1)}),
        "dataclass": branch("dataclass", {"rate": value("float", 0.1)}),
        "pytree": branch("pytree", {"weight": array(np.ones(2), "jax")}),
        "enum": branch("enum", {"value": value("str", "a")}),
        "random": branch(
            "random.Random",
            {
                "version": value("int", 3),
                "words": array(np.arange(625, dtype=np.uint32)),
                "gauss": value("none", None),
            },
        ),
        "generator": branch("numpy.Generator", {"state": branch("dict", {"has_uint32": value("int", 0)})}, "PCG64"),
        "state": branch("numpy.RandomState", {"state": branch("dict", {"pos": value("int", 624)})}, "MT19937"),
        "torch": branch("torch.Generator", {"state": array(np.arange(16, dtype=np.uint8), "torch")}, "cpu"),
        "key": branch("jax.key", {"data": array(np.array([0, 42], np.uint32), "jax")}, "threefry2x32"),
        "untyped": branch("untyped", {"a/b": value("int", 1)}),
    }
    windows = {
        "forth": window(common, 4, "I32", (5,), (4,)),
        "back": window(common, 20, ">f4", (2, 2), (-8, -4)),
        "again": window(common, 8, "F64", (3,), (0,)),
        "empty": window(common, 32, "U8", (0,), (1,)),
    }
    root: dict[object, Seed] = {
        "arrays": branch("dict", {name: array(one) for name, one in ARRAYS.items()}),
        "bits": branch("dict", {name: array(bits, "torch", dtype) for name, (bits, dtype) in BITS.items()}),
        "values": branch("dict", VALUES),
        "keys": branch("dict", KEYS),
        "branches": branch("dict", branches),
        "windows": branch("dict", windows),
        "tied": branch("list", [tied, tied]),
        "packed": branch(
            "dict",
            {
                "bytes": packed("bytes", b"\x00\xff" * 200),
                "str": packed("str", ("é" * 300).encode()),
                "json": packed("json", encode_plain(long)),
            },
        ),
        "holdfast": tied,
    }
    reserved = {"numpy": array(np.arange(3, dtype=np.uint32)), "seed": value("int", 1)}
    return grow(branch("dict", root), branch("dict", reserved))
