"""Copies by address, with the compiled kernel and without."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from array import array
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from holdfast import crew
from holdfast.state import memcopy

ROOM = 4096
PIECE = 256 << 10  # of memcopy.c


@pytest.fixture(params=["compiled", "plain"])
def kernel(request):
    found = getattr(memcopy, request.param)()
    if found is None:
        assert shutil.which("cc") is None, "there is a C compiler, and installing did not compile memcopy.c"
        pytest.skip("no C compiler was found when holdfast was installed")
    return found


def row(size: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8)


@pytest.fixture(params=["small", "large"])
def copy(request, kernel):
    """Copies rows, each given as (target, source, size)."""
    prepare = getattr(kernel, request.param)

    def move(*rows):
        targets, sources, sizes = zip(*rows, strict=True)
        prepare(array("Q", targets), array("Q", sizes))(sources)

    return move


@pytest.mark.parametrize("size", [0, 1, 15, 63, 64, 65, 127, 128, 1000, ROOM])
def test_a_copy_has_every_byte_and_leaves_its_neighbours_alone(copy, size):
    source = row(ROOM + 64, size)
    for to in range(0, 65, 3):
        for start in (0, 1, 7, 16, 63):
            target = np.full(ROOM + 200, 7, np.uint8)
            copy((target.ctypes.data + to, source.ctypes.data + start, size))
            assert np.array_equal(target[to : to + size], source[start : start + size])
            assert (target[:to] == 7).all()
            assert (target[to + size :] == 7).all()


def test_memory_copied_onto_itself_is_what_it_was(copy):
    memory = row(ROOM, 1)
    before = memory.copy()
    copy((memory.ctypes.data, memory.ctypes.data, ROOM))
    assert np.array_equal(memory, before)


@pytest.mark.parametrize("kind", [list, lambda found: array("Q", found), iter], ids=["list", "array", "iterator"])
@pytest.mark.parametrize("sizes", [[0, 1, 8, 100, 1024], [0, 5, 300_000, PIECE, 2 * PIECE + 3]], ids=["few", "many"])
def test_every_row_is_copied_to_its_place_again_and_again(kernel, kind, sizes):
    chance = random.Random(0)
    sources = [row(chance.choice(sizes), number) for number in range(60)]
    ends = np.cumsum([len(one) + 1 for one in sources])
    target = np.zeros(ends[-1], np.uint8)
    places = [end - len(one) - 1 for end, one in zip(ends, sources, strict=True)]
    to = array("Q", [target.ctypes.data + int(place) for place in places])
    for prepare in (kernel.small, kernel.large):
        copy = prepare(to, array("Q", [len(one) for one in sources]))
        for _ in range(2):
            target[:] = 7
            kernel.call_up()
            copy(kind([one.ctypes.data for one in sources]))
            for place, one in zip(places, sources, strict=True):
                assert np.array_equal(target[place : place + len(one)], one)
                assert target[place + len(one)] == 7


def test_a_source_too_few_or_too_many_is_refused_before_anything_is_copied(kernel):
    target, source = np.zeros(8, np.uint8), np.ones(8, np.uint8)
    for prepare in (kernel.small, kernel.large):
        copy = prepare(array("Q", [target.ctypes.data]), array("Q", [8]))
        with pytest.raises(ValueError, match=r"not \[1, 2, 1\]"):
            copy([source.ctypes.data] * 2)
        with pytest.raises(ValueError, match=r"not \[1, 0, 1\]"):
            copy([])
    assert not target.any()


class Block:
    """A large copy that can be made again with other bytes."""

    def __init__(self, kernel, size):
        self.source, self.target = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
        self.copy = kernel.large(array("Q", [self.target.ctypes.data]), array("Q", [size]))

    def holds_after_a_copy(self, value):
        self.source[:] = value
        self.copy([self.source.ctypes.data])
        self.source[:] = 0  # nothing may be copied any more
        return bool((self.target == value).all())


def test_threads_that_copy_at_once_have_each_its_own_bytes(kernel):
    blocks = [Block(kernel, (3 << 20) + number) for number in range(4)]

    def work(number):
        return all(blocks[number].holds_after_a_copy(1 + (number + turn) % 250) for turn in range(40))

    with ThreadPoolExecutor(len(blocks)) as threads:
        assert list(threads.map(work, range(len(blocks)))) == [True] * len(blocks)


FORK = """
import os, sys
from array import array
import numpy as np
from holdfast.state import memcopy

kernel = getattr(memcopy, sys.argv[1])()
source, target = np.zeros(8 << 20, np.uint8), np.zeros(8 << 20, np.uint8)
copy = kernel.large(array("Q", [target.ctypes.data]), array("Q", [source.size]))

def copies(values):
    for value in values:
        source[:] = value
        copy([source.ctypes.data])
        if (target != value).any():
            return False
    return True

assert copies(range(5))
kernel.call_up()  # the child is made while helpers are awake
child = os.fork()
if not child:
    os._exit(0 if copies(range(5, 25)) else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), copies(range(25, 30)))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("kind", ["compiled", "plain"])
def test_a_forked_child_copies_with_helpers_of_its_own(kind):
    if getattr(memcopy, kind)() is None:
        pytest.skip("no C compiler was found when holdfast was installed")
    quiet = ["-W", "ignore:This process"]  # of Python 3.12 and later, at a fork of a process that has threads
    command = [sys.executable, *quiet, "-c", FORK, kind]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("0 True\n", "")


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.skipif(crew.processors() < 2, reason="helpers need a second processor")
def test_helpers_leave_signals_to_the_threads_of_python():
    kernel = memcopy.compiled()
    if kernel is None:
        pytest.skip("no C compiler was found when holdfast was installed")
    assert Block(kernel, 8 << 20).holds_after_a_copy(1)
    found = [
        dict(line.split(":\t") for line in task.joinpath("status").read_text().splitlines())
        for task in Path("/proc/self/task").iterdir()
        if task.joinpath("comm").read_text() == "holdfast-copy\n"
    ]
    assert 1 <= len(found) <= crew.LIMIT
    assert all(int(one["SigBlk"], 16) & 1 << signal.SIGINT - 1 for one in found)


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
    command = [compiler, "-std=c11", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fPIC", "-shared", "-pthread"]
    subprocess.run([*command, "-o", str(tmp_path / "it.so"), str(source)], check=True)
    subprocess.run([*command, "-U__SSE2__", "-o", str(tmp_path / "plain.so"), str(source)], check=True)
    assert (tmp_path / "it.so").read_bytes() != (tmp_path / "plain.so").read_bytes()  # what other processors get
