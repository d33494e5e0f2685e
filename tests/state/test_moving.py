"""Bytes moved by address, and private copies of leaves."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from holdfast.state import arrays, memcopy, moving
from holdfast.state.memcopy import PIECE_BYTES
from holdfast.state.moving import ALIGNMENT, ALONE_BYTES, FEW_BYTES, SMALL_BYTES
from holdfast.state.tree import Leaf

FEW = [0, 1, 63, SMALL_BYTES - 1, SMALL_BYTES, SMALL_BYTES + 1]
MANY = [*FEW, FEW_BYTES, PIECE_BYTES, 2 * PIECE_BYTES + 5]


def row(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8)


def leaf_of(array: np.ndarray | torch.Tensor) -> Leaf:
    framework = arrays.framework_of(array)
    return Leaf("it", arrays.dtype_of(array, framework), tuple(array.shape), array.nbytes, array)


@pytest.mark.parametrize("sizes", [FEW, MANY, MANY * 3, [FEW_BYTES], [FEW_BYTES - 1]])
@pytest.mark.parametrize("kernel", [memcopy.KERNEL, memcopy.plain()], ids=["as installed", "plain"])
def test_every_byte_is_moved_and_no_other_is_touched(sizes, kernel, monkeypatch):
    monkeypatch.setattr(memcopy, "KERNEL", kernel)
    sources = [row(size, number) for number, size in enumerate(sizes)]
    targets = [np.full(size + 2, 7, np.uint8) for size in sizes]
    moving.move([one.ctypes.data + 1 for one in targets], [one.ctypes.data for one in sources], sizes)
    for source, target in zip(sources, targets, strict=True):
        assert np.array_equal(target[1:-1], source)
        assert target[0] == target[-1] == 7


@pytest.mark.parametrize(("sizes", "wanted"), [([FEW_BYTES], 1), ([FEW_BYTES - 1], 0), ([1] * 100, 0), (MANY, 1)])
def test_threads_are_called_up_where_much_is_expected(sizes, wanted, monkeypatch):
    called = []
    kernel = dataclasses.replace(memcopy.KERNEL, call_up=lambda: called.append(1))
    monkeypatch.setattr(memcopy, "KERNEL", kernel)
    target = np.zeros(sum(sizes), np.uint8)
    moving.Mover([target.ctypes.data] * len(sizes), sizes).expect()
    assert len(called) == wanted


def test_nothing_to_move_is_nothing():
    moving.move([], [], [])


def test_what_stands_beside_is_done_too_and_a_source_too_few_is_refused():
    source, target, done = row(10), np.zeros(10, np.uint8), []
    mover = moving.Mover([target.ctypes.data], [10])
    mover.move([source.ctypes.data], [lambda: done.append(1)])
    assert done == [1]
    assert np.array_equal(target, source)
    with pytest.raises(ValueError, match="1 sources are needed, not 0"):
        mover.move([])


@pytest.mark.parametrize(
    "array",
    [
        np.arange(10.0),
        np.arange(400_000.0).reshape(400, 1000).T,
        torch.arange(100_000.0),
        torch.arange(100_000.0).reshape(100, 1000).T,
        torch.ones(3, dtype=torch.complex64).conj(),
        np.empty((0, 3)),
        np.float32(3) * np.ones(()),
    ],
    ids=["small", "transposed", "tensor", "transposed tensor", "conjugated", "empty", "scalar"],
)
def test_a_copy_has_the_bytes_of_its_leaf_and_is_private_and_writable(array):
    leaf = leaf_of(array)
    copy = moving.copies([leaf])[leaf]
    assert (copy.dtype, copy.shape) == (np.uint8, (leaf.nbytes,))
    assert copy.tobytes() == arrays.bytes_of(leaf).tobytes()
    assert copy.flags.writeable
    assert not np.shares_memory(copy, arrays.bytes_of(leaf))


def test_a_leaf_that_is_asked_for_twice_has_one_copy():
    leaf = leaf_of(np.arange(4.0))
    assert len(moving.copies([leaf, leaf])) == 1


def test_large_copies_stand_in_common_memory_each_aligned_and_apart_from_the_others():
    leaves = [leaf_of(np.zeros(ALONE_BYTES + 1, np.uint8)) for _ in range(200)]
    made = moving.copies(leaves)
    assert all(copy.ctypes.data % ALIGNMENT == 0 for copy in made.values())
    for number, leaf in enumerate(leaves):
        made[leaf][:] = number
    assert all((made[leaf] == number).all() and len(made[leaf]) == leaf.nbytes for number, leaf in enumerate(leaves))


def test_a_small_copy_keeps_no_other_alive():
    small, large = leaf_of(row(10)), leaf_of(row(1 << 20))
    assert moving.copies([small, large])[small].base is None
