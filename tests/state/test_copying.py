"""Arrays are copied whole, whatever their size, layout and framework, and into their own places only."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from holdfast.state import arrays
from holdfast.state.copying import Copier
from holdfast.state.memcopy import PIECE_BYTES
from holdfast.state.moving import SMALL_BYTES


def copied(found: list[Any], gap: int = 64) -> list[bytes]:
    """What a copier makes of arrays, whose places have a gap between them that must stay as it is."""
    places, leaves, offset = [], [], gap
    for number, one in enumerate(found):
        framework = arrays.framework_of(one) or ""
        size = int(np.prod(tuple(one.shape))) * arrays.item_size(one, framework)
        places.append((offset, size))
        leaves.append((str(number), arrays.dtype_of(one, framework), tuple(one.shape)))
        offset += -(-size // 64) * 64 + gap
    memory = np.full(offset, 0xA5, np.uint8)
    copier = Copier(memory, places, leaves)
    for _ in range(2):  # a copier is used again
        copier.copy(found, [arrays.address_of(one) for one in found])
    untouched = memory.copy()
    for start, size in places:
        untouched[start : start + size] = 0xA5
    assert (untouched == 0xA5).all()
    return [memory[start : start + size].tobytes() for start, size in places]


def drawn(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8)


@pytest.mark.parametrize("size", [1, SMALL_BYTES - 1, SMALL_BYTES, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES - 5])
def test_an_array_of_any_size_is_copied_whole(size):
    one = drawn(size)
    assert copied([one]) == [one.tobytes()]


def test_small_large_empty_and_scattered_arrays_are_copied_side_by_side():
    found = [
        drawn(10),
        np.zeros((0, 3)),
        drawn(2 * PIECE_BYTES, 1),
        drawn(400, 2)[::3],
        drawn(4 * SMALL_BYTES, 3).reshape(2, -1).T,
        np.float64(3) + np.zeros(()),
        drawn(8, 4)[1:],
    ]
    assert copied(found) == [one.tobytes() for one in found]


def test_many_small_arrays_are_copied_each_to_its_place():
    found = [drawn(number % 50, number) for number in range(3000)]
    assert copied(found) == [one.tobytes() for one in found]


def test_no_arrays_are_no_work():
    assert copied([]) == []


def test_tensors_of_every_layout_are_copied():
    torch = pytest.importorskip("torch")
    plain = torch.arange(12.0).reshape(3, 4)
    mixed = torch.complex(plain, plain + 1)
    found = [plain, plain.t(), plain.requires_grad_(), plain[:, 1], mixed, mixed.conj(), mixed.conj().imag, plain[:0]]
    wanted = [one.detach().resolve_conj().resolve_neg().contiguous().numpy().tobytes() for one in found]
    assert copied(found) == wanted
    large = torch.rand(SMALL_BYTES)
    assert copied([large, large.to(torch.bfloat16)]) == [
        large.numpy().tobytes(), large.to(torch.bfloat16).view(torch.int16).numpy().tobytes()
    ]  # fmt: skip


def test_jax_arrays_are_copied():
    jnp = pytest.importorskip("jax").numpy
    found = [jnp.arange(5), jnp.ones((SMALL_BYTES, 2)), jnp.zeros((0,)), jnp.ones(3, jnp.bfloat16)]
    assert copied(found) == [np.asarray(one).tobytes() for one in found]


def test_what_a_framework_cannot_copy_is_raised():
    class Broken:
        shape = (4,)
        dtype = np.dtype(np.float32)

    copier = Copier(np.zeros(16, np.uint8), [(0, 16)], [("w", "F32", (4,))])
    with pytest.raises(AttributeError):
        copier.copy([Broken()], [0])
