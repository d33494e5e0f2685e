"""A file may be read through memory that is used again: nothing that was restored looks into it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from holdfast import SnapshotStore, files
from holdfast.format import source
from holdfast.memory import Memory
from state.array_strategies import Pair
from state.same import bits
from state.strategies import pairs

EXAMPLES = settings(deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(autouse=True)
def every_file_is_read_past_the_cache(monkeypatch):
    monkeypatch.setattr(source, "DIRECT_FROM", 0)
    monkeypatch.setattr(source, "is_cold", lambda descriptor, size: True)


def test_what_was_restored_stays_when_the_memory_is_used_again(tmp_path):
    room = Memory(1)
    seen = 0

    @settings(EXAMPLES, max_examples=200)
    @given(pairs())
    def check(pair: Pair) -> None:
        nonlocal seen
        files.save(tmp_path / "it", pair.saved)
        room.view[:] = 0
        restored = files.restore_through(room, tmp_path / "it", pair.fresh)
        seen += bool(room.view.any())
        room.view[:] = 0xFF
        assert bits(restored) == bits(pair.saved)

    check()
    assert seen > 100  # it was read through the room


def test_modules_and_optimizers_keep_nothing_of_it(tmp_path):
    torch = pytest.importorskip("torch")

    def made():
        model = torch.nn.Sequential(torch.nn.Linear(300, 300), torch.nn.BatchNorm1d(300))
        return {"model": model, "optimizer": torch.optim.Adam(model.parameters())}

    saved, fresh = made(), made()
    saved["model"](torch.randn(4, 300)).sum().backward()
    saved["optimizer"].step()
    files.save(tmp_path / "it", saved)
    room = Memory(1)
    files.restore_through(room, tmp_path / "it", fresh)
    assert room.view.any()
    room.view[:] = 0xFF
    wanted = {**saved["model"].state_dict(), **saved["optimizer"].state_dict()["state"][0]}
    found = {**fresh["model"].state_dict(), **fresh["optimizer"].state_dict()["state"][0]}
    assert all(torch.equal(found[name], one) for name, one in wanted.items())


def test_a_store_reads_through_the_arena_that_it_saves_from(tmp_path, monkeypatch):
    with SnapshotStore(tmp_path) as store:
        store.save(1, {"a": np.arange(100_000)}).result(60)
    rooms = []
    real = source.DirectSource.__init__
    monkeypatch.setattr(
        source.DirectSource,
        "__init__",
        lambda one, path, fd, room=None: rooms.append(room) or real(one, path, fd, room),
    )
    target = {"a": np.zeros(100_000, int)}
    with SnapshotStore(tmp_path) as store:
        store.resume(target)
        [room] = rooms
        assert target["a"].tolist() == list(range(100_000))
        target["a"] += 1
        arena = store._series._arenas.take()
        store._series._arenas.give_back(arena, arena.lease)
        assert arena.memory is room
        snapshot = store.save(2, target).result(60)
        assert arena.memory is room
    assert files.load(snapshot)["a"].tolist() == list(range(1, 100_001))
