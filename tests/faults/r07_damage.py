"""R7: no damage loads silently, and what is damaged is named.

Every bit of a file of 16 KiB through `holdfast.restore`, and of one of 64 KiB through the reader; then accidents of
other kinds in files of a MiB: several bits, cuts, and blocks that are zeroed, swapped, doubled or shifted. Each refusal
must name the header, or a leaf whose byte range holds a byte that differs, and leave the target as it was. A file whose
first bytes are another's is of no format that anybody knows: that, too, is a refusal.
"""

from __future__ import annotations

import itertools
import os
import random
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from faults import campaigns
from faults.campaigns import Outcome, merge
from holdfast import files
from holdfast.errors import DamagedError, UnknownFormatError
from holdfast.format import reader

SMALL, MIDDLE, LARGE = 16 << 10, 64 << 10, 1 << 20
BITS = 8 * (SMALL + MIDDLE)
RAM = Path("/dev/shm")
BEGINNING = 64  # of these bytes it depends which format a file is taken for
BLOCKS = (1, 512, 4096, 65536)
_NAMED = re.compile(r"the leaf '([^']*)' \(bytes (\d+)-(\d+)\)|the header \(bytes (0)-(\d+)\)")


class Victim:
    """A snapshot file of a given size, whole; and a target for it that holds something else."""

    def __init__(self, size_bytes: int, folder: Path, seed: int = 0) -> None:
        self.path = str(folder / f"holdfast-victim-{os.getpid()}-{size_bytes}.safetensors")
        state = _state(size_bytes // 2, seed)
        files.save(self.path, state)
        missing = size_bytes - os.path.getsize(self.path)
        state["rest"] = np.random.default_rng(seed).integers(0, 255, state["rest"].size + missing, np.uint8)
        files.save(self.path, state)
        self.whole = Path(self.path).read_bytes()
        assert len(self.whole) == size_bytes, f"{len(self.whole)} bytes instead of {size_bytes}"
        self.target: dict[str, Any] = {key: np.full_like(value, 77) for key, value in state.items()}
        self._before = self._bytes()
        self.header_bytes = 8 + struct.unpack_from("<Q", self.whole)[0]

    def restore(self) -> str:
        """What `restore` says of the file as it lies there; and it must leave the target alone."""
        try:
            files.restore(self.path, self.target)
        except DamagedError as error:
            said = str(error)
        else:
            said = "restored"
        return said if self._bytes() == self._before else f"the target was changed; {said}"

    def read(self, content: bytes | bytearray) -> str:
        """What the reader says of other bytes."""
        try:
            with reader.parse(memoryview(content), self.path) as opened:
                opened.verify()
        except DamagedError as error:
            return str(error)
        except UnknownFormatError as error:
            return f"the header (bytes 0-{BEGINNING - 1}): {error}"
        return "accepted"

    def header_bits(self, content: bytearray, at: int) -> list[str]:
        """What it says with each bit of one byte changed."""
        said = []
        for bit in range(8):
            content[at] ^= 1 << bit
            said.append(self.read(content))
            content[at] ^= 1 << bit
        return said

    def leaf_bits(self, content: bytearray, first: int, last: int) -> Iterator[tuple[int, list[str]]]:
        """The same for each of some bytes behind the header, which is read once; each comes with its place."""
        with reader.parse(memoryview(content), self.path) as opened:
            for at in range(first, last):
                said = []
                for bit in range(8):
                    content[at] ^= 1 << bit
                    try:
                        opened.verify()
                        said.append("accepted")
                    except DamagedError as error:
                        said.append(str(error))
                    content[at] ^= 1 << bit
                yield at, said

    def _bytes(self) -> list[bytes]:
        return [value.tobytes() for value in self.target.values()]


def _state(size_bytes: int, seed: int) -> dict[str, Any]:
    chance = np.random.default_rng(seed)
    return {
        "weight": chance.standard_normal(size_bytes // 32),
        "half": chance.standard_normal(size_bytes // 16).astype(np.float16),
        "mask": chance.random(size_bytes // 16) < 0.5,
        "step": np.array(3),
        "rest": chance.integers(0, 255, size_bytes // 4, np.uint8),
    }


@contextmanager
def victim(size_bytes: int, folder: Path, seed: int = 0) -> Iterator[Victim]:
    """One in memory, where there is a file system that is."""
    made = Victim(size_bytes, RAM if os.access(RAM, os.W_OK) else folder, seed)
    try:
        yield made
    finally:
        os.unlink(made.path)


def complaint(said: str, differs: Callable[[int, int], bool]) -> str:
    """What is wrong with a refusal; "" where nothing is.

    Args:
        differs: whether the bytes from one place to another, the last one included, are others than they were.
    """
    found = _NAMED.search(said)
    if found is None:
        return f"neither a leaf nor the header is named: {said}"
    start, end = (int(one) for one in (found[2] or found[4], found[3] or found[5]))
    return "" if differs(start, end) else f"what is named did not change: {said}"


def restored(first: int, last: int, folder: str) -> Outcome:
    """Every bit of some bytes of the small file, through restore."""
    bad = []
    with victim(SMALL, Path(folder)) as small:
        fd = os.open(small.path, os.O_RDWR)
        try:
            for at in range(first, last):
                byte = small.whole[at]
                for bit in range(8):
                    os.pwrite(fd, bytes((byte ^ 1 << bit,)), at)
                    if wrong := complaint(small.restore(), lambda start, end, at=at: start <= at <= end):
                        bad.append(f"byte {at}, bit {bit}, of {SMALL} restored: {wrong}")
                os.pwrite(fd, bytes((byte,)), at)
        finally:
            os.close(fd)
        if small.restore() != "the target was changed; restored":
            bad.append("the file is not whole in the end")
    return Outcome(8 * (last - first), tuple(bad))


def parsed(first: int, last: int, folder: str) -> Outcome:
    """Every bit of some bytes of the middle file, through the reader."""
    bad = []
    with victim(MIDDLE, Path(folder)) as middle:
        content = bytearray(middle.whole)
        header = range(first, min(last, middle.header_bytes))
        leaves = max(first, middle.header_bytes), last
        spoken = itertools.chain(
            ((at, middle.header_bits(content, at)) for at in header), middle.leaf_bits(content, *leaves)
        )
        for at, said in spoken:
            for bit, one in enumerate(said):
                if wrong := complaint(one, lambda start, end, at=at: start <= at <= end):
                    bad.append(f"byte {at}, bit {bit}, of {MIDDLE} read: {wrong}")
        if middle.read(content) != "accepted":
            bad.append("the file is not whole in the end")
    return Outcome(8 * (last - first), tuple(bad))


def accidents(count: int, seed: int, folder: str) -> Outcome:
    """Other damage to the large file, through the reader."""
    bad, tried, chance = [], 0, random.Random(seed)
    with victim(LARGE, Path(folder), seed) as large:
        while tried < count:
            kind, content = _accident(large.whole, chance)
            if content == large.whole:
                continue
            tried += 1
            said = large.read(content)

            def differs(start: int, end: int, content: bytes = content) -> bool:
                return content[start : end + 1] != large.whole[start : end + 1] or len(content) != len(large.whole)

            if wrong := complaint(said, differs):
                bad.append(f"{kind} (accident {tried} of seed {seed}): {wrong}")
    return Outcome(tried, tuple(bad))


def _accident(whole: bytes, chance: random.Random) -> tuple[str, bytes]:
    """One kind of damage; it may leave the bytes as they were."""
    content, size = bytearray(whole), len(whole)
    block = min(chance.choice(BLOCKS), size // 4)
    one, other = (chance.randrange(size // block) * block for _ in range(2))
    kind = chance.choice(("flips", "cut", "longer", "zeroed", "swapped", "doubled", "shifted"))
    if kind == "flips":
        for _ in range(chance.randrange(1, 9)):
            content[chance.randrange(size)] ^= 1 << chance.randrange(8)
    elif kind == "cut":
        del content[chance.randrange(size) :]
    elif kind == "longer":
        content += whole[one : one + block]
    elif kind == "zeroed":
        content[one : one + block] = bytes(len(content[one : one + block]))
    elif kind == "swapped":
        first, second = whole[one : one + block], whole[other : other + block]
        if len(first) == len(second):
            content[one : one + block], content[other : other + block] = second, first
    elif kind == "doubled":
        content[other : other + block] = whole[one : one + block][: len(content[other : other + block])]
    else:  # the rest has moved, and the file ends where it did
        content[one:one] = bytes(block)
        del content[size:]
    return kind, bytes(content)


def campaign(count: int, *, seed: int = 0, folder: Path) -> Outcome:
    """Every bit of the two files, and `count` accidents."""
    place, half = str(folder), count // 2
    jobs = [
        (name, *span, place)
        for name, size in (("restored", SMALL), ("parsed", MIDDLE))
        for span in ((0, size // 2), (size // 2, size))
    ]
    jobs += [("accidents", half, 2 * seed, place), ("accidents", count - half, 2 * seed + 1, place)]
    found = merge(campaigns.in_processes(part, jobs))
    return Outcome(found.tried, found.bad, found.bad_count, f"{BITS:,} single bits, {count:,} other accidents")


def part(name: str, *arguments: Any) -> Outcome:
    """One job of the campaign."""
    return {"restored": restored, "parsed": parsed, "accidents": accidents}[name](*arguments)
