"""A bit that flips in a file of save_hdf5 is found when it is read, or it changes nothing."""

from __future__ import annotations

import numpy as np
import pytest

import holdfast
from holdfast.serializers.hdf5 import HDF5Serializer, load_hdf5, save_hdf5

h5py = pytest.importorskip("h5py")


def state(fill=1):
    """An array that gzip packs, one that it cannot, and values of one element."""
    rng = np.random.default_rng(0)
    return {
        "model": {"W": fill * rng.standard_normal(60).astype("f"), "b": fill * np.arange(1000, 1008)},
        "n": fill * 0x1234_5678,
        "x": fill * 0.123456789,
        "text": "what is said" * fill,
        "one": fill * np.array([[0.987654321]]),
    }


def flipped(raw, bit):
    changed = bytearray(raw)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_a_flipped_bit_anywhere_is_an_error_of_holdfasts_or_changes_no_value(path):
    save_hdf5(path, state())
    raw, found, same = path.read_bytes(), 0, 0
    for bit in range(0, 8 * len(raw), 47):  # each bit of a byte in turn
        path.write_bytes(flipped(raw, bit))
        target = state(0)
        try:
            load_hdf5(path, target)
        except holdfast.HoldfastError:
            assert repr(target) == repr(state(0)), bit
            found += 1
        else:
            assert repr(target) == repr(state()), bit
            same += 1
    assert found > 10 * same > 0


@pytest.mark.parametrize(
    "value",
    [np.int64(0x1234_5678), np.float64(0.123456789), b"what is said", np.array([[0.987654321]]), np.int64(1003)],
    ids=["an int", "a float", "a text", "one element", "an array"],
)
def test_every_bit_of_a_value_that_stands_in_the_file_as_it_is_is_covered(path, value):
    save_hdf5(path, state() | {"model": {"b": np.arange(1000, 1008)}}, compression=None)
    raw, stored = path.read_bytes(), value if isinstance(value, bytes) else value.tobytes()
    assert raw.count(stored) == 1
    for bit in range(8 * raw.index(stored), 8 * (raw.index(stored) + len(stored))):
        path.write_bytes(flipped(raw, bit))
        with pytest.raises(holdfast.DamagedError, match="state: "):
            load_hdf5(path, state(0) | {"model": {"b": np.zeros(8, int)}})


def test_an_array_is_covered_in_a_file_of_the_users_too(path):
    array = np.arange(1000, 1008)
    with h5py.File(path, "w") as file:
        HDF5Serializer(file, compression=None)("b", array)
    raw = path.read_bytes()
    path.write_bytes(flipped(raw, 8 * raw.index(array.tobytes()) + 3))
    with pytest.raises(holdfast.DamagedError, match="'b' cannot be read"):
        load_hdf5(path, {"b": np.zeros(8, int)})


def test_a_text_that_is_too_long_for_a_header_is_written_all_the_same(path):
    text = "a" * 70_000
    save_hdf5(path, {"text": text})
    target = {"text": ""}
    load_hdf5(path, target)
    assert target["text"] == text
