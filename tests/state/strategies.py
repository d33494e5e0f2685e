"""Nested targets of every supported type, drawn by hypothesis, and what it means that two of them are the same.

A `Pair` holds two targets of the same structure that share nothing: `saved` is what a snapshot is taken of, `fresh` is
what it is restored into. Arrays of the two have the same dtype and shape, and other values and strides. `bits` makes of
a target something that is equal for two targets if and only if they have the same types and the same bits.
"""

from __future__ import annotations

import dataclasses
import enum
import operator
import random
import reprlib
import struct
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import torch
from hypothesis import strategies as st

from holdfast.state import dtypes, generators
from holdfast.state.capture import capture
from holdfast.state.load import load
from holdfast.state.tree import Array, Branch, Leaf, StateTree, Value


class Pair(NamedTuple):
    """Two targets of one structure."""

    saved: Any
    fresh: Any

    def __repr__(self) -> str:
        return f"Pair({reprlib.repr(self.saved)}, {reprlib.repr(self.fresh)})"


# --- classes of a user ------------------------------------------------------------------------------------------------


@dataclass
class Plain:
    a: Any
    b: Any


@dataclass(slots=True)
class Slots:
    a: Any
    b: Any


@dataclass(frozen=True)
class Frozen:
    a: Any
    b: Any


@dataclass(frozen=True, slots=True)
class FrozenSlots:
    a: Any
    b: Any


Point = namedtuple("Point", ("a", "b"))


class Colour(enum.Enum):
    RED = 1
    GREEN = "green"
    BLUE = (0, 0, 1.0)


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Mode(enum.Flag):
    READ = 1
    WRITE = 2


class Node:
    """A pytree that jax knows by its children alone."""

    def __init__(self, a, b):
        self.a, self.b = a, b


class Keyed:
    """A pytree with names for its children, and a part that is not saved."""

    def __init__(self, a, b, static=7):
        self.a, self.b, self.static = a, b, static


@dataclass
class Registered:
    """A dataclass that jax takes apart by its fields."""

    a: Any
    b: Any


jax.tree_util.register_pytree_node(Node, lambda one: ((one.a, one.b), None), lambda _, children: Node(*children))
jax.tree_util.register_pytree_with_keys(
    Keyed,
    lambda one: (
        ((jax.tree_util.GetAttrKey("a"), one.a), (jax.tree_util.GetAttrKey("b"), one.b)),
        one.static,
    ),
    lambda static, children: Keyed(*children, static),
)
jax.tree_util.register_dataclass(Registered, ["a", "b"], [])
RECORDS = (Plain, Slots, Frozen, FrozenSlots, Point, Node, Keyed, Registered)


# --- plain values -----------------------------------------------------------------------------------------------------

FLOATS = st.one_of(
    st.floats(allow_nan=False),
    st.sampled_from([0.0, -0.0, float("inf"), -float("inf"), 5e-324]),
    st.integers(0, (1 << 64) - 1).map(lambda number: struct.unpack("<d", struct.pack("<Q", number))[0]),
)
INTS = st.one_of(st.integers(), st.integers(-(1 << 300), 1 << 300), st.just(1 << 14000))
ANY_CHARACTER = st.characters(codec=None, categories=None)  # lone surrogates and NUL as well
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
    if isinstance(kind, str):
        return draw(arrays_of(np.dtype(kind), (1,)))[0]
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


# --- arrays -----------------------------------------------------------------------------------------------------------

RECORD_DTYPE = np.dtype(
    {
        "names": ["a", "b", "c"],
        "formats": ["u1", ">f4", (np.dtype([("x", "<i2"), ("y", "S3")], align=True), (2,))],
        "offsets": [0, 4, 8],
        "itemsize": 24,
    }
)
NUMPY_DTYPES = [
    np.dtype(spelling)
    for spelling in (
        "?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "g", "c8", "c16", ">i2", ">f8", ">c8",
        "M8[ns]", "M8[D]", "m8[us]", ">M8[s]", "S1", "S5", "U3", ">U2", "V3",
    )
] + [
    RECORD_DTYPE,
    np.dtype([("a", "u1"), ("b", "f8")]),
    *(
        np.dtype(getattr(ml_dtypes, name))
        for name in (
            "bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu", "float8_e4m3fnuz", "float8_e5m2fnuz",
            "float8_e4m3b11fnuz", "float8_e3m4", "int4", "uint4", "float4_e2m1fn",
        )
    ),
]  # fmt: skip
TORCH_DTYPES = [
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32, torch.uint32, torch.int64,
    torch.uint64, torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128,
    torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz, torch.float8_e8m0fnu,
]  # fmt: skip
JAX_DTYPES = [
    np.dtype(dtype)
    for dtype in (
        "?", "i1", "u1", "i2", "u2", "i4", "u4", "f2", "f4", "c8", ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn,
        ml_dtypes.float8_e5m2, ml_dtypes.int4,
    )
]  # fmt: skip
SHAPES = st.one_of(st.sampled_from([(), (0,), (1,), (3,), (2, 3), (3, 0, 2), (1, 1), (2, 1, 3)]))


def _random_bytes(draw, size: int) -> np.ndarray:
    return np.frombuffer(draw(st.randoms(use_true_random=False)).randbytes(size), np.uint8).copy()


@st.composite
def arrays_of(draw, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """A numpy array of any bits that the dtype can have, in C order."""
    count = int(np.prod(shape, dtype=np.int64))
    if dtype.kind == "U":
        texts = draw(st.lists(st.text(ANY_CHARACTER, max_size=dtype.itemsize // 4), min_size=count, max_size=count))
        return np.array(texts, dtype).reshape(shape)
    data = _random_bytes(draw, count * dtype.itemsize)
    if dtype.kind == "b":
        data &= 1
    elif dtype.name in ("int4", "uint4", "float4_e2m1fn"):
        data &= 7
    return data.view(dtype).reshape(shape)


def _laid_out(draw, array: np.ndarray) -> np.ndarray:
    """The same elements with other strides."""
    layout = draw(st.sampled_from(["C", "F", "strided", "negative", "unaligned", "inside"]))
    if array.ndim == 0 or layout == "C":
        return array.copy()
    if layout == "F":
        return array.copy(order="F")
    if layout == "unaligned":
        memory = np.zeros(array.nbytes + 1, np.uint8)[1:]
        made = np.ndarray(array.shape, array.dtype, memory.data)
    elif layout == "strided":
        made = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)[..., ::2]
    elif layout == "negative":
        made = np.zeros(array.shape, array.dtype)[::-1]
    else:
        made = np.zeros(tuple(size + 2 for size in array.shape), array.dtype)[(slice(1, -1),) * array.ndim]
    made[...] = array
    return made


@st.composite
def numpy_pairs(draw) -> Pair:
    dtype, shape = draw(st.sampled_from(NUMPY_DTYPES)), draw(SHAPES)
    saved, fresh = (_laid_out(draw, draw(arrays_of(dtype, shape))) for _ in range(2))
    if saved.size and draw(st.integers(0, 9)) == 0:
        saved, fresh = (_all_the_same(one) for one in (saved, fresh))
    return Pair(saved, fresh)


def _all_the_same(array: np.ndarray) -> np.ndarray:
    """Every element on the bytes of the first; writable, which numpy.broadcast_to is not."""
    first = array.reshape(-1)[:1].copy().view(np.uint8)
    return np.ndarray(array.shape, array.dtype, first.data, 0, (0,) * array.ndim)


@st.composite
def _tensors(draw, dtype: torch.dtype, shape: tuple[int, ...], expanded: bool) -> torch.Tensor:
    size = torch.empty(0, dtype=dtype).element_size()
    layout = draw(st.sampled_from(["C", "transposed", "strided", "conj", "offset"]))
    if expanded:
        element = torch.from_numpy(_random_bytes(draw, size)).view(dtype if dtype != torch.bool else torch.uint8)
        made = (element & 1).view(torch.bool) if dtype == torch.bool else element
        return made.reshape((1,) * len(shape)).expand(shape)
    wide = shape if layout != "strided" or not shape else (*shape[:-1], 2 * shape[-1])
    count = int(np.prod(wide, dtype=np.int64)) + 2
    data = torch.from_numpy(_random_bytes(draw, count * size))
    made = (data & 1).view(torch.bool) if dtype == torch.bool else data.view(dtype)
    made = made[2:] if layout == "offset" else made[: count - 2]
    made = made.reshape(wide)
    if layout == "strided" and shape:
        made = made[..., ::2]
    elif layout == "transposed" and len(shape) > 1:
        made = made.reshape(shape[::-1]).permute(*range(len(shape))[::-1])
    elif layout == "conj" and dtype.is_complex:
        made = made.conj()
    if dtype.is_floating_point and dtype.itemsize > 1 and draw(st.booleans()):
        made = made.detach().requires_grad_()
    return made


@st.composite
def torch_pairs(draw) -> Pair:
    dtype, shape = draw(st.sampled_from(TORCH_DTYPES)), draw(SHAPES)
    expanded = bool(shape) and draw(st.integers(0, 9)) == 0
    return Pair(*[draw(_tensors(dtype, shape, expanded)) for _ in range(2)])


@st.composite
def jax_pairs(draw) -> Pair:
    if draw(st.integers(0, 3)) == 0:  # weakly typed
        zero = draw(st.sampled_from([0, 0.0, 0j]))
        shape = draw(st.sampled_from([(), (2,)]))
        made = jnp.broadcast_to(jnp.asarray(zero), shape)
        values = [draw(arrays_of(made.dtype, shape)) for _ in range(2)]
        return Pair(*[made.at[...].set(value) for value in values])
    dtype, shape = draw(st.sampled_from(JAX_DTYPES)), draw(SHAPES)
    saved, fresh = (jax.device_put(draw(arrays_of(dtype, shape)).copy()) for _ in range(2))
    return Pair(saved, jax.ShapeDtypeStruct(shape, dtype) if draw(st.integers(0, 4)) == 0 else fresh)


def array_pairs() -> st.SearchStrategy[Pair]:
    """Arrays of numpy, torch and jax."""
    return st.one_of(numpy_pairs(), torch_pairs(), jax_pairs())


@st.composite
def tied_pairs(draw) -> Pair:
    """Arrays that share memory, as lists: one array twice, or views that overlap."""
    framework = draw(st.sampled_from(["numpy", "torch", "both"]))
    take = draw(
        st.sampled_from(
            [
                lambda row: [row, row],
                lambda row: [row[:4], row[2:]],
                lambda row: [row[2:], row, row[:3]],
                lambda row: [row, row.reshape(2, 3)],
                lambda row: [row[:3], row[3:]],
                lambda row: [row[::2], row[1::2]],
                lambda row: [row.reshape(2, 3)[:, :2], row.reshape(2, 3)[:, 1:], row[5:]],
            ]
        )
    )

    def make() -> list[Any]:
        row = draw(arrays_of(np.dtype(draw_dtype), (6,)))
        if framework == "numpy":
            return take(row)
        if framework == "torch":
            return take(torch.from_numpy(row))
        first, *rest = take(row)
        return [first, *[torch.from_numpy(one) for one in rest]]

    draw_dtype = draw(st.sampled_from(["f4", "i8", "c16", "u1"]))
    return Pair(make(), make())


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


# --- the same bits ----------------------------------------------------------------------------------------------------


def bits(value: Any) -> Any:
    """Something hashable that is equal for two targets exactly where all types and all bits are."""
    kind = type(value)
    if kind is float:
        return kind, struct.pack("<d", value)
    if kind is complex:
        return kind, bits(value.real), bits(value.imag)
    if kind is slice:
        return kind, value.start, value.stop, value.step
    if value is None or kind in (bool, int, str, bytes, range, torch.Size, torch.dtype, torch.device):
        return kind, value
    if isinstance(value, np.void):
        return kind, _numpy_bits(np.asarray(value))
    if isinstance(value, np.generic):
        return kind, _numpy_bits(np.frombuffer(value.tobytes(), np.uint8)), str(value.dtype)
    if isinstance(value, np.ndarray):
        return kind, _numpy_bits(value)
    if isinstance(value, torch.Tensor):
        return kind, value.dtype, value.shape, _tensor_bytes(value).tobytes()
    generator = generators.kind_of(value)
    if generator is not None:
        parts = generators.take_apart(generator, value)
        return kind, parts.meta, bits(dict(zip(parts.keys, parts.children, strict=True)))
    if isinstance(value, jax.Array):
        return "jax", value.weak_type, _numpy_bits(np.asarray(value))
    return kind, _container_bits(value)


def _numpy_bits(array: np.ndarray) -> Any:
    if array.dtype.names is not None:  # what pads the fields is no value
        return str(array.dtype), tuple((name, _numpy_bits(array[name])) for name in array.dtype.names)
    return str(array.dtype), array.shape, array.tobytes()


def _container_bits(value: Any) -> Any:
    if isinstance(value, OrderedDict):
        return tuple((bits(key), bits(item)) for key, item in value.items())
    if isinstance(value, dict):
        factory = value.default_factory if isinstance(value, defaultdict) else None
        return factory, frozenset((bits(key), bits(item)) for key, item in value.items())
    if isinstance(value, set | frozenset):
        return frozenset(Counter(bits(item) for item in value).items())
    if isinstance(value, deque):
        return value.maxlen, tuple(bits(item) for item in value)
    if isinstance(value, list | tuple):
        return tuple(bits(item) for item in value)
    if isinstance(value, enum.Enum):
        return value.value
    if dataclasses.is_dataclass(value):
        return tuple(bits(getattr(value, field.name)) for field in dataclasses.fields(value))
    return tuple(bits(item) for _, item in sorted(vars(value).items()))


def as_loaded(value: Any) -> Any:
    """What load gives for a target: numpy arrays, and plain containers in the place of a user's classes."""
    if isinstance(value, torch.Tensor):
        return _as_numpy(value)
    if isinstance(value, jax.Array) and generators.kind_of(value) is None:
        return np.asarray(value)
    if isinstance(value, enum.Enum):
        return as_loaded(value.value)
    if isinstance(value, defaultdict):
        return defaultdict(None, {key: as_loaded(item) for key, item in value.items()})
    if isinstance(value, dict):
        return type(value)({key: as_loaded(item) for key, item in value.items()})
    if isinstance(value, deque):
        return deque((as_loaded(item) for item in value), value.maxlen)
    if isinstance(value, Point | Node):
        return as_loaded((value.a, value.b))
    if isinstance(value, RECORDS):
        return {"a": as_loaded(value.a), "b": as_loaded(value.b)}
    if type(value) in (list, tuple):
        return type(value)(as_loaded(item) for item in value)
    return value


def _as_numpy(tensor: torch.Tensor) -> np.ndarray:
    name = str(tensor.dtype).removeprefix("torch.")
    dtype = np.dtype(getattr(ml_dtypes, name, None) or name)
    return _tensor_bytes(tensor).view(dtype).reshape(tuple(tensor.shape))


def _tensor_bytes(tensor: torch.Tensor) -> np.ndarray:
    if not tensor.numel():
        return np.empty(0, np.uint8)
    plain = tensor.detach().resolve_conj().resolve_neg().clone(memory_format=torch.contiguous_format)
    return plain.reshape(-1).view(torch.uint8).numpy()


def state_of(target: Any) -> Any:
    """The bits of a target's whole state, whatever it is: two calls give the same if it did not change in between."""
    return bits(load(capture(target)))


def untyped(found: Mapping[str, np.ndarray | None]) -> StateTree:
    """What a file without a tree of its own holds: arrays by their whole names, and None."""
    return StateTree(Branch("untyped", tuple(found), tuple(_untyped(name, array) for name, array in found.items())))


def _untyped(name: str, array: np.ndarray | None) -> Value | Array:
    if array is None or array.dtype == object:
        return Value("none", None)
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8) if array.nbytes else np.empty(0, np.uint8)
    return Array(Leaf(name, dtypes.from_numpy(array.dtype), array.shape, array.nbytes, data), "numpy")
