"""store.resume: the newest snapshot that is whole, or an error; and a target that is never half-way."""

from __future__ import annotations

import errno
import logging
import os
from collections import namedtuple

import numpy as np
import pytest

from holdfast.errors import DamagedError, MismatchError, NotFoundError
from holdfast.store import SnapshotStore
from snapshots import TEMPLATE, damage, written

NEED = "a copy of the state takes 16 bytes of memory"


def target():
    return {"w": np.full(4, -1, np.float32)}


def untouched(value):
    return value["w"].tolist() == [-1] * 4


@pytest.fixture
def log(caplog):
    """The lines that were logged, from INFO on."""
    caplog.set_level(logging.INFO, "holdfast")
    return lambda level: [record.message for record in caplog.records if record.levelname == level]


@pytest.fixture
def store(tmp_path):
    with SnapshotStore(tmp_path) as opened:
        yield opened


def test_the_newest_by_sequence_number_is_put_into_the_target_and_one_line_names_it(store, tmp_path, log):
    for step, sequence in [(30, 1), (10, 3), (20, 2)]:
        written(tmp_path, step, sequence=sequence)
    mine = target()
    restored, snapshot = store.resume(mine)
    assert restored is mine
    assert mine["w"].tolist() == [10] * 4
    assert (snapshot.step, snapshot) == (10, store.at(10))
    assert log("INFO")[3:] == [
        f"{tmp_path / 'snapshot_00000010.safetensors'}: resumed from the snapshot of step 10",
        NEED,
    ]
    assert log("WARNING") == []


def test_an_empty_store_is_no_error_and_nothing_is_logged_but_the_need_of_memory(store, log):
    mine = target()
    assert store.resume(mine) == (mine, None)
    assert untouched(mine)
    assert (log("INFO"), log("WARNING")) == ([NEED], [])


def test_a_store_that_only_holds_others_says_so_and_starts_from_nothing(store, tmp_path, log):
    written(tmp_path, 1, template="gen_{step}")
    written(tmp_path, 2, role="trainer")
    mine = target()
    assert store.resume(mine) == (mine, None)
    [line] = log("WARNING")
    assert "gen_1 (saved as 'gen_{step}')" in line
    assert TEMPLATE in line


def test_what_cannot_change_in_place_comes_back_new(store):
    pair = namedtuple("pair", "a b")
    store.save(1, pair(1, np.arange(3))).result()
    old = pair(0, np.zeros(3, int))
    new, _ = store.resume(old)
    assert (new.a, new.b.tolist(), old.a) == (1, [0, 1, 2], 0)


def test_a_jax_state_comes_back_new(store):
    jnp = pytest.importorskip("jax.numpy")
    store.save(1, {"w": jnp.arange(3.0)}).result()
    new, snapshot = store.resume({"w": jnp.zeros(3)})
    assert (new["w"].tolist(), snapshot.step) == ([0, 1, 2], 1)


BODY = {"first byte": 0, "length": 1, "sum": 45, "facts": 130, "tree": 1500, "padding": 4090, "leaf": -1}


@pytest.mark.parametrize("place", BODY.values(), ids=BODY)
def test_one_flipped_bit_in_the_newest_makes_resume_take_the_older_one(store, tmp_path, log, place):
    written(tmp_path, 1)
    path = tmp_path / written(tmp_path, 2).name
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    mine = target()
    assert store.resume(mine)[1].step == 1
    assert mine["w"].tolist() == [1] * 4
    [line] = log("WARNING")
    assert line.startswith(f"passed over: {path}: ")
    assert line.count(str(path)) == 1
    assert path.read_bytes() == data


def test_every_way_to_cut_the_newest_short_makes_resume_take_the_older_one(store, tmp_path):
    written(tmp_path, 1)
    path = tmp_path / written(tmp_path, 2).name
    whole = path.read_bytes()
    for size in [0, 1, 8, 9, 40, 100, 2000, 4095, 4096, len(whole) - 1]:
        path.write_bytes(whole[:size])
        mine = target()
        assert store.resume(mine)[1].step == 1, size
        assert mine["w"].tolist() == [1] * 4
    path.write_bytes(whole + b"\0")
    assert store.resume(target())[1].step == 1


@pytest.mark.parametrize("header", [False, True])
def test_where_everything_is_damaged_resume_raises_and_the_target_is_as_it_was(store, tmp_path, log, header):
    paths = [damage(written(tmp_path, step), header=header) for step in (1, 2)]
    mine = target()
    with pytest.raises(DamagedError, match=f"^{tmp_path}: every snapshot is damaged: ") as error:
        store.resume(mine)
    assert untouched(mine)
    assert all(str(path) in str(error.value) for path in paths)
    assert len(log("WARNING")) == 2
    assert all(path.exists() for path in paths)


def test_a_damaged_one_beside_nothing_else_is_no_empty_store(store, tmp_path):
    (tmp_path / "snapshot_00000001.safetensors").write_bytes(b"")
    with pytest.raises(DamagedError, match="every snapshot is damaged"):
        store.resume(target())


def test_a_step_that_is_asked_for_is_taken_though_it_is_not_the_newest(store, tmp_path):
    for step in (1, 2, 3):
        written(tmp_path, step)
    mine = target()
    assert store.resume(mine, step=np.int64(2))[1].step == 2
    assert mine["w"].tolist() == [2] * 4


@pytest.mark.parametrize("header", [False, True])
def test_a_step_that_is_damaged_is_an_error_and_no_other_is_taken(store, tmp_path, header):
    for step in (1, 2, 3):
        path = written(tmp_path, step)
        if step == 2:
            damage(path, header=header)
    mine = target()
    with pytest.raises(DamagedError, match=r"the snapshot of step 2 is damaged: .*there are snapshots of the steps 1"):
        store.resume(mine, step=2)
    assert untouched(mine)


def test_damage_of_other_steps_is_no_matter_where_one_is_asked_for(store, tmp_path, log):
    damage(written(tmp_path, 1), header=True)
    written(tmp_path, 12)
    assert store.resume(target(), step=12)[1].step == 12
    assert log("WARNING") == []


def test_a_step_that_is_absent_is_an_error_that_names_those_there_are(store, tmp_path):
    for step in (5, 10):
        written(tmp_path, step)
    with pytest.raises(NotFoundError, match="there is no snapshot of step 7, only of: 5, 10"):
        store.resume(target(), step=7)


def test_a_step_of_an_empty_store_is_an_error(store):
    with pytest.raises(NotFoundError, match="there is no snapshot of step 7, only of: none"):
        store.resume(target(), step=7)


def test_a_misfit_is_raised_at_once_and_no_older_one_is_tried(store, tmp_path):
    written(tmp_path, 1)
    path = written(tmp_path, 2, target={"other": np.zeros(2)})
    mine = target()
    with pytest.raises(MismatchError) as error:
        store.resume(mine)
    assert str(error.value).startswith(f"{os.fspath(path)}: ")
    assert "other" in str(error.value)
    assert untouched(mine)


def test_strict_is_passed_on(store, tmp_path):
    written(tmp_path, 2, target={"w": np.zeros(4, np.float32), "more": np.zeros(2)})
    with pytest.raises(MismatchError):
        store.resume(target())
    assert store.resume(target(), strict=False)[1].step == 2


def test_one_taken_on_an_error_never_outranks_a_good_one(store, tmp_path):
    written(tmp_path, 1)
    written(tmp_path, 2, sequence=9, reason="error")
    assert store.resume(target())[1].step == 1


def test_one_taken_on_an_error_is_taken_where_no_good_one_is_whole(store, tmp_path, log):
    damage(written(tmp_path, 1))
    written(tmp_path, 2, sequence=9, reason="error")
    mine = target()
    assert store.resume(mine)[1].reason == "error"
    assert mine["w"].tolist() == [2] * 4
    assert len(log("WARNING")) == 1


def test_of_one_step_the_good_one_is_taken_before_that_of_an_error(store, tmp_path):
    good = written(tmp_path, 1)
    written(tmp_path, 1, sequence=2, file=f"{good.name}.error", reason="error")
    assert store.resume(target(), step=1)[1].reason == "save"
    damage(good)
    assert store.resume(target(), step=1)[1].reason == "error"


def test_one_that_its_writer_removes_meanwhile_is_no_damage_the_newer_one_is_taken(tmp_path, monkeypatch, log):
    written(tmp_path, 1)
    first = []

    def restore(room, snapshot, *arguments, **named):
        if not first:
            first.append(written(tmp_path, 2))
            os.unlink(snapshot)
        return real(room, snapshot, *arguments, **named)

    import holdfast.store as module

    real = module.restore_through
    monkeypatch.setattr(module, "restore_through", restore)
    with SnapshotStore(tmp_path, readonly=True) as reader:
        assert reader.resume(target())[1].step == 2
    assert log("WARNING") == []


@pytest.mark.parametrize(("number", "passed_over"), [(errno.EIO, True), (errno.EACCES, True), (errno.EMFILE, False)])
def test_an_unreadable_file_is_passed_over_and_a_lack_of_descriptors_is_an_error(
    store, tmp_path, monkeypatch, log, number, passed_over
):
    written(tmp_path, 1)
    written(tmp_path, 2)

    import holdfast.store as module

    def restore(room, snapshot, *arguments, **named):
        if snapshot.step == 2:
            raise OSError(number, os.strerror(number), os.fspath(snapshot))
        return real(room, snapshot, *arguments, **named)

    real = module.restore_through
    monkeypatch.setattr(module, "restore_through", restore)
    if passed_over:
        assert store.resume(target())[1].step == 1
        assert len(log("WARNING")) == 1
    else:
        with pytest.raises(OSError, match=os.strerror(number)):
            store.resume(target())


def test_a_file_that_never_can_be_opened_ends_with_an_error_and_not_in_a_circle(store, tmp_path, monkeypatch):
    written(tmp_path, 1)
    calls = []

    def restore(room, snapshot, *arguments, **named):
        calls.append(snapshot)
        raise FileNotFoundError(errno.ENOENT, "gone")

    monkeypatch.setattr("holdfast.store.restore_through", restore)
    with pytest.raises(FileNotFoundError):
        store.resume(target())
    assert len(calls) == 5


def test_a_changed_format_spec_still_finds_the_snapshots(tmp_path):
    written(tmp_path, 5, template="snapshot_{step:04d}.safetensors")
    with SnapshotStore(tmp_path) as store:
        assert store.resume(target())[1].step == 5
        store.save(5, target()).result()
        assert store.resume(target())[1].name == "snapshot_00000005.safetensors"


def test_clocks_and_times_of_files_play_no_part(store, tmp_path):
    for step in (1, 2, 3):
        os.utime(written(tmp_path, step), ns=(0, (4 - step) * 10**18))
    assert store.resume(target())[1].step == 3
