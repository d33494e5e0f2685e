"""Past the page cache or through it: the same bytes, whatever is refused, and whoever writes them in which pieces."""

from __future__ import annotations

import errno
import logging
import os
import random
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.errors import CommitError
from holdfast.storage import direct_io, syscalls
from holdfast.storage.local import LocalStorage
from storage.conformance import OLD, StorageConformance, get, put
from storage.direct import BLOCK, Kernel, is_direct, needs_direct_io
from storage.looking import descriptors, files, told

SIZE = 5 * BLOCK + 321


@pytest.fixture(autouse=True)
def _every_file_is_large(monkeypatch):
    monkeypatch.setattr(direct_io, "FROM_BYTES", 1)
    monkeypatch.setattr(direct_io, "_refused", set())


@pytest.fixture
def disk(storage, directory):
    """A storage whose file system takes direct writes."""
    needs_direct_io(directory)
    return storage


def memory(size_bytes, off=0):
    """Random bytes, `off` bytes from the start of a page."""
    view = direct_io._aligned(size_bytes + off)[off:]
    view[:] = np.random.default_rng(size_bytes).bytes(size_bytes)
    return view


def write_pieces(storage, data, cuts, threads=1, seed=0):
    ends = sorted({0, len(data), *cuts})
    pieces = list(pairwise(ends))
    random.Random(seed).shuffle(pieces)
    upload = storage.create("model", len(data))
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda piece: upload.write(piece[0], data[piece[0] : piece[1]]), pieces))
    upload.commit()


class TestLocalStorageDirect(StorageConformance):
    @pytest.fixture
    def storage(self, tmp_path):
        return LocalStorage(tmp_path / "storage")


def test_whole_blocks_go_past_the_page_cache_from_the_callers_own_memory(disk, faults):
    data, seen = memory(4 * BLOCK), []

    def watch(real, fd, view, offset):
        seen.append((is_direct(fd), offset, len(view), np.shares_memory(np.asarray(view), np.asarray(data))))
        return real(fd, view, offset)

    with faults.instead_of("pwrite", watch):
        write_pieces(disk, data, [BLOCK])
    assert sorted(seen) == [(True, 0, BLOCK, True), (True, BLOCK, 3 * BLOCK, True)]
    assert get(disk, "model") == data


def test_room_is_reserved_first_and_the_last_block_is_written_whole_and_then_cut(disk, directory, faults):
    data, kernel = memory(SIZE), Kernel()
    with faults.record() as calls, faults.instead_of("pwrite", kernel):
        write_pieces(disk, data, [])
    assert kernel.calls == [(True, 5 * BLOCK, BLOCK), (True, 0, 5 * BLOCK)]
    names = [call.name for call in calls if call.name in ("allocate", "pwrite", "truncate", "fstat", "fsync", "rename")]
    assert names[names.index("allocate") :] == [
        *("allocate", "pwrite", "pwrite", "truncate", "fstat", "fsync", "rename", "fsync", "fstat")
    ]
    assert get(disk, "model") == data


def test_a_file_of_whole_blocks_is_not_cut(disk, directory, faults):
    with faults.record() as calls:
        write_pieces(disk, memory(2 * BLOCK), [])
    assert "truncate" not in {call.name for call in calls}


def test_a_small_file_takes_none_of_these_calls(storage, faults, monkeypatch):
    monkeypatch.setattr(direct_io, "FROM_BYTES", SIZE + 1)
    with faults.record() as calls:
        put(storage, "model", bytes(SIZE))
    assert not {call.name for call in calls} & {"allocate", "set_direct", "truncate"}


def nothing(direct, count, view):
    return None


def a_write_in_the_middle(direct, count, view):
    return errno.EINVAL if direct and count > 3 else None


def every_direct_write(direct, count, view):
    return errno.EINVAL if direct else None


def most_memory(direct, count, view):
    return errno.EFAULT if direct and len(view) > BLOCK else None


@pytest.mark.parametrize("place", ["disk", "/dev/shm"])
@pytest.mark.parametrize("refuse", [nothing, a_write_in_the_middle, every_direct_write, most_memory])
@pytest.mark.parametrize("take", [None, BLOCK + 512, 512])
def test_random_pieces_from_several_threads_make_the_same_file(tmp_path, faults, place, refuse, take):
    if not os.path.isdir(place) and place != "disk":
        pytest.skip(f"there is no {place} here")
    directory = tmp_path if place == "disk" else f"{place}/holdfast-test-{os.getpid()}"
    storage = LocalStorage(directory)
    places = st.integers(0, 9 * BLOCK)

    @given(places, st.lists(places, max_size=8), st.sampled_from([0, 1, 64, 512]), st.integers())
    @settings(max_examples=12, deadline=None, database=None)
    def check(size_bytes, cuts, off, seed):
        direct_io._refused.clear()
        data = memory(size_bytes, off) if size_bytes else memoryview(b"")
        with faults.instead_of("pwrite", Kernel(refuse, take)):
            write_pieces(storage, data, [cut for cut in cuts if cut < size_bytes], threads=3, seed=seed)
        assert get(storage, "model") == data

    before = descriptors()["count"]
    try:
        check()
    finally:
        storage.remove("model")
        if place != "disk":
            os.rmdir(directory)
    assert descriptors()["count"] == before


def test_memory_that_the_kernel_cannot_use_is_copied_a_piece_at_a_time_and_goes_direct(disk, faults, monkeypatch):
    monkeypatch.setattr(direct_io, "_COPY_BYTES", 2 * BLOCK)
    data = memory(5 * BLOCK)
    kernel = Kernel(lambda direct, count, view: errno.EFAULT if np.shares_memory(view, data) else None)
    with faults.instead_of("pwrite", kernel):
        write_pieces(disk, data, [])
    assert kernel.calls == [
        *((True, 0, 5 * BLOCK), (True, 0, 2 * BLOCK), (True, 2 * BLOCK, 2 * BLOCK), (True, 4 * BLOCK, BLOCK))
    ]
    assert get(disk, "model") == data
    assert direct_io._refused == set()


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EPERM], ids=errno.errorcode.get)
def test_where_the_flag_is_refused_the_page_cache_is_used_and_the_directory_remembered(
    storage, directory, faults, caplog, number
):
    data, kernel = memory(SIZE), Kernel()
    with (
        caplog.at_level(logging.DEBUG, "holdfast"),
        faults.error_at("set_direct", number),
        faults.instead_of("pwrite", kernel),
    ):
        for _ in range(3):  # a second attempt would succeed
            write_pieces(storage, data, [])
    assert kernel.calls == [(False, 0, SIZE)] * 3
    assert get(storage, "model") == data
    [record] = caplog.records
    assert record.levelname == "DEBUG"
    assert str(directory) in record.getMessage()


def test_where_only_the_bytes_are_refused_the_first_write_finds_out_for_the_directory(disk, directory, faults, caplog):
    data, kernel = memory(SIZE), Kernel(every_direct_write)
    with caplog.at_level(logging.DEBUG, "holdfast"), faults.instead_of("pwrite", kernel):
        for _ in range(3):
            write_pieces(disk, data, [])
        put(disk, "elsewhere/model", data)
    assert [call[0] for call in kernel.calls[:6]] == [True, True, False, False, False, False]
    assert kernel.calls[4:6] == [(False, 0, SIZE)] * 2
    assert kernel.calls[6][0], "another directory may be of another file system"
    assert get(disk, "model") == get(disk, "elsewhere/model") == data
    assert [record.levelname for record in caplog.records] == ["DEBUG"] * 2


def test_what_is_refused_in_the_middle_goes_through_the_page_cache_with_all_that_follows(disk, faults):
    data = memory(SIZE)
    kernel = Kernel(lambda direct, count, view: errno.EINVAL if direct and count in (2, 3) else None)
    with faults.instead_of("pwrite", kernel):
        upload = disk.create("model", SIZE)
        for start in range(0, SIZE, BLOCK):
            upload.write(start, data[start : start + BLOCK])
        upload.commit()
    assert [call[0] for call in kernel.calls] == [True, True, True, False, False, False, False, False]
    assert get(disk, "model") == data


def test_the_page_cache_is_not_used_before_the_direct_writes_under_way_have_ended(disk, faults):
    data, order, slow, refused = memory(2 * BLOCK), [], threading.Event(), threading.Event()

    class Watched(threading.Condition):
        def wait(self, timeout=None):
            refused.set()
            return super().wait(timeout)

    def kernel(real, fd, view, offset):
        if offset == 0:
            slow.set()
            refused.wait()
            order.append(("slow", is_direct(fd)))
        elif is_direct(fd):
            raise OSError(errno.EINVAL, "Invalid argument")
        else:
            order.append(("refused", False))
            refused.set()
        return real(fd, view, offset)

    upload = disk.create("model", 2 * BLOCK)
    upload._content._state = Watched()
    with faults.instead_of("pwrite", kernel), ThreadPoolExecutor(1) as pool:
        first = pool.submit(upload.write, 0, data[:BLOCK])
        slow.wait()
        upload.write(BLOCK, data[BLOCK:])
        first.result()
    upload.commit()
    assert order == [("slow", True), ("refused", False)]
    assert get(disk, "model") == data


def test_an_interrupted_direct_write_goes_on(disk, faults):
    data = memory(SIZE)
    with faults.instead_of("pwrite", Kernel(lambda direct, count, view: errno.EINTR if count % 2 else None)):
        write_pieces(disk, data, [])
    assert get(disk, "model") == data


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.ENOMEM], ids=errno.errorcode.get)
@pytest.mark.parametrize("nth", [1, 2])
def test_an_error_of_a_direct_write_is_final_and_the_file_is_never_synced(disk, directory, faults, number, nth):
    put(disk, "model", OLD)
    calls = Kernel(lambda direct, count, view: number if count == nth else None)
    with faults.record() as all_calls, faults.instead_of("pwrite", calls), pytest.raises(CommitError) as raised:
        write_pieces(disk, memory(SIZE), [])
    assert raised.value.errno == number
    assert len(calls.calls) == nth
    assert not [line for line in told(all_calls, directory) if line.startswith(("fsync TEMPORARY", "rename"))]
    assert files(directory) == ["model"]
    assert get(disk, "model") == OLD


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO], ids=errno.errorcode.get)
def test_a_disk_without_room_is_known_before_anything_is_written(storage, directory, faults, number):
    put(storage, "model", OLD)
    before = descriptors()
    with (
        faults.record() as calls,
        faults.instead_of("allocate", lambda real, fd, size: (_ for _ in ()).throw(OSError(number, "no room"))),
        pytest.raises(CommitError, match="room for it could not be reserved") as raised,
    ):
        storage.create("model", SIZE)
    assert raised.value.errno == number
    if number in (errno.ENOSPC, errno.EDQUOT):
        assert f"needs {SIZE} bytes" in str(raised.value)
    assert "pwrite" not in {call.name for call in calls}
    assert files(directory) == ["model"]
    assert get(storage, "model") == OLD
    assert descriptors() == before


@pytest.mark.parametrize("number", sorted(direct_io._CANNOT_RESERVE), ids=errno.errorcode.get)
def test_where_no_room_can_be_reserved_it_goes_without(storage, faults, number):
    data = memory(SIZE)
    with faults.error_at("allocate", number):
        write_pieces(storage, data, [])
    assert get(storage, "model") == data


def test_a_file_that_cannot_be_cut_to_its_size_is_not_committed(disk, directory, faults):
    with faults.error_at("truncate", errno.EIO), pytest.raises(CommitError, match="cut to its size"):
        write_pieces(disk, memory(SIZE), [])
    assert files(directory) == []


def test_reserving_gives_a_file_its_size_and_its_room(tmp_path):
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    try:
        syscalls.allocate(fd, SIZE)
        found = os.fstat(fd)
        assert (found.st_size, found.st_blocks * 512 >= SIZE) == (SIZE, True)
        with pytest.raises(OSError, match=r"File too large|No space left"):
            syscalls.allocate(fd, (1 << 63) - 1)
    except OSError as error:
        if error.errno in direct_io._CANNOT_RESERVE:
            pytest.skip("the file system of the temporary directory reserves no room")
        raise
    finally:
        os.close(fd)


def test_what_a_writer_process_imports_loads_no_numpy():
    program = """
import sys
import holdfast.storage.local, holdfast.commit
print(*[name for name in ("numpy", "ctypes", "torch", "jax") if name in sys.modules])
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
