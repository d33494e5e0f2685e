"""A file that was cut off, added to or mixed up is refused, and the message says where. Flipped bits: tests/faults."""

from __future__ import annotations

import numpy as np
import pytest

from format.handmade import array, branch, file_of, grow, memory, packed, value, window
from holdfast.errors import DamagedError
from holdfast.format import reader
from holdfast.format.sums import PAGE

HEADER = PAGE
LEAVES = {
    "model/w": (0, 4096),
    "model/b": (4096, 8192),
    "time": (8192, 10240),
    "~shared/0": (10240, 11264),
    "mask": (11264, 11776),
    "text": (11776, 12288),
}
"""The bytes of each in the data part."""


def file_of_16_kib() -> bytes:
    random = np.random.default_rng(0)
    bias = array(random.random(512, np.float64), "torch")
    common = memory(random.bytes(1024))
    model = branch("dict", {"w": array(random.random((64, 8), np.float64), "torch"), "b": bias})
    root = {
        "model": model,
        "time": array(np.arange(256).astype("M8[s]")),
        "low": window(common, 0, "F32", (200,), (4,)),
        "high": window(common, 256, "F32", (192,), (4,)),
        "mask": array(random.random(512) < 0.5),
        "n": value("int", 3),
        "text": packed("str", b"x" * 512),
        "tied": bias,
    }
    return file_of(grow(branch("dict", root)), metadata={"note": "x"})


FILE = file_of_16_kib()


def read(file: bytes | bytearray) -> None:
    """All that a reader does before it hands out a byte."""
    with reader.parse(memoryview(file), "here") as opened:
        opened.verify()


def test_the_file_is_whole_and_has_16_kib():
    assert len(FILE) == 16 * 1024
    with reader.parse(memoryview(FILE), "here") as file:
        file.verify()
        found = {leaf.path: leaf.nbytes for leaf in file.tree().leaves()}
    assert found == {path: end - start for path, (start, end) in LEAVES.items()}


def test_every_truncation_is_refused():
    for size in range(len(FILE)):
        with pytest.raises(DamagedError, match=r"here: the header \(bytes 0-4095\) "):
            read(FILE[:size])


@pytest.mark.parametrize("more", [b"\0", b"x", bytes(4096), FILE])
def test_every_extension_is_refused(more):
    with pytest.raises(DamagedError, match=f"says that the file has 16384 bytes, but it has {16384 + len(more)}"):
        read(FILE + more)


def test_truncations_and_extensions_of_a_mapped_file_are_refused(tmp_path):
    path = tmp_path / "file"
    for content in (FILE[:-1], FILE[:PAGE], FILE[: PAGE - 1], FILE[:1], b"", FILE + b"\0"):
        path.write_bytes(content)
        with pytest.raises(DamagedError, match=f"{path}: the header"):
            reader.open_file(path)
        with pytest.raises(DamagedError, match=f"{path}: the header"):
            reader.info(path)


@pytest.mark.parametrize("sector", range(0, 16 * 1024, 512))
def test_every_lost_sector_is_refused(sector):
    for content in (bytes(512), bytes([255]) * 512, FILE[(sector + 512) % len(FILE) :][:512]):
        damaged = FILE[:sector] + content + FILE[sector + 512 :]
        if damaged != FILE:
            with pytest.raises(DamagedError, match=r"here: the (header|leaf '[^']+') \(bytes \d+-\d+\)"):
                read(damaged)


def test_two_leaves_that_changed_places_are_refused():
    w, b = (FILE[HEADER + start : HEADER + end] for start, end in (LEAVES["model/w"], LEAVES["model/b"]))
    with pytest.raises(DamagedError, match="'model/w'"):
        read(FILE[:HEADER] + b + w + FILE[HEADER + 8192 :])
