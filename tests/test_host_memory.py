"""Memory for bulk bytes: page-aligned, shared or not, able to grow, touched in the background."""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import sys
import threading
import time
import weakref

import numpy as np
import pytest

from holdfast import memory
from holdfast.memory import PAGE, Memory

linux = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="no memfd here")


@pytest.fixture(params=[False, pytest.param(True, marks=linux)], ids=["private", "shared"])
def shared(request):
    return request.param


def resident(view):
    """How many pages of it the process has."""
    seen = np.zeros(len(view) // PAGE, np.uint8)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
    assert libc.mincore(view.ctypes.data, len(view), seen.ctypes.data) == 0, os.strerror(ctypes.get_errno())
    return int((seen & 1).sum())


@pytest.mark.parametrize("size_bytes", [0, 1, PAGE, PAGE + 1, 10 * PAGE])
def test_it_has_whole_pages_of_zeroes_that_start_at_a_page(shared, size_bytes):
    held = Memory(size_bytes, shared=shared)
    assert held.size_bytes == len(held.view) == -(-size_bytes // PAGE) * PAGE
    assert not held.view.any()
    assert held.view.flags.writeable
    assert not size_bytes or held.view.ctypes.data % PAGE == 0
    held.close()


def test_private_memory_has_no_descriptor():
    assert Memory(PAGE).fd == -1


@linux
def test_shared_memory_is_what_its_descriptor_says_and_programs_do_not_inherit_it():
    held = Memory(2 * PAGE, shared=True)
    held.view[PAGE] = 7
    with mmap.mmap(held.fd, 2 * PAGE) as other:
        assert other[PAGE] == 7
        other[0] = 9
    assert held.view[0] == 9
    assert not os.get_inheritable(held.fd)
    held.close()


def test_where_shared_memory_cannot_be_had_it_is_private(monkeypatch):
    def refuse(*arguments):
        raise OSError("a sandbox")

    monkeypatch.setattr(os, "memfd_create", refuse, raising=False)
    held = Memory(PAGE, shared=True)
    assert held.fd == -1
    held.view[:] = 1
    monkeypatch.delattr(os, "memfd_create")
    assert Memory(PAGE, shared=True).fd == -1


def test_it_grows_and_never_shrinks(shared):
    held = Memory(PAGE, shared=shared)
    before = held.fd
    for size_bytes, wanted in ((3 * PAGE, 3), (2 * PAGE, 3), (3 * PAGE + 1, 4)):
        held.grow(size_bytes)
        assert held.size_bytes == wanted * PAGE
        held.view[-1] = 1
    assert held.fd == before
    held.close()


@linux
def test_another_process_sees_shared_memory_that_has_grown():
    held = Memory(PAGE, shared=True)
    held.grow(4 * PAGE)
    held.view[-1] = 5
    with mmap.mmap(held.fd, 0) as other:
        assert (len(other), other[-1]) == (4 * PAGE, 5)
    held.close()


@pytest.mark.parametrize("size_bytes", [1 << 60, 1 << 70])
def test_what_there_is_no_room_for_is_an_error_and_leaves_no_descriptor(shared, size_bytes):
    gc.collect()  # what other tests left is not to be closed in between
    before = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    with pytest.raises((OSError, ValueError, OverflowError)):
        Memory(size_bytes, shared=shared)
    gc.collect()
    assert not before or len(os.listdir("/proc/self/fd")) == before


def test_a_view_outlives_the_memory(shared):
    held = Memory(PAGE, shared=shared)
    view = held.view
    view[0] = 3
    held.close()
    held.close()
    assert held.size_bytes == 0
    assert view[0] == 3


@linux
def test_shared_memory_that_is_forgotten_gives_its_descriptors_back():
    before = os.listdir("/proc/self/fd")
    held = Memory(PAGE, shared=True)
    gone = weakref.ref(held)
    del held
    assert gone() is None
    assert os.listdir("/proc/self/fd") == before


@linux
@pytest.mark.parametrize("stride", [PAGE * 512, PAGE * 3])
def test_prefaulting_touches_all_pages_or_as_many_as_asked(monkeypatch, shared, stride):
    monkeypatch.setattr(memory, "_STRIDE", stride)
    monkeypatch.setattr(memory, "_anonymous", lambda size: mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANON))
    held = Memory(100 * PAGE, shared=shared)
    assert resident(held.view) == 0
    held.view[0] = 9  # is not lost
    held.prefault(40 * PAGE)
    assert held.wait_prefaulted(60)
    assert resident(held.view) == 40
    held.prefault()  # the rest, of a stride that was begun, too
    assert held.wait_prefaulted(60)
    assert resident(held.view) == 100
    assert held.view[0] == 9
    held.grow(150 * PAGE)
    held.prefault(1 << 60)
    assert held.wait_prefaulted(60)
    assert resident(held.view) == 150
    held.close()


@linux
def test_what_was_touched_is_not_touched_again(monkeypatch):
    touched = []
    monkeypatch.setattr(memory, "_populate", lambda: lambda address, size: touched.append(size) is None)
    monkeypatch.setattr(memory, "_STRIDE", 8 * PAGE)
    held = Memory(20 * PAGE)
    for _ in range(2):
        held.prefault()
        assert held.wait_prefaulted(60)
    assert sorted(touched) == [4 * PAGE, 8 * PAGE, 8 * PAGE]


def slow_populate(monkeypatch, strides):
    """Each call waits; returns events: one was begun, they may end; and the list of those that were made."""
    begun, may_end, made = threading.Event(), threading.Event(), []

    def populate(address, size_bytes):
        made.append(size_bytes)
        begun.set()
        return may_end.wait(60)

    monkeypatch.setattr(memory, "_populate", lambda: populate)
    monkeypatch.setattr(memory, "_STRIDE", PAGE)
    return begun, may_end, made


@linux
def test_prefaulting_that_finds_no_memory_ends_without_a_word(monkeypatch, shared):
    said, begun = [], threading.Event()

    def run(tasks):
        begun.set()
        raise MemoryError

    monkeypatch.setattr(memory.crew, "run", run)
    monkeypatch.setattr(threading, "excepthook", said.append)
    held = Memory(4 * PAGE, shared=shared)
    held.prefault()
    assert held.wait_prefaulted(60)
    assert begun.is_set()
    assert said == []


@linux
@pytest.mark.parametrize("end", ["close", "grow"])
def test_prefaulting_is_given_up_when_the_memory_is_closed_or_grows_and_has_left_it_by_then(monkeypatch, shared, end):
    begun, may_end, made = slow_populate(monkeypatch, 1000)
    held = Memory(1000 * PAGE, shared=shared)
    held.prefault()
    begun.wait()
    thread = held._faulting
    assert not held.wait_prefaulted(0)

    class Enough(threading.Event):
        def set(self):
            super().set()
            may_end.set()  # what is under way goes on once it was told to stop

    held._enough = Enough()
    getattr(held, end)(*[2000 * PAGE] * (end == "grow"))
    assert not thread.is_alive()
    assert len(made) < 1000
    held.close()


@linux
def test_other_threads_go_on_while_memory_is_touched():
    """They would not if the interpreter's lock were kept. A busy machine may leave this thread waiting: some tries."""
    assert any(_turns_meanwhile() > 10 for _ in range(10))


def _turns_meanwhile() -> int:
    held, begun, turns, span = Memory(1 << 30), threading.Event(), [], []
    populate = memory._populate()

    def touch():
        address, size_bytes = held.view.ctypes.data, held.size_bytes
        begun.set()
        span.append(time.perf_counter())
        assert populate(address, size_bytes)
        span.append(time.perf_counter())

    thread = threading.Thread(target=touch)
    thread.start()
    begun.wait()
    while thread.is_alive():
        turns.append(time.perf_counter())
    middle = [turn for turn in turns if 0.1 < (turn - span[0]) / (span[1] - span[0]) < 0.6]
    held.close()
    return len(middle)


def test_where_memory_cannot_be_touched_ahead_it_is_as_good(monkeypatch, shared):
    monkeypatch.setattr(memory, "_populate", lambda: lambda address, size: False)  # an older kernel
    held = Memory(4 * PAGE, shared=shared)
    held.prefault()
    assert held.wait_prefaulted(60)
    monkeypatch.undo()
    monkeypatch.setattr(sys, "platform", "darwin")
    held.prefault()
    assert held.wait_prefaulted(0)
    held.view[:] = 1
    held.close()


def test_where_no_thread_can_be_started_nothing_is_prefaulted(monkeypatch, shared):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    held = Memory(4 * PAGE, shared=shared)
    held.prefault()
    assert held.wait_prefaulted(0)
    held.close()
