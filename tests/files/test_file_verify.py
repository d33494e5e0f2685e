"""holdfast.files.verify and info: how much each reads, what it says, and what it refuses."""

from __future__ import annotations

import json
import mmap
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from holdfast import files
from holdfast.errors import DamagedError, UnknownFormatError
from holdfast.format.prefix import facts_sum
from holdfast.format.sums import FACTS_AT, FACTS_SUM, HEADER_SUM, PREFIX, VERSION_AT, header_sum

STATE = {"weight": np.arange(200_000.0), "bias": np.arange(500.0), "step": 3}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "snapshot.safetensors"
    files.save(path, STATE, metadata={"note": "x" * 6000})
    return path


def ranges(path):
    """Where each leaf stands, as any reader of safetensors finds it."""
    raw = path.read_bytes()
    start = 8 + PREFIX.unpack_from(raw)[0]
    spec = json.loads(raw[8:start])
    del spec["__metadata__"]
    return {name: [start + offset for offset in entry["data_offsets"]] for name, entry in spec.items()}


def flip(path, position):
    with open(path, "r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes((byte ^ 0x10,)))


@pytest.mark.parametrize("name", ["weight", "bias"])
@pytest.mark.parametrize("end", ["first", "last"])
def test_verify_names_the_leaf_and_its_byte_range(path, name, end):
    start, stop = ranges(path)[name]
    flip(path, start if end == "first" else stop - 1)
    wanted = f"{path}: the leaf '{name}' (bytes {start}-{stop - 1}) does not match its checksum; the file is damaged"
    with pytest.raises(DamagedError, match=re.escape(wanted)):
        files.verify(path)


def test_verify_names_the_header(path):
    size = min(start for start, _ in ranges(path).values())
    for position in (50, 100, 5000, size - 1):
        flip(path, position)
        with pytest.raises(DamagedError, match=re.escape(f"{path}: the header (bytes 0-{size - 1}) does not match")):
            files.verify(path)
        flip(path, position)
    files.verify(path)


def test_verify_changes_nothing(path):
    before, stat = path.read_bytes(), path.stat()
    assert files.verify(path) == files.info(path)
    assert path.read_bytes() == before
    assert path.stat().st_mtime_ns == stat.st_mtime_ns
    assert os.listdir(path.parent) == [path.name]


def write_npz(path):
    np.savez(path, a=np.arange(3))


def write_safetensors(path):
    pytest.importorskip("safetensors.numpy").save_file({"a": np.arange(3)}, path)


@pytest.mark.parametrize("write", [write_npz, write_safetensors])
def test_verify_refuses_formats_that_have_no_checksums_of_holdfast(tmp_path, write):
    path = tmp_path / "other.npz"
    write(path)
    wanted = f"{path}: is of the format {write.__name__[6:]}, which has no checksums to verify"
    with pytest.raises(UnknownFormatError, match=re.escape(wanted)):
        files.verify(path)
    with pytest.raises(UnknownFormatError, match="is no snapshot file"):
        files.info(path)


LOST = """
import os, sys
from holdfast import files
from holdfast.errors import DamagedError

path, size = sys.argv[1], int(sys.argv[2])
with files.opened(path) as file:
    os.truncate(path, size)  # from here on, touching the rest of the map is signal 7, as where a disk fails
    try:
        file.verify()
    except DamagedError as error:
        print(error)
"""


def kernel_can_tell():
    with mmap.mmap(-1, mmap.PAGESIZE) as memory:
        try:
            memory.madvise(22, 0, mmap.PAGESIZE)
        except (OSError, AttributeError):
            return False
    return sys.platform == "linux"


@pytest.mark.skipif(not kernel_can_tell(), reason="only Linux from 5.14 on tells that a page cannot be read")
@pytest.mark.parametrize(("size", "what"), [(12288, "the leaf 'weight' (bytes 12288-1612287)"), (4096, "the header")])
def test_what_the_disk_does_not_give_is_damage_and_not_the_end_of_the_process(path, program, size, what):
    assert min(start for start, _ in ranges(path).values()) == 12288
    said = program(LOST, path, size).end()
    assert said.startswith(f"{path}: {what}")
    assert "cannot be read from the disk; the file is damaged, use an older snapshot" in said


def test_info_looks_at_nothing_behind_the_first_4_kib(path):
    known = files.info(path)
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(os.urandom(known.size_bytes - 4096))
    assert files.info(path) == known
    with pytest.raises(DamagedError):
        files.verify(path)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts the bytes that a process reads")
def test_info_reads_4_kib_and_maps_nothing(path, monkeypatch):
    def read_bytes():
        return int(re.search(r"rchar: (\d+)", Path("/proc/self/io").read_text())[1])

    files.info(path)
    monkeypatch.setattr(mmap, "mmap", None)
    before = read_bytes()
    own = read_bytes() - before  # what the counting itself reads
    before = read_bytes()
    files.info(path)
    assert read_bytes() - before - own == 4096


def test_info_finds_damage_in_what_it_reads_and_in_the_length(path):
    flip(path, FACTS_AT + 10)
    with pytest.raises(DamagedError, match=r"the header \(bytes 0-\d+\) does not match the checksum of its facts"):
        files.info(path)
    flip(path, FACTS_AT + 10)
    with open(path, "ab") as file:
        file.write(b"\0")
    with pytest.raises(DamagedError, match="says that the file has"):
        files.info(path)


def test_info_is_not_fooled_by_a_name(path, tmp_path):
    path.rename(tmp_path / "other.npz")
    assert files.info(tmp_path / "other.npz").name == "other.npz"


def of_a_newer_version(path):
    """The file as a later version of the format has it: both sums are at the same place and right."""
    raw = bytearray(path.read_bytes())
    size = PREFIX.size + PREFIX.unpack_from(raw)[0]
    raw[VERSION_AT] = ord("2")
    facts = raw[FACTS_AT : raw.index(b'"', raw.index(b'}"', FACTS_AT))]
    raw[FACTS_SUM] = facts_sum(bytes(raw[:FACTS_AT]), bytes(facts))
    raw[HEADER_SUM] = header_sum(raw[:size])
    path.write_bytes(raw)


@pytest.mark.parametrize("read", [files.info, files.verify, files.load, lambda path: files.restore(path, {})])
def test_a_file_of_a_newer_version_is_no_damage_and_the_message_says_what_to_do(path, read):
    of_a_newer_version(path)
    wanted = f"{path}: is of version '2' of the format, this holdfast reads version '1'; upgrade holdfast"
    with pytest.raises(UnknownFormatError, match=re.escape(wanted)):
        read(path)
