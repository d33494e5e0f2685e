"""Where a file's bytes come from: the page cache, or the disk past it; what cannot be read is named, and only that."""

from __future__ import annotations

import errno
import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from holdfast import files
from holdfast.errors import DamagedError, MismatchError
from holdfast.format import checking, reader, source
from holdfast.format.source import DirectSource, MappedSource
from holdfast.memory import Memory

BLOCK = 64 << 10
STATE = {
    "large": np.arange(50_000.0),
    **{f"small{number}": np.arange(1500.0) + number for number in range(40)},
    "empty": np.empty(0),
}


@pytest.fixture
def path(tmp_path: Path) -> str:
    path = str(tmp_path / "snapshot")
    files.save(path, STATE)
    return path


def is_direct(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECT))
    except (OSError, AttributeError):
        return False
    return True


@pytest.fixture
def cold(monkeypatch: pytest.MonkeyPatch, path: str) -> str:
    """The path of a file that passes for one that is not in the page cache, and has many blocks."""
    if not is_direct(path):
        pytest.skip("this file system, or this system, has no O_DIRECT")
    monkeypatch.setattr(source, "is_cold", lambda descriptor, size: True)
    monkeypatch.setattr(source, "DIRECT_FROM", 0)
    for module in (source, checking):
        monkeypatch.setattr(module, "BLOCK_BYTES", BLOCK)
    monkeypatch.setattr(checking, "GROUP_BYTES", BLOCK)
    return path


def blank() -> dict[str, Any]:
    return {name: np.zeros_like(array) for name, array in STATE.items()}


def is_restored(target: dict[str, Any]) -> bool:
    return all(np.array_equal(target[name], array) for name, array in STATE.items())


class Reads:
    """Stands in for os.preadv: remembers what was read, and fails where it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.blocks: list[int] = []
        self.failure: tuple[int, int, int] | None = None  # from where to where, and the errno
        self._preadv = os.preadv
        monkeypatch.setattr(os, "preadv", self)

    def __call__(self, descriptor: int, buffers: list[Any], offset: int, *flags: int) -> int:
        self.blocks.append(offset)
        if self.failure is not None:
            start, stop, number = self.failure
            if offset < stop and offset + len(buffers[0]) > start:
                raise OSError(number, os.strerror(number))
        return self._preadv(descriptor, buffers, offset, *flags)


def opened_source(path: str, room: Memory | None = None) -> Any:
    with open(path, "rb") as file:
        return source.open_source(path, file.fileno(), whole=True, writable=False, room=room)


def test_a_file_is_read_past_the_page_cache_each_block_once(cold, monkeypatch):
    reads, target = Reads(monkeypatch), blank()
    files.restore(cold, target)
    assert is_restored(target)
    size = os.path.getsize(cold)
    assert sorted(reads.blocks) == list(range(0, size, BLOCK))


def test_only_what_is_wanted_is_read(cold, monkeypatch):
    reads, target = Reads(monkeypatch), np.zeros(1500)
    files.restore(cold, target, subtree="small39")
    assert np.array_equal(target, STATE["small39"])
    assert len(set(reads.blocks)) <= 4 < os.path.getsize(cold) // BLOCK


def test_room_that_is_handed_in_grows_is_read_into_and_stays(cold):
    room, target = Memory(4096), blank()
    files.restore_through(room, cold, target)
    assert is_restored(target)
    content = Path(cold).read_bytes()
    assert room.view[: len(content)].tobytes() == content
    assert room.view.flags.writeable


def test_what_was_restored_does_not_look_into_the_room(cold):
    room = Memory(4096)
    restored = files.restore_through(room, cold, dict.fromkeys(STATE))
    room.view[:] = 255
    assert is_restored(restored)


def test_room_is_left_alone_where_the_file_is_in_the_page_cache(path):
    room, target = Memory(4096), blank()
    files.restore_through(room, path, target)
    assert is_restored(target)
    assert room.size_bytes == 4096


def test_a_load_maps_the_file_whatever_the_cache_has(cold):
    with reader.open_file(cold) as file:
        assert isinstance(file._source, MappedSource)


@pytest.mark.parametrize("position", [0.3, 0.97])
def test_a_place_that_cannot_be_read_is_named_by_its_leaf_and_others_of_its_block_are_not(cold, monkeypatch, position):
    with reader.open_file(cold) as file:
        file.tree()
        begin, leaves = file._sums.start, file._sums.leaves
    starts = itertools.accumulate([leaf.nbytes for leaf in leaves], initial=begin)
    placed = [(start, leaf) for start, leaf in zip(starts, leaves, strict=False) if leaf.nbytes]
    at, bad = next((at, leaf) for at, leaf in placed if at + leaf.nbytes > position * os.path.getsize(cold))
    middle = (at + bad.nbytes // 2) // 4096 * 4096
    reads, target = Reads(monkeypatch), blank()
    reads.failure = middle, middle + 512, errno.EIO
    wanted = rf"the leaf '{bad.path}' \(bytes {at}-.*cannot be read from the disk"
    with pytest.raises(DamagedError, match=wanted):
        files.restore(cold, target)
    assert all(not array.any() for array in target.values())
    others = [leaf.path for start, leaf in placed if not start - 4096 < middle < start + leaf.nbytes + 4096]
    for name in others[:5]:
        restored = files.restore(cold, np.zeros_like(STATE[name]), subtree=name)
        assert np.array_equal(restored, STATE[name])


def test_a_header_that_cannot_be_read_is_named(cold, monkeypatch):
    reads = Reads(monkeypatch)
    reads.failure = 0, 512, errno.EIO
    with pytest.raises(DamagedError, match=r"the header .*cannot be read from the disk"):
        files.restore(cold, blank())


def test_damage_on_the_disk_is_found_before_the_target_changes(cold):
    with open(cold, "r+b") as file:
        file.seek(-3, os.SEEK_END)
        byte = file.read(1)
        file.seek(-3, os.SEEK_END)
        file.write(bytes((byte[0] ^ 1,)))
    target = blank()
    with pytest.raises(DamagedError, match="does not match its checksum"):
        files.restore(cold, target)
    assert all(not array.any() for array in target.values())


def test_a_file_that_is_cut_off_while_it_is_read_is_damaged(cold):
    with files.opened(cold, whole=True) as file:
        file.tree()
        os.truncate(cold, os.path.getsize(cold) // 2)
        with pytest.raises(DamagedError, match=r"the leaf .*cannot be read from the disk"):
            file.verify()


def test_where_direct_reads_are_refused_the_page_cache_gives_the_bytes(cold, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    preadv, direct = os.preadv, []

    def refuse(descriptor: int, buffers: list[Any], offset: int, *flags: int) -> int:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT:
            direct.append(offset)
            raise OSError(errno.EINVAL, "refused")
        return preadv(descriptor, buffers, offset, *flags)

    monkeypatch.setattr(os, "preadv", refuse)
    target = blank()
    files.restore(cold, target)
    assert direct
    assert is_restored(target)


@pytest.mark.parametrize("name", ["Memory", "DirectSource"])
def test_without_memory_or_a_file_system_for_it_the_file_is_mapped(cold, monkeypatch, name):
    def fail(*arguments: object) -> None:
        raise MemoryError if name == "Memory" else OSError(errno.EINVAL, "no O_DIRECT here")

    monkeypatch.setattr(source, name, fail)
    assert isinstance(opened_source(cold), MappedSource)
    target = blank()
    files.restore(cold, target)
    assert is_restored(target)


def test_a_file_that_was_replaced_meanwhile_is_not_mixed_up_with_the_new_one(cold, tmp_path):
    with open(cold, "rb") as file:
        files.save(cold, {"other": 1})
        found = source.open_source(cold, file.fileno(), whole=True, writable=False, room=None)
        assert isinstance(found, MappedSource)
        file.seek(0)
        assert found.memory.tobytes() == file.read()


def test_nothing_is_read_into_memory_that_the_machine_does_not_have(cold, monkeypatch):
    monkeypatch.setattr(source, "available_bytes", lambda: 1000)
    assert isinstance(opened_source(cold), MappedSource)
    room = Memory(4096)
    found = opened_source(cold, room)  # which was asked for
    assert isinstance(found, DirectSource)
    found.close()


def test_descriptors_are_closed(cold):
    before = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []
    files.restore(cold, blank())
    with pytest.raises(MismatchError):
        files.restore(cold, {})
    assert len(os.listdir("/proc/self/fd")) == len(before) if before else True


def test_what_is_in_the_page_cache_is_known(tmp_path):
    path = str(tmp_path / "file")
    with open(path, "wb") as file:
        file.write(os.urandom(8 << 20))
        file.flush()
        os.fsync(file.fileno())
    with open(path, "rb") as file:
        while file.read(1 << 20):
            pass
        assert not source.is_cold(file.fileno(), 8 << 20)
        if not hasattr(os, "posix_fadvise") or not is_direct(path):
            pytest.skip("nothing can be taken out of the page cache here")
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        assert source.is_cold(file.fileno(), 8 << 20)


def test_some_memory_is_available():
    assert source.available_bytes() > 1 << 20


@pytest.mark.parametrize("kind", ["safetensors", "npz"])
def test_other_formats_are_read_past_the_page_cache_too(cold, tmp_path, kind):
    path = str(tmp_path / "other")
    arrays = {name: array for name, array in STATE.items() if array.size}
    if kind == "npz":
        with open(path, "wb") as file:
            np.savez(file, **arrays)
    else:
        safetensors.numpy.save_file(arrays, path)
    target = {name: np.zeros_like(array) for name, array in arrays.items()}
    files.restore(path, target)
    assert all(np.array_equal(target[name], array) for name, array in arrays.items())
