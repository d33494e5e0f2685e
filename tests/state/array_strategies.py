"""Arrays of numpy, torch and jax, drawn by hypothesis: every dtype, layout and tie."""

from __future__ import annotations

import reprlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import torch
from hypothesis import strategies as st

ANY_CHARACTER = st.characters(codec=None, categories=None)  # lone surrogates and NUL as well


class Pair(NamedTuple):
    """Two targets of one structure."""

    saved: Any
    fresh: Any

    def __repr__(self) -> str:
        return f"Pair({reprlib.repr(self.saved)}, {reprlib.repr(self.fresh)})"


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

    dtype = np.dtype(draw(st.sampled_from(["f4", "i8", "c16", "u1"])))

    def make() -> list[Any]:
        row = draw(arrays_of(dtype, (6,)))
        if framework == "numpy":
            return take(row)
        if framework == "torch":
            return take(torch.from_numpy(row))
        first, *rest = take(row)
        return [first, *[torch.from_numpy(one) for one in rest]]

    return Pair(make(), make())
