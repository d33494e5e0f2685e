"""Links and other things under names that a store may give: what is read, written and removed then."""

from __future__ import annotations

import logging
import os

import numpy as np
import pytest

from holdfast import keep
from holdfast.errors import DamagedError
from holdfast.storage.base import LOCK_NAME
from holdfast.store import SnapshotStore
from snapshots import saved, written


def state(value: float = 0.0) -> dict[str, object]:
    return {"w": np.full(4, value, np.float32)}


@pytest.fixture
def outside(tmp_path):
    (tmp_path / "outside").mkdir()
    return tmp_path / "outside"


@pytest.fixture
def location(tmp_path):
    (tmp_path / "store").mkdir()
    return tmp_path / "store"


@pytest.fixture
def linked(location, outside):
    """A snapshot elsewhere, and a link to it under its name."""
    snapshot = written(outside, 7)
    (location / snapshot.name).symlink_to(snapshot)
    return location / snapshot.name


@pytest.mark.parametrize("readonly", [True, False])
def test_a_store_with_nothing_but_links_is_no_fresh_start(location, linked, readonly):
    target = state()
    with SnapshotStore(location, readonly=readonly) as store:
        assert store.snapshots() == []
        with pytest.raises(DamagedError, match=rf"{linked.name}: is a symbolic link, which is not followed"):
            store.resume(target)
    assert target["w"].tolist() == [0, 0, 0, 0]


def test_a_link_is_passed_over_where_there_are_snapshots_and_is_never_removed(location, linked, caplog):
    caplog.set_level(logging.INFO, "holdfast")
    with SnapshotStore(location, keep=keep.last(1)) as store:
        for step in (1, 2):
            saved(store, step, state(step))
        assert store.resume(state())[1].step == 2
        assert [snapshot.step for snapshot in store.prune().keep] == [2]
    assert linked.is_symlink()


def test_a_save_under_the_name_of_a_link_replaces_the_link(location, linked, outside):
    before = (outside / linked.name).read_bytes()
    with SnapshotStore(location) as store:
        saved(store, 7, state(1))
        assert [snapshot.step for snapshot in store.snapshots()] == [7]
    assert not linked.is_symlink()
    assert (outside / linked.name).read_bytes() == before


def test_a_link_in_the_place_of_a_folder_of_the_names_is_an_error_and_leads_nowhere(location, outside):
    (location / "model").symlink_to(outside)
    with SnapshotStore(location, filename="model/it_{step}") as store:
        with pytest.raises(ValueError, match="is a symbolic link"):
            store.save(1, state()).result()
        assert store.snapshots() == []
    assert os.listdir(outside) == []


def test_a_link_or_a_folder_with_the_name_of_a_pin_is_none(location, outside):
    with SnapshotStore(location, keep=keep.last(1)) as store:
        for step, plant in ((1, lambda at: at.symlink_to(outside)), (2, os.mkdir)):
            snapshot = saved(store, step, state())
            plant(location / f".{snapshot.name}.holdfast-pin")
            saved(store, 3, state())
            assert [one.step for one in store.snapshots()] == [3]
            assert os.path.lexists(location / f".{snapshot.name}.holdfast-pin")


@pytest.mark.parametrize(
    ("plant", "error"),
    [
        (lambda at, outside: at.symlink_to(outside / "text"), OSError),
        (lambda at, outside: os.mkfifo(at), FileExistsError),
        (lambda at, outside: os.mkdir(at), FileExistsError),
    ],
    ids=["a link", "a pipe", "a folder"],
)
def test_what_has_the_name_of_the_lock_file_and_is_none_is_an_error(location, outside, plant, error):
    (outside / "text").write_bytes(b"precious")
    plant(location / LOCK_NAME, outside)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(error):
        SnapshotStore(location)
    assert len(os.listdir("/proc/self/fd")) == before
    assert (outside / "text").read_bytes() == b"precious"
    assert os.path.lexists(location / LOCK_NAME)


def test_a_lock_file_that_is_a_hard_link_is_locked_and_not_written_to(location, outside):
    (outside / "text").write_bytes(b"precious")
    os.link(outside / "text", location / LOCK_NAME)
    with SnapshotStore(location):
        assert (outside / "text").read_bytes() == b"precious"


def test_a_hard_linked_snapshot_is_one_and_only_its_name_here_is_removed(location, outside):
    snapshot = written(outside, 1)
    before = (outside / snapshot.name).read_bytes()
    os.link(outside / snapshot.name, location / snapshot.name)
    with SnapshotStore(location, keep=keep.last(1)) as store:
        assert store.resume({"w": np.zeros(4, np.float32)})[1].step == 1
        for step in (2, 3):
            saved(store, step, state())
        assert [one.step for one in store.snapshots()] == [3]
    assert (outside / snapshot.name).read_bytes() == before


def test_a_copy_under_the_name_of_another_snapshot_is_passed_over_with_a_word(location, caplog):
    first = written(location, 1)
    (location / "snapshot_00000004.safetensors").write_bytes((location / first.name).read_bytes())
    with SnapshotStore(location) as store:
        assert store.resume({"w": np.zeros(4, np.float32)})[1].step == 1
    [record] = caplog.records
    assert "snapshot_00000004.safetensors: holds a snapshot that was saved under another name" in record.getMessage()


def test_a_store_with_nothing_but_copies_under_other_names_is_no_fresh_start(location, outside):
    first = written(outside, 1)
    (location / "snapshot_00000004.safetensors").write_bytes((outside / first.name).read_bytes())
    with SnapshotStore(location) as store, pytest.raises(DamagedError, match="saved under another name"):
        store.resume(state())
