"""One series of snapshots: how many may be under way, what is skipped, and what is ready before it is needed."""

from __future__ import annotations

import gc
import logging
import os
import threading

import numpy as np
import pytest

from holdfast import SnapshotStore, load, series, staging, writers
from holdfast.errors import CaptureError, StagingError
from holdfast.staging import Arena, Arenas, Planner
from holdfast.writers import ThreadWriter


class Gate:
    """A writer whose thread does nothing before it is let through."""

    def __init__(self, monkeypatch):
        self.open = threading.Event()
        self.entered = threading.Event()
        real = Arena.place

        def place(arena, staged, draft):
            self.entered.set()
            assert self.open.wait(60)
            return real(arena, staged, draft)

        monkeypatch.setattr(Arena, "place", place)


@pytest.fixture
def gate(monkeypatch):
    made = Gate(monkeypatch)
    yield made
    made.open.set()


def test_the_next_save_waits_while_the_only_arena_is_being_written(tmp_path, gate):
    with SnapshotStore(tmp_path, writer=ThreadWriter()) as store:
        first = store.save(1, {"a": np.ones(4)})
        assert gate.entered.wait(60)
        second = []
        waiting = threading.Thread(target=lambda: second.append(store.save(2, {"a": np.full(4, 2.0)})))
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
        assert not first.done()
        gate.open.set()
        waiting.join(60)
        assert (first.result(60).step, second[0].result(60).step) == (1, 2)


def test_two_slots_let_two_snapshots_be_under_way(tmp_path, gate):
    with SnapshotStore(tmp_path, writer=ThreadWriter(slots=2)) as store:
        state = {"a": np.ones(4)}
        first = store.save(1, state)
        state["a"][:] = 2
        second = store.save(2, state)
        state["a"][:] = 3
        assert not first.done()
        gate.open.set()
        store.wait()
        found = [load(one.result())["a"].tolist() for one in (first, second)]
    assert found == [[1.0] * 4, [2.0] * 4]


def test_a_busy_writer_that_skips_cancels_the_future_and_says_so(tmp_path, gate, caplog):
    caplog.set_level(logging.INFO, "holdfast")
    with SnapshotStore(tmp_path, writer=ThreadWriter(when_busy="skip")) as store:
        first = store.save(1, {"a": np.ones(4)})
        skipped = store.save(2, {"a": np.ones(4)})
        assert skipped.cancelled()
        assert "snapshot_00000002.safetensors" in caplog.text
        gate.open.set()
        assert first.result(60).step == 1
        store.wait()
        assert store.save(3, {"a": np.ones(4)}).result(60).step == 3
        assert [one.step for one in store.snapshots()] == [1, 3]
    assert [one.sequence for one in SnapshotStore(tmp_path, readonly=True).snapshots()] == [1, 2]


def test_a_target_that_cannot_be_kept_costs_no_arena(tmp_path):
    with SnapshotStore(tmp_path, writer=ThreadWriter()) as store:
        for _ in range(3):
            with pytest.raises(CaptureError, match="'a'"):
                store.save(1, {"a": object()})
        assert store.save(1, {"a": 1}).result(60).step == 1


def test_a_budget_is_the_writers_and_a_larger_state_is_refused(tmp_path):
    with SnapshotStore(tmp_path, writer=ThreadWriter(budget_bytes=1000)) as store:
        with pytest.raises(StagingError, match="takes 1001 bytes, and budget_bytes allows 1000"):
            store.save(1, {"a": np.zeros(1001, np.uint8)})
        assert store.save(1, {"a": np.zeros(1000, np.uint8)}).result(60).step == 1


def test_the_need_for_memory_is_logged_once(tmp_path, caplog):
    caplog.set_level(logging.INFO, "holdfast")
    with SnapshotStore(tmp_path) as store:
        for step in range(3):
            store.save(step, {"a": np.zeros(3 << 20, np.uint8)}).result(60)
    assert caplog.text.count("a copy of the state takes 3.0 MiB of memory") == 1


# Ready before it is needed


def touched_bytes(memory):
    """How much of a memory has pages, by what the kernel says."""
    low = memory.view.ctypes.data
    at, found = 0, 0
    with open("/proc/self/smaps") as lines:
        for line in lines:
            words = line.split()
            if "-" in words[0] and not words[0].endswith(":"):
                start, end = (int(part, 16) for part in words[0].split("-"))
                at = start <= low < end
            elif words[0] == "Rss:" and at:
                found += int(words[1]) << 10
    return found


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps"), reason="the system does not say what memory is in use")
@pytest.mark.parametrize("shared", [False, True])
def test_prepare_touches_the_memory_in_the_background(shared):
    arena = Arena(shared=shared)
    arena.prepare(Planner().read({"a": np.zeros(40 << 20, np.uint8)}))
    assert arena.memory.wait_prefaulted(60)
    assert touched_bytes(arena.memory) >= 40 << 20


def test_resume_and_prepare_have_memory_ready_and_save_uses_it(tmp_path, monkeypatch):
    prepared = []
    real = Arena.prepare
    monkeypatch.setattr(Arena, "prepare", lambda arena, state: prepared.append(arena) or real(arena, state))
    with SnapshotStore(tmp_path) as store:
        state = {"a": np.ones(1000)}
        store.resume(state)
        store.prepare({"a": np.ones(2000)})
        where = prepared[0].memory.view.ctypes.data
        store.save(1, state).result(60)
        assert prepared[0] is prepared[1]
        assert prepared[0].memory.view.ctypes.data == where


def test_what_cannot_be_prepared_is_left_to_the_first_save(tmp_path):
    with SnapshotStore(tmp_path) as store:
        store.prepare({"a": object()})
        with pytest.raises(CaptureError):
            store.save(1, {"a": object()})


def test_a_readonly_store_prepares_nothing(tmp_path):
    SnapshotStore(tmp_path).close()
    with SnapshotStore(tmp_path, readonly=True) as store, pytest.raises(PermissionError):
        store.prepare({})


def test_a_shape_is_planned_once(monkeypatch):
    captured = []
    real = staging.capture
    monkeypatch.setattr(staging, "capture", lambda target: captured.append(target) or real(target))
    planner = Planner()
    for number in range(5):
        planner.read({"a": np.full(3, number), "n": number, "log": list(range(300 + number))})
    assert len(captured) == 1
    planner.read({"a": np.full(4, 0), "n": 0, "log": list(range(300))})
    assert len(captured) == 2


def test_arenas_are_given_to_one_at_a_time():
    arenas = Arenas(2)
    first, second = arenas.take(), arenas.take()
    assert first is not second
    assert arenas.take(wait=False) is None
    arenas.give_back(first, first.lease)
    assert arenas.take(wait=False) is first


def test_giving_back_an_arena_a_second_time_does_nothing():
    arenas = Arenas(1)
    arena = arenas.take()
    lease = arena.lease
    arenas.give_back(arena, lease)
    arenas.give_back(arena, lease)
    assert arenas.take(wait=False) is arena
    arenas.give_back(arena, lease)  # of the taking before
    assert arenas.take(wait=False) is None
    arenas.give_back(arena, arena.lease)
    assert arenas.take(wait=False) is arena


class _Full(list):
    """A list that finds no memory the first time."""

    tries = 0

    def append(self, value):
        self.tries += 1
        if self.tries == 1:
            raise MemoryError
        super().append(value)


def test_an_arena_that_could_not_be_given_back_for_lack_of_memory_can_be_given_back_then():
    arenas = Arenas(1)
    arena = arenas.take()
    arenas._free = _Full()
    lease = arena.lease
    with pytest.raises(MemoryError):
        arenas.give_back(arena, lease)
    arenas.give_back(arena, lease)
    assert arenas.take(wait=False) is arena


def test_memory_that_ends_before_the_writer_has_the_snapshot_costs_that_snapshot_only(tmp_path, monkeypatch):
    with SnapshotStore(tmp_path) as store:
        with monkeypatch.context() as patch:
            patch.setattr(series, "Job", _no_memory)
            with pytest.raises(MemoryError):
                store.save(1, {"a": np.ones(3)})
        assert store.save(2, {"a": np.ones(3)}).result(10).step == 2


def _no_memory(*arguments, **named):
    raise MemoryError


def test_all_five_writers_are_there():
    names = ("SimpleWriter", "ThreadWriter", "ProcessWriter", "ThreadQueueWriter", "ProcessQueueWriter")
    assert [getattr(writers, name)().slots for name in names] == [1] * 5


def test_an_arena_that_an_interrupt_lost_is_made_anew():
    arenas = Arenas(1)
    arena = arenas.take()
    assert arenas.take(wait=False) is None
    del arena
    gc.collect()
    assert arenas.take(wait=False) is not None
