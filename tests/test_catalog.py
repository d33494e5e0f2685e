"""The catalog: what it lists as whose, what it removes, and pins. Headers decide, never names alone, never times."""

from __future__ import annotations

import errno
import math
import os
import shutil
import time
from dataclasses import replace

import numpy as np
import pytest

from holdfast import files
from holdfast.catalog import Catalog
from holdfast.errors import CommitError, NotFoundError
from holdfast.staging import Arena
from holdfast.state.capture import capture
from holdfast.storage.local import LocalStorage
from holdfast.storage.memory import MemoryStorage
from snapshots import TEMPLATE, damage, file_of, made_up, written


@pytest.fixture
def storage(tmp_path):
    return LocalStorage(tmp_path)


@pytest.fixture
def catalog(storage):
    return Catalog(storage, template=TEMPLATE, role="store")


def steps(snapshots):
    return [snapshot.step for snapshot in snapshots]


def names(path):
    return sorted(os.listdir(path))


def test_snapshots_are_listed_by_sequence_number_whatever_their_steps_names_and_times(tmp_path, catalog):
    for step, sequence, age_s in [(30, 1, 0), (10, 2, 5000), (20, 3, -90000)]:
        path = os.fspath(written(tmp_path, step, sequence=sequence))
        os.utime(path, (time.time() - age_s, time.time() - age_s))
    listing = catalog.read()
    assert steps(listing.snapshots) == [30, 10, 20]
    assert (listing.damaged, listing.others, listing.pinned) == ((), (), ())
    assert os.fspath(listing.snapshots[0]) == str(tmp_path / "snapshot_00000030.safetensors")


def test_an_empty_or_missing_directory_has_nothing_or_says_so(tmp_path, catalog):
    assert catalog.read().snapshots == ()
    shutil.rmtree(tmp_path)
    with pytest.raises(FileNotFoundError):
        catalog.read()


def test_snapshots_of_another_template_or_role_are_others(tmp_path, catalog):
    written(tmp_path, 1)
    written(tmp_path, 2, template="gen_{step}")
    written(tmp_path, 3, role="trainer")
    files.save(tmp_path / "by_hand", {"w": np.zeros(2)})
    listing = catalog.read()
    assert steps(listing.snapshots) == [1]
    assert sorted(other.name for other in listing.others) == ["by_hand", "gen_2", "snapshot_00000003.safetensors"]


def test_a_format_spec_that_changed_makes_no_other_template(tmp_path, catalog):
    written(tmp_path, 7, template="snapshot_{step:04d}.safetensors")
    assert [snapshot.name for snapshot in catalog.read().snapshots] == ["snapshot_0007.safetensors"]


def test_a_copy_under_another_name_is_not_listed_as_a_snapshot(tmp_path, catalog):
    shutil.copy(written(tmp_path, 1), tmp_path / "snapshot_best.safetensors")
    shutil.copy(tmp_path / "snapshot_00000001.safetensors", tmp_path / "snapshot_00000002.safetensors")
    listing = catalog.read()
    assert [snapshot.name for snapshot in listing.snapshots] == ["snapshot_00000001.safetensors"]
    assert len(listing.others) == 2


@pytest.mark.parametrize("stated", ["snapshot_00000001.safetensors", "snapshot_00000001.safetensors.error"])
def test_one_taken_on_an_error_lies_beside_the_good_one(tmp_path, catalog, stated):
    written(tmp_path, 1)
    written(tmp_path, 1, sequence=2, name=stated, file="snapshot_00000001.safetensors.error", reason="error")
    assert [(one.sequence, one.reason) for one in catalog.read().snapshots] == [(1, "save"), (2, "error")]


@pytest.mark.parametrize(
    "content", [b"", b"x", b"PK\x03\x04" + bytes(5000), bytes(10_000), b"# a text of its own\n" * 300], ids=len
)
@pytest.mark.parametrize("suffix", ["", ".error"])
def test_whatever_has_a_name_of_the_template_but_no_sound_header_is_damaged_and_never_foreign(
    tmp_path, catalog, content, suffix
):
    path = tmp_path / ("snapshot_00000005.safetensors" + suffix)
    path.write_bytes(content)
    written(tmp_path, 6)
    listing = catalog.read()
    [(where, reason)] = listing.damaged
    assert where == str(path)
    assert reason
    assert str(path) not in reason
    assert steps(listing.snapshots) == [6]


@pytest.mark.parametrize(
    "name", ["model_card.md", "snapshot_best.safetensors", "log", ".hidden", "snapshot_1.safetensors.x"]
)
def test_what_is_no_snapshot_and_has_no_name_of_the_template_is_nobodys_business(tmp_path, catalog, name):
    (tmp_path / name).write_bytes(b"\0" * 5000)
    listing = catalog.read()
    assert (listing.snapshots, listing.damaged, listing.others) == ((), (), ())


def test_a_truncated_file_or_one_with_a_flipped_bit_in_its_facts_is_damaged(tmp_path, catalog):
    damage(written(tmp_path, 1), header=True)
    path = written(tmp_path, 2)
    with open(path, "r+b") as file:
        file.truncate(path.size_bytes - 1)
    first, second = catalog.read().damaged
    assert "does not match the checksum of its facts" in first[1]
    assert f"has {path.size_bytes - 1}" in second[1]


def test_directories_and_links_under_names_of_the_template_are_neither_listed_nor_followed(tmp_path, catalog):
    (tmp_path / "snapshot_00000001.safetensors").mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "snapshot_00000002.safetensors").symlink_to(os.fspath(written(elsewhere, 2)))
    listing = catalog.read()
    assert (listing.snapshots, listing.damaged, listing.others) == ((), (), ())


def test_links_under_names_of_the_template_are_told_when_they_are_asked_for(tmp_path, catalog, storage):
    (tmp_path / "model").mkdir()
    deep = Catalog(storage, template="model/it_{step}", role="store")
    two = ["snapshot_00000002.safetensors", "snapshot_00000002.safetensors.error"]
    for name in (*two, "model/it_3", "link", "model/x"):
        (tmp_path / name).symlink_to("elsewhere")
    written(tmp_path, 1)
    assert catalog.links() == two
    assert deep.links() == ["model/it_3"]
    shutil.rmtree(tmp_path)
    assert catalog.links() == deep.links() == []
    assert Catalog(MemoryStorage(), template=TEMPLATE, role="store").links() == []


def test_a_copy_under_the_name_of_one_taken_on_an_error_is_nobodys(tmp_path, catalog):
    shutil.copy(written(tmp_path, 1), tmp_path / "snapshot_00000001.safetensors.error")
    listing = catalog.read()
    assert (steps(listing.snapshots), steps(listing.others)) == ([1], [1])


def test_the_stamp_of_a_file_is_another_one_once_it_was_written_to_or_replaced(tmp_path, catalog):
    path = tmp_path / written(tmp_path, 1).name
    stamps = [catalog.stamp(path.name)]
    data = path.read_bytes()
    for change in (lambda: path.write_bytes(data + b"x"), lambda: (path.unlink(), path.write_bytes(data))):
        change()
        stamps.append(catalog.stamp(path.name))
    assert len(set(stamps)) == 3
    assert catalog.stamp(path.name) == stamps[-1]
    assert catalog.stamp("missing") is None
    assert Catalog(MemoryStorage(), template=TEMPLATE, role="store").stamp("x") is None


def test_a_file_that_cannot_be_read_is_damaged_and_does_not_hide_the_others(tmp_path, catalog, faults):
    written(tmp_path, 1)
    written(tmp_path, 2)
    with faults.error_at("pread", errno.EIO, 1):
        listing = catalog.read()
    assert len(listing.snapshots) == 1
    assert listing.damaged[0][1] == "cannot be read (Input/output error)"


def test_where_descriptors_run_out_the_listing_fails_and_calls_nothing_damaged(tmp_path, catalog, faults):
    written(tmp_path, 1)
    with faults.error_at("open", errno.EMFILE, 1), pytest.raises(OSError, match="Too many open files"):
        catalog.read()


def test_a_file_that_is_replaced_by_a_longer_one_while_it_is_listed_is_no_damage(tmp_path, catalog, faults):
    written(tmp_path, 1)

    def replace_first(real, path, *arguments):
        if path.endswith("0001.safetensors"):
            written(tmp_path, 1, sequence=9, target={"w": np.zeros(5000)})
        return real(path, *arguments)

    with faults.instead_of("open", once(replace_first)):
        listing = catalog.read()
    assert [one.sequence for one in listing.snapshots] == [9]
    assert listing.damaged == ()


def test_a_reader_sees_a_snapshot_though_its_writer_replaces_the_only_one_meanwhile(tmp_path, catalog, faults):
    first = written(tmp_path, 1)

    def lists_before_the_writer_is_done(real, path):
        entries = real(path)
        written(tmp_path, 2)
        os.unlink(first)
        return entries

    with faults.instead_of("scandir", once(lists_before_the_writer_is_done)):
        assert steps(catalog.read().snapshots) == [2]


def once(function):
    """A stand-in for a system call that does something else the first time only."""
    calls = []

    def stand_in(real, *arguments):
        calls.append(arguments)
        return function(real, *arguments) if len(calls) == 1 else real(*arguments)

    return stand_in


def test_names_in_sub_directories_are_listed_where_the_template_has_some(tmp_path, storage):
    template = "model/it_{step}"
    written(tmp_path, 3, template=template)
    written(tmp_path, 4)
    listing = Catalog(storage, template=template, role="store").read()
    assert [snapshot.name for snapshot in listing.snapshots] == ["model/it_3"]
    assert os.path.exists(listing.snapshots[0])
    assert steps(Catalog(storage, template=TEMPLATE, role="store").read().snapshots) == [4]


def test_sequence_numbers_go_on_from_the_highest_of_all_headers(tmp_path, storage):
    written(tmp_path, 1, sequence=5)
    written(tmp_path, 2, sequence=70, role="trainer")
    catalog = Catalog(storage, template=TEMPLATE, role="store")
    catalog.read()
    assert [catalog.next_sequence(), catalog.next_sequence()] == [71, 72]


def test_two_catalogs_of_one_place_never_give_out_the_same_sequence_number(tmp_path, catalog):
    alias = tmp_path.parent / f"{tmp_path.name}_alias"
    alias.symlink_to(tmp_path)
    other = Catalog(LocalStorage(alias), template="gen_{step}", role="object")
    numbers = [one.next_sequence() for _ in range(3) for one in (catalog, other)]
    assert numbers == [1, 2, 3, 4, 5, 6]


def test_a_snapshot_is_removed_with_its_pin(tmp_path, catalog):
    snapshot, other = written(tmp_path, 1), written(tmp_path, 2)
    catalog.pin(snapshot)
    assert catalog.remove(snapshot)
    assert names(tmp_path) == [other.name]
    assert not catalog.remove(snapshot)


@pytest.mark.parametrize(
    "facts",
    [
        {"role": "trainer"},
        {"template": "gen_{step:08d}.safetensors"},
        {"name": "snapshot_00000002.safetensors"},
        {"sequence": 8},
    ],
)
def test_a_file_whose_header_says_something_else_by_now_is_not_removed(tmp_path, catalog, facts):
    listed = written(tmp_path, 1)
    written(tmp_path, 1, file=listed.name, **facts)
    assert not catalog.remove(listed)
    assert names(tmp_path) == [listed.name]


def test_a_snapshot_of_another_run_under_that_name_is_not_removed(tmp_path, catalog):
    listed = written(tmp_path, 1)
    assert not catalog.remove(replace(listed, run_id="b" * 32))
    assert names(tmp_path) == [listed.name]


def test_what_is_no_snapshot_any_more_is_not_removed(tmp_path, catalog):
    for number, content in enumerate([b"my own notes", bytes(5000)]):
        snapshot = written(tmp_path, number)
        os.unlink(snapshot)
        (tmp_path / snapshot.name).write_bytes(content)
        assert not catalog.remove(snapshot)
    damaged = written(tmp_path, 7)
    damage(damaged, header=True)
    assert not catalog.remove(damaged)
    assert len(names(tmp_path)) == 3


def test_a_snapshot_that_cannot_be_removed_is_an_error(tmp_path, catalog, faults):
    snapshot = written(tmp_path, 1)
    with faults.error_at("unlink", errno.EACCES), pytest.raises(CommitError, match="could not be removed"):
        catalog.remove(snapshot)
    assert steps(catalog.read().snapshots) == [1]


def test_a_pin_lies_hidden_beside_the_snapshot_and_is_committed_like_one(tmp_path, catalog, faults):
    snapshot = written(tmp_path, 1)
    with faults.record() as calls:
        catalog.pin(snapshot)
    made = [call.name for call in calls if call.name in ("fsync", "rename")]
    assert made[-3:] == ["fsync", "rename", "fsync"]
    assert names(tmp_path) == [".snapshot_00000001.safetensors.holdfast-pin", snapshot.name]
    assert catalog.read().pinned == (snapshot,)
    assert snapshot.name in (tmp_path / names(tmp_path)[0]).read_text()
    catalog.pin(snapshot)
    catalog.unpin(snapshot)
    catalog.unpin(snapshot)
    assert names(tmp_path) == [snapshot.name]


def test_a_pin_in_a_sub_directory_lies_there(tmp_path, storage):
    catalog = Catalog(storage, template="model/it_{step}", role="store")
    catalog.pin(written(tmp_path, 3, template="model/it_{step}"))
    assert names(tmp_path / "model") == [".it_3.holdfast-pin", "it_3"]
    assert steps(catalog.read().pinned) == [3]


def test_a_pin_whose_snapshot_is_gone_means_nothing(tmp_path, catalog):
    snapshot = written(tmp_path, 1)
    catalog.pin(snapshot)
    os.unlink(snapshot)
    listing = catalog.read()
    assert (listing.snapshots, listing.pinned, listing.damaged) == ((), (), ())


def test_what_is_gone_cannot_be_pinned(tmp_path, catalog):
    with pytest.raises(NotFoundError, match="is gone, or another snapshot by now"):
        catalog.pin(replace(made_up(1), location=str(tmp_path)))
    assert names(tmp_path) == []


@pytest.mark.parametrize("fault", ["pwrite", "fsync", "rename"])
def test_a_pin_that_fails_leaves_nothing(tmp_path, catalog, faults, fault):
    snapshot = written(tmp_path, 1)
    with faults.error_at(fault, errno.EIO), pytest.raises(CommitError):
        catalog.pin(snapshot)
    assert names(tmp_path) == [snapshot.name]


def test_any_storage_will_do():
    storage = MemoryStorage()
    catalog = Catalog(storage, template="gen_{.updater.iteration}", role="object")
    for step in (2, 1):
        written(storage, step, name=f"gen_{step}", template="gen_{.updater.iteration:d}", role="object")
    catalog.pin(catalog.read().snapshots[0])
    listing = catalog.read()
    assert (steps(listing.snapshots), steps(listing.pinned)) == ([1, 2], [1])
    assert catalog.remove(listing.snapshots[1])
    assert steps(catalog.read().snapshots) == [1]


def test_a_thousand_snapshots_of_five_hundred_leaves_are_listed_in_a_fifth_of_a_second(tmp_path, catalog):
    state = {f"layer_{number}": np.full(8, number, np.float32) for number in range(500)}
    staged = Arena().stage(capture(state))
    for step in range(1000):  # not synced one by one, since this is about reading
        name = TEMPLATE.format(step=step)
        facts = files.new_facts(name, step=step, sequence=step, metrics={"loss": 0.5}, role="store", template=TEMPLATE)
        (tmp_path / name).write_bytes(file_of(staged, facts))
    assert files.verify(tmp_path / name).size_bytes > 64 << 10

    cpu_s = wall_s = math.inf
    for _ in range(5):
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        listing = catalog.read()
        cpu_s = min(cpu_s, time.process_time() - began_cpu_s)
        wall_s = min(wall_s, time.perf_counter() - began_s)
        assert steps(listing.snapshots) == list(range(1000))
    print(f"\nlisting 1,000 snapshots of 500 leaves, warm: {wall_s:.3f} s, {cpu_s:.3f} s of them at work")
    assert cpu_s < 0.2  # nothing waits for a disk here: the rest is what other programs took of the machine
