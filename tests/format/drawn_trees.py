"""State trees that hypothesis draws: every kind of node, value, key and dtype."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from format.handmade import Seed, array, branch, grow, memory, packed, value, window
from holdfast.state.tree import Key, StateTree, escape

texts = st.text(st.characters(), max_size=12)
"""Surrogates too, which may stand in names of files."""

hex_ints = st.integers(min_value=1 << 53).flatmap(lambda n: st.sampled_from([hex(n), hex(-n)]))
hex_floats = st.sampled_from([struct.pack(">d", x).hex() for x in (float("nan"), float("inf"), float("-inf"))])
ints = st.integers(-(1 << 53) + 1, (1 << 53) - 1) | hex_ints
floats = st.floats(allow_nan=False, allow_infinity=False) | hex_floats
bounds = st.none() | ints

_DATA: dict[str, st.SearchStrategy[Any]] = {
    "none": st.none(),
    "bool": st.booleans(),
    "int": ints,
    "float": floats,
    "complex": st.tuples(floats, floats).map(list),
    "str": texts,
    "bytes": st.binary(max_size=12).map(bytes.hex),
    "range": st.tuples(ints, ints, st.integers(1, 9) | hex_ints).map(list),
    "slice": st.tuples(bounds, bounds, bounds).map(list),
    "numpy": st.sampled_from([["F32", "0000803f"], ["<c16", "00" * 16], ["|S0", ""], ["BF16", "803f"]]),
    "torch.Size": st.lists(st.integers(0, 1 << 40), max_size=3),
    "torch.dtype": st.sampled_from("bool uint8 int64 float32 bfloat16 complex64 float8_e4m3fn quint4x2 bits8".split()),
    "torch.device": st.sampled_from(["cpu", "cuda:3", "mps"]),
}
values = st.sampled_from(sorted(_DATA)).flatmap(lambda kind: _DATA[kind].map(lambda data: value(kind, data)))

_plain_keys = texts | st.integers() | st.booleans() | st.none() | st.floats() | st.binary(max_size=8)
keys: st.SearchStrategy[Key] = st.recursive(_plain_keys, lambda inner: st.lists(inner, max_size=3).map(tuple))


def _without_titles(dtype: np.dtype) -> bool:
    fields = (dtype.base.fields or {}).values()
    return all(len(field) == 2 and _without_titles(field[0]) for field in fields)


dtypes_of_numpy = (
    arrays.scalar_dtypes()
    | arrays.complex_number_dtypes(endianness="?")
    | arrays.byte_string_dtypes()
    | arrays.unicode_string_dtypes()
    | arrays.datetime64_dtypes(endianness="?")
    | arrays.nested_dtypes().filter(_without_titles)
)

some_dtypes = st.sampled_from(
    [np.dtype(name) for name in "? u1 i2 f2 f4 f8 i8 c8 c16 >i4 >f8 >c16 S3 S0 U2 V3 M8[s] >m8[25us] M8".split()]
    + [np.dtype([("a", "<f4"), ("b", ">i2", (2,))]), np.dtype([("a", [("c", "S3")]), ("", "u1")], align=True)]
)
"""Of every kind, and drawn much faster than the above."""


@st.composite
def array_seeds(draw: st.DrawFn) -> Seed:
    dtype = draw(some_dtypes)
    shape = draw(arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
    made = np.ndarray(shape, dtype)  # np.zeros makes S1 of S0
    if made.nbytes:
        content = draw(st.binary(min_size=made.nbytes, max_size=made.nbytes))
        made = np.frombuffer(content, np.dtype((np.void, dtype.itemsize))).view(made.dtype).reshape(made.shape)
    return array(made, draw(st.sampled_from(["numpy", "torch", "jax"])))


packs = st.one_of(
    st.binary(max_size=40).map(lambda content: packed("bytes", content)),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40).map(lambda text: packed("str", text.encode())),
    st.just(packed("json", b"[0,[1]]")),
)
_shared: dict[str, Any] = {}
"""What several nodes of the tree that is growing have in common; strategies made anew for each tree would be slow."""

_common = st.one_of(
    st.integers(0, 1).map(lambda number: _shared["tied"][number]),
    st.sampled_from(
        [(0, "F32", (2, 3), (4, 8)), (0, "U8", (16,), (1,)), (23, "U8", (4,), (-1,)), (3, ">i2", (5,), (0,))]
    ).map(lambda view: window(_shared["memory"], *view)),
)


def _branches(children: st.SearchStrategy[Seed]) -> st.SearchStrategy[Seed]:
    rows = st.lists(children, max_size=4)
    return st.one_of(
        st.builds(branch, st.sampled_from("list tuple set frozenset deque".split()), rows),
        st.builds(branch, st.just("deque"), rows, st.integers(0, 9)),
        st.builds(
            branch,
            st.sampled_from("dict OrderedDict Counter defaultdict pytree".split()),
            _unique(keys, children),
        ),
        st.builds(branch, st.sampled_from("namedtuple dataclass untyped".split()), _unique(texts, children)),
        children.map(lambda child: branch("enum", {"value": child})),
        st.builds(
            lambda kind, child: branch(kind, {"data" if kind == "jax.key" else "state": child}, "PCG64"),
            st.sampled_from("numpy.Generator numpy.RandomState torch.Generator jax.key".split()),
            children,
        ),
        st.tuples(children, children, children).map(
            lambda three: branch("random.Random", dict(zip(("version", "words", "gauss"), three, strict=True)))
        ),
    )


def _unique(keys: st.SearchStrategy[Any], children: st.SearchStrategy[Seed]) -> st.SearchStrategy[dict[Any, Seed]]:
    """Keys whose names differ, too: a NaN equals no other, but has the same name as every other."""
    return st.dictionaries(keys, children, max_size=4).filter(lambda found: len(set(map(escape, found))) == len(found))


_leaves = st.one_of(values, array_seeds(), packs, _common)
_nodes = st.recursive(_leaves, _branches, max_leaves=8)
_reserved = st.none() | _branches(_leaves)
_tied = st.tuples(array_seeds(), array_seeds())


@st.composite
def trees(draw: st.DrawFn) -> StateTree:
    """A tree with tied arrays and windows into common memory, perhaps with a reserved branch."""
    _shared["tied"], _shared["memory"] = draw(_tied), memory(bytes(range(24)))
    return grow(draw(_nodes), draw(_reserved))
