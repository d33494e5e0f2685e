"""Nested targets of every supported type, drawn by hypothesis.

A `Pair` holds two targets of the same structure that share nothing: `saved` is what a snapshot is taken of, `fresh` is
what it is restored into. Arrays of the two have the same dtype and shape, and other values and strides.
"""

from __future__ import annotations

import operator
import random
import struct
from collections import Counter, OrderedDict, defaultdict, deque
from typing import Any

import jax
import ml_dtypes
import numpy as np
import torch
from hypothesis import strategies as st

from state.array_strategies import ANY_CHARACTER, RECORD_DTYPE, Pair, array_pairs, arrays_of, tied_pairs
from state.users import RECORDS, Colour, Level, Mode

# --- plain values -----------------------------------------------------------------------------------------------------

FLOATS = st.one_of(
    st.floats(allow_nan=False),
    st.sampled_from([0.0, -0.0, float("inf"), -float("inf"), 5e-324]),
    st.integers(0, (1 << 64) - 1).map(lambda number: struct.unpack("<d", struct.pack("<Q", number))[0]),
)
INTS = st.one_of(st.integers(), st.integers(-(1 << 300), 1 << 300), st.just(1 << 14000))
TEXTS = st.one_of(
    st.text(ANY_CHARACTER, max_size=8),
    st.sampled_from(["", "~", "a/b", "__metadata__", "~n", "a\0", "\ud800", "[0,[1]]"]),
    st.builds(operator.mul, st.sampled_from(["x", "\U0001f600", "\ud800"]), st.sampled_from([256, 257, 400])),
)
BYTES = st.one_of(
    st.binary(max_size=8),
    st.sampled_from([b"", b"\0", b"a\0\0"]),
    st.builds(operator.mul, st.just(b"a\0"), st.sampled_from([128, 129])),
)
BOUNDS = st.one_of(st.none(), st.integers(-(1 << 70), 1 << 70))
SCALAR_TYPES = (
    np.bool_, np.int8, np.uint64, np.float16, np.float32, np.float64, np.longdouble, np.complex64, np.complex128,
    ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.int4,
)  # fmt: skip


@st.composite
def numpy_scalars(draw) -> np.generic:
    kind = draw(st.sampled_from([*SCALAR_TYPES, "M8[ns]", "m8[25s]", "M8", "S", "U", "V"]))
    if kind == "S":
        return np.bytes_(draw(BYTES))
    if kind == "U":
        return np.str_(draw(TEXTS))
    if kind == "V":
        return draw(arrays_of(RECORD_DTYPE, (1,)))[0].copy()
    return draw(arrays_of(np.dtype(kind), (1,)))[0]


def plain_values() -> st.SearchStrategy[Any]:
    """Values without parts that are no arrays."""
    return st.one_of(
        st.none(),
        st.booleans(),
        INTS,
        FLOATS,
        st.builds(complex, FLOATS, FLOATS),
        TEXTS,
        BYTES,
        st.builds(range, *[st.integers(-(1 << 70), 1 << 70)] * 2, st.integers(1, 9)),
        st.builds(slice, BOUNDS, BOUNDS, BOUNDS),
        numpy_scalars(),
        st.builds(torch.Size, st.lists(st.integers(0, 9), max_size=3)),
        st.sampled_from([torch.float32, torch.bfloat16, torch.device("cpu"), torch.device("cuda", 1)]),
    )


@st.composite
def plain_pairs(draw) -> Pair:
    """Two values of the same kind, wherever the kind matters."""
    kind = draw(
        st.sampled_from(
            [
                st.one_of(st.booleans(), INTS, FLOATS, st.builds(complex, FLOATS, FLOATS)),
                TEXTS,
                BYTES,
                st.builds(slice, BOUNDS, BOUNDS, BOUNDS),
                st.one_of(st.none(), plain_values()),
            ]
        )
    )
    saved = draw(kind)
    same = draw(kind) if kind is not None else saved
    fits = type(same) is type(saved) or saved is None or same is None
    return Pair(saved, same if fits else saved)


KEYS = st.recursive(
    st.one_of(
        TEXTS.filter(lambda text: len(text) < 100),
        st.integers(-(1 << 200), 1 << 200),
        st.booleans(),
        st.none(),
        FLOATS.filter(lambda number: number == number),
        BYTES.filter(lambda data: len(data) < 100),
    ),
    lambda keys: st.lists(keys, max_size=3).map(tuple),
    max_leaves=4,
)
HASHABLES = st.recursive(
    plain_values().filter(lambda value: not isinstance(value, slice | np.void)),
    lambda inner: st.one_of(st.lists(inner, max_size=3).map(tuple), st.frozensets(inner, max_size=3)),
    max_leaves=5,
)


# --- generators -------------------------------------------------------------------------------------------------------


def _bit_generator(name: str, seed: int) -> Any:
    return getattr(np.random, name)(seed)


@st.composite
def generator_pairs(draw) -> Pair:
    kind = draw(st.sampled_from(["random", "numpy", "RandomState", "torch", "threefry2x32", "rbg"]))
    steps = draw(st.integers(0, 3))
    if kind == "random":
        saved, fresh = random.Random(1), random.Random(2)
        for _ in range(steps):
            saved.gauss(0, 1)
        return Pair(saved, fresh)
    if kind == "numpy":
        name = draw(st.sampled_from(["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"]))
        saved, fresh = (np.random.Generator(_bit_generator(name, seed)) for seed in (1, 2))
        saved.integers(7, size=steps, dtype=np.uint32)
        return Pair(saved, fresh)
    if kind == "RandomState":
        saved, fresh = np.random.RandomState(1), np.random.RandomState(2)
        saved.normal(size=steps)
        return Pair(saved, fresh)
    if kind == "torch":
        saved, fresh = torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)
        torch.rand(steps, generator=saved)
        return Pair(saved, fresh)
    shape = draw(st.sampled_from([(), (3,)]))
    saved, fresh = (jax.random.key(seed, impl=kind) for seed in (1, 2))
    if shape:
        saved, fresh = jax.random.split(saved, shape), jax.random.split(fresh, shape)
    abstract = draw(st.booleans())
    return Pair(saved, jax.eval_shape(lambda: jax.random.key(0, impl=kind)) if abstract and not shape else fresh)


# --- containers -------------------------------------------------------------------------------------------------------


def _of(kind: type) -> Any:
    return defaultdict(_int_list) if kind is defaultdict else kind()


def _int_list() -> list[int]:
    return []


@st.composite
def _mappings(draw, inner: st.SearchStrategy[Pair]) -> Pair:
    kind = draw(st.sampled_from([dict, OrderedDict, defaultdict]))
    found = draw(st.dictionaries(KEYS, inner, max_size=4))
    saved, fresh = _of(kind), _of(kind)
    for key, pair in found.items():
        saved[key] = pair.saved
    for key in draw(st.permutations(list(found))):
        fresh[key] = found[key].fresh
    if kind is defaultdict and draw(st.booleans()):
        fresh["only here"] = 3  # what it holds changes while a program runs
    return Pair(saved, fresh)


@st.composite
def _sequences(draw, inner: st.SearchStrategy[Pair]) -> Pair:
    pairs = draw(st.lists(inner, max_size=4))
    kind = draw(st.sampled_from([list, tuple, deque]))
    return Pair(*[kind([pair[side] for pair in pairs]) for side in (0, 1)])


@st.composite
def _records(draw, inner: st.SearchStrategy[Pair]) -> Pair:
    kind, a, b = draw(st.sampled_from(RECORDS)), draw(inner), draw(inner)
    return Pair(*[kind(a[side], b[side]) for side in (0, 1)])


@st.composite
def _growing(draw) -> Pair:
    """Containers whose content is one value: another one stands in the target."""
    kind = draw(st.sampled_from(["set", "frozenset", "Counter", "deque", "maxlen", "list"]))
    make: Any = {
        "set": set,
        "frozenset": frozenset,
        "deque": deque,
        "maxlen": lambda items: deque(items, 4),
        "list": list,
        "Counter": Counter,
    }[kind]
    items = HASHABLES if "set" in kind else KEYS if kind == "Counter" else plain_values()
    saved, fresh = draw(st.lists(items, max_size=4)), draw(st.lists(items, max_size=4))
    if kind == "list" and len(saved) == len(fresh):
        fresh = list(saved)
    return Pair(make(saved), make(fresh))


@st.composite
def _enums(draw) -> Pair:
    members = draw(st.sampled_from([list(Colour), list(Level), [*Mode, Mode.READ | Mode.WRITE]]))
    return Pair(draw(st.sampled_from(members)), draw(st.sampled_from(members)))


@st.composite
def _long(draw) -> Pair:
    """Plain values that are too many for the header."""
    count = draw(st.integers(200, 400))
    values = draw(st.lists(plain_values(), min_size=1, max_size=5))
    saved = [values[number % len(values)] for number in range(count)]
    return Pair(
        {"many": saved, "n": {number: float(number) for number in range(count)}},
        {"many": [], "n": dict.fromkeys(range(count), 0.0)},
    )


@st.composite
def _absent(draw) -> Pair:
    """A target that has nothing yet takes what the snapshot has, as far as it is of no user's class."""
    value = draw(st.one_of(plain_values(), array_pairs().map(_first).filter(lambda one: not _is_weak(one))))
    shape = draw(st.sampled_from([lambda one: one, lambda one: {"a": [one, (one,)]}, lambda one: deque([one], 3)]))
    return Pair(shape(value), None)


def _first(pair: Pair) -> Any:
    return pair.saved


def _is_weak(value: Any) -> bool:
    return isinstance(value, jax.Array) and value.weak_type


def pairs(*, absent: bool = True) -> st.SearchStrategy[Pair]:
    """Two targets of every supported type, nested.

    Args:
        absent: the second may hold None where the first has something.
    """
    leaves = [
        plain_pairs(), array_pairs(), array_pairs(), tied_pairs(), generator_pairs(), _growing(), _enums(), _long(),
    ]  # fmt: skip
    return st.recursive(
        st.one_of(*leaves, *([_absent()] if absent else [])),
        lambda inner: st.one_of(_mappings(inner), _sequences(inner), _records(inner)),
        max_leaves=8,
    )


# --- what flat names can tell -----------------------------------------------------------------------------------------

SIMPLE = st.one_of(st.none(), st.booleans(), INTS, FLOATS, st.builds(complex, FLOATS, FLOATS), TEXTS, BYTES)


@st.composite
def _simply_growing(draw) -> Pair:
    kind = draw(st.sampled_from([set, frozenset, deque, list]))
    saved, fresh = draw(st.lists(SIMPLE, min_size=1, max_size=4)), draw(st.lists(SIMPLE, max_size=4))
    return Pair(kind(saved), kind(fresh if kind is not list or len(fresh) != len(saved) else []))


def flat_pairs() -> st.SearchStrategy[Pair]:
    """Two targets whose values and arrays tell all that the structure of the second does not."""
    leaves = st.one_of(
        plain_pairs().filter(lambda pair: type(pair.saved) is type(pair.fresh)),
        array_pairs(),
        tied_pairs(),
        generator_pairs(),
        _enums(),
        _simply_growing(),
    )
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            _mappings(inner).filter(_are_the_same_keys), _sequences(inner).filter(_is_no_deque), _records(inner)
        ),
        max_leaves=8,
    )


def _is_no_deque(pair: Pair) -> bool:
    return not isinstance(pair.saved, deque)  # of an empty container in one, a file shows nothing


def _are_the_same_keys(pair: Pair) -> bool:
    return not isinstance(pair.saved, defaultdict) and list(pair.saved) == list(pair.fresh)  # nor shows it an order
