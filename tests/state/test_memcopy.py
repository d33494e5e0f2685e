"""Copies by address, with the compiled kernel and without."""

from __future__ import annotations

import random
import shutil
import subprocess
from array import array
from pathlib import Path

import numpy as np
import pytest

from holdfast.state import memcopy

ROOM = 4096


@pytest.fixture(params=["compiled", "plain"])
def kernel(request):
    found = getattr(memcopy, request.param)()
    if found is None:
        assert shutil.which("cc") is None, "there is a C compiler, and installing did not compile memcopy.c"
        pytest.skip("no C compiler was found when holdfast was installed")
    return found


def row(size: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8)


@pytest.mark.parametrize("size", [0, 1, 15, 63, 64, 65, 127, 128, 1000, ROOM])
def test_a_copy_has_every_byte_and_leaves_its_neighbours_alone(kernel, size):
    source = row(ROOM + 64, size)
    for to in range(0, 65, 3):
        for start in (0, 1, 7, 16, 63):
            target = np.full(ROOM + 200, 7, np.uint8)
            kernel.large(target.ctypes.data + to, source.ctypes.data + start, size)
            assert np.array_equal(target[to : to + size], source[start : start + size])
            assert (target[:to] == 7).all()
            assert (target[to + size :] == 7).all()


def test_memory_copied_onto_itself_is_what_it_was(kernel):
    memory = row(ROOM, 1)
    before = memory.copy()
    kernel.large(memory.ctypes.data, memory.ctypes.data, ROOM)
    kernel.each([memory.ctypes.data], [memory.ctypes.data], [ROOM])
    assert np.array_equal(memory, before)


@pytest.mark.parametrize("kind", [list, lambda found: array("Q", found), iter], ids=["list", "array", "iterator"])
def test_many_small_ones_are_copied_each_to_its_place(kernel, kind):
    chance = random.Random(0)
    sources = [row(chance.choice([0, 1, 8, 100, 1024]), number) for number in range(500)]
    target = np.full(sum(len(one) + 1 for one in sources), 7, np.uint8)
    places, at = [], 0
    for one in sources:
        places.append(at)
        at += len(one) + 1
    kernel.each(
        kind([target.ctypes.data + place for place in places]),
        kind([one.ctypes.data for one in sources]),
        kind([len(one) for one in sources]),
    )
    for place, one in zip(places, sources, strict=True):
        assert np.array_equal(target[place : place + len(one)], one)
        assert target[place + len(one)] == 7


def test_rows_of_unequal_length_are_refused_before_anything_is_copied():
    kernel = memcopy.compiled()
    if kernel is None:
        pytest.skip("no C compiler was found when holdfast was installed")
    target, source = np.zeros(8, np.uint8), np.ones(8, np.uint8)
    with pytest.raises(ValueError, match=r"not \[1, 2, 1\]"):
        kernel.each([target.ctypes.data], [source.ctypes.data] * 2, [8])
    assert not target.any()


def test_without_the_library_memmove_is_used(tmp_path, monkeypatch):
    monkeypatch.setattr(memcopy, "LIBRARY", str(tmp_path / "missing.so"))
    assert memcopy.compiled() is None
    (tmp_path / "missing.so").write_bytes(b"no library")
    assert memcopy.compiled() is None


def test_the_source_compiles_without_a_warning(tmp_path):
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    source = Path(memcopy.__file__).with_suffix(".c")
    command = [compiler, "-std=c99", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fPIC", "-shared"]
    subprocess.run([*command, "-o", str(tmp_path / "it.so"), str(source)], check=True)
    subprocess.run([*command, "-U__SSE2__", "-o", str(tmp_path / "plain.so"), str(source)], check=True)
    assert (tmp_path / "it.so").read_bytes() != (tmp_path / "plain.so").read_bytes()  # what other processors get
