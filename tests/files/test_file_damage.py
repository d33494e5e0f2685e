"""No damaged snapshot file is ever restored: every length, and what larger accidents do. Every bit: tests/faults."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast import files
from holdfast.errors import DamagedError

SIZE = 16384
HEADER = 12288
RAM = Path("/dev/shm")

STATE = {
    "weight": np.linspace(-1, 1, 256),
    "bias": np.linspace(-1, 1, 500, dtype=np.float32),
    "step": np.arange(48, dtype=np.uint8),
    "epoch": 3,
}
METADATA = {"log": "x" * 8192}  # makes the header three pages long


class Victim:
    """A snapshot file that is damaged and mended in place, and a target that nothing of it may reach."""

    def __init__(self, path):
        files.save(path, STATE, metadata=METADATA)
        self.path = str(path)
        self.whole = path.read_bytes()
        self.fd = os.open(path, os.O_RDWR)
        self.target = {key: np.full_like(one, 77) if key != "epoch" else 77 for key, one in STATE.items()}
        self._before = [one if key == "epoch" else one.tobytes() for key, one in self.target.items()]
        (size,) = struct.unpack("<Q", self.whole[:8])
        entries = json.loads(self.whole[8 : 8 + size])
        start = {name: entry["data_offsets"] for name, entry in entries.items() if name != "__metadata__"}
        self.ranges = {name: (8 + size + low, 8 + size + high - 1) for name, (low, high) in start.items()}

    def put(self, data, offset):
        os.pwrite(self.fd, data, offset)

    def damage(self):
        """What restore says of the file as it is now; the target must be as it was."""
        try:
            files.restore(self.path, self.target)
        except DamagedError as error:
            message = str(error)
        else:
            message = "restored"
        after = [one if key == "epoch" else one.tobytes() for key, one in self.target.items()]
        return message if after == self._before else "the target was changed"

    def wanted(self, position):
        """What the message must name for damage at one byte."""
        if position < HEADER:
            return ("the header (bytes 0-",)
        (name,) = [name for name, (low, high) in self.ranges.items() if low <= position <= high]
        return f"the leaf '{name}'", f"(bytes {self.ranges[name][0]}-{self.ranges[name][1]})"


@pytest.fixture
def victim(tmp_path):
    # A file system in memory where there is one: this makes 20,000 files of one.
    directory = RAM if os.access(RAM, os.W_OK) else tmp_path
    path = directory / f"holdfast-test-{os.getpid()}.safetensors"
    found = Victim(path)
    try:
        yield found
    finally:
        os.close(found.fd)
        path.unlink()


def test_the_file_of_these_tests_is_as_they_think(victim):
    assert len(victim.whole) == SIZE
    assert min(low for low, _ in victim.ranges.values()) == HEADER
    assert max(high for _, high in victim.ranges.values()) == SIZE - 1
    assert victim.damage() == "the target was changed"  # it is whole, and so it was restored
    assert all(np.array_equal(victim.target[key], one) for key, one in STATE.items())


def test_a_file_cut_off_anywhere_is_refused(victim):
    for size in reversed(range(SIZE)):
        os.ftruncate(victim.fd, size)
        said = victim.damage()
        if "the header (bytes 0-" not in said:
            pytest.fail(f"cut off to {size} bytes: {said}")


@pytest.mark.parametrize("more", [1, 7, 8, 4096, SIZE, 1 << 20])
@pytest.mark.parametrize("filling", ["zeroes", "itself"])
def test_a_file_with_more_behind_it_is_refused(victim, more, filling):
    victim.put(bytes(more) if filling == "zeroes" else (victim.whole * 64)[:more], SIZE)
    assert "the header (bytes 0-12287) says that the file has 16384 bytes, but it has" in victim.damage()


@pytest.mark.parametrize("page", range(SIZE // 4096))
def test_a_page_that_was_never_written_is_found(victim, page):
    victim.put(bytes(4096), page * 4096)
    assert victim.wanted(page * 4096)[0] in victim.damage()


def test_blocks_that_changed_places_are_found(victim):
    victim.put(victim.whole[14336:] + victim.whole[12288:14336], 12288)
    assert "the leaf 'weight' (bytes 12288-14335)" in victim.damage()


def test_the_header_of_one_file_on_the_data_of_another_is_found(victim, tmp_path):
    other = {**STATE, "step": STATE["step"] + 1}
    files.save(tmp_path / "other", other, metadata=METADATA)
    data = (tmp_path / "other").read_bytes()[HEADER:]
    victim.put(data, HEADER)
    assert victim.wanted(SIZE - 1)[0] in victim.damage()
    victim.put(victim.whole[HEADER:], HEADER)
    victim.put((tmp_path / "other").read_bytes()[:HEADER], 0)
    assert victim.wanted(SIZE - 1)[0] in victim.damage()


def test_two_leaves_that_changed_places_are_found(victim):
    state = {"a": np.arange(8.0), "b": np.arange(8.0)[::-1].copy()}
    files.save(victim.path + ".2", state)
    raw = Path(victim.path + ".2").read_bytes()
    Path(victim.path + ".2").write_bytes(raw[:-128] + raw[-64:] + raw[-128:-64])
    try:
        with pytest.raises(DamagedError, match="the leaf 'a'"):
            files.load(victim.path + ".2")
    finally:
        Path(victim.path + ".2").unlink()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(offset=st.integers(0, SIZE - 1), data=st.binary(min_size=1, max_size=200))
def test_bytes_written_over_any_part_are_found(victim, offset, data):
    data = data[: SIZE - offset]
    if data == victim.whole[offset : offset + len(data)]:
        return
    victim.put(data, offset)
    said = victim.damage()
    victim.put(victim.whole, 0)
    assert "the header (bytes 0-" in said or "the leaf '" in said


@pytest.mark.parametrize("call", [files.load, files.verify])
def test_load_and_verify_name_the_same_damage(victim, call):
    for position in (100, 5000, HEADER, SIZE - 1):
        victim.put(bytes((victim.whole[position] ^ 1,)), position)
        with pytest.raises(DamagedError) as raised:
            call(victim.path)
        assert all(part in str(raised.value) for part in victim.wanted(position))
        victim.put(victim.whole, 0)
