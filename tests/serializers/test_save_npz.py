"""What npz files have of their own: open files, names that are ignored, no pickle; and load_npz of a snapshot file."""

from __future__ import annotations

import io

import numpy as np
import pytest

import holdfast
from chainer_links import Link
from holdfast.serializers import load_npz, save_npz


def test_none_stands_in_the_file_as_chainer_writes_it(path):
    save_npz(path, Link(3.0))
    with np.load(path, allow_pickle=True) as file:
        assert file["b"].dtype == object
        assert file["b"][()] is None


@pytest.mark.parametrize(("compression", "kinds"), [(True, {8}), (False, {0})])
def test_compression_is_chosen(path, compression, kinds):
    save_npz(path, {"a": np.zeros(1000)}, compression=compression)
    with np.load(path) as file:
        assert {member.compress_type for member in file.zip.infolist()} == kinds


def test_an_open_file_is_written_to(path):
    stream = io.BytesIO()
    save_npz(stream, Link(1.0))
    stream.seek(0)
    with np.load(stream) as file:
        assert int(file["count"]) == 1


@pytest.mark.parametrize("compression", [True, False])
def test_an_open_file_is_read_from_where_it_stands(compression):
    stream = io.BytesIO()
    stream.write(b"before")
    save_npz(stream, Link(1.0), compression=compression)
    stream.seek(6)
    target = Link()
    load_npz(stream, target)
    assert (target.count, target.child.count) == (1, 2)


def test_an_open_file_of_another_format_is_named(path):
    path.write_bytes(b"what is not an archive")
    with open(path, "rb") as file, pytest.raises(holdfast.UnknownFormatError, match=r"state: is of no format"):
        load_npz(file, Link())
    with pytest.raises(holdfast.UnknownFormatError, match="the BytesIO: is of no format"):
        load_npz(io.BytesIO(path.read_bytes()), Link())


def test_a_misfit_names_the_file(path):
    save_npz(path, {"W": np.ones(3)})
    with pytest.raises(holdfast.MismatchError, match=r"state: the snapshot does not fit the target"):
        load_npz(path, {"W": np.zeros(4)})


@pytest.mark.parametrize("change", [lambda raw: raw[:-30], lambda raw: raw + bytes(4096)], ids=["cut off", "padded"])
@pytest.mark.parametrize("save", [save_npz, holdfast.save])
def test_a_file_that_is_not_as_long_as_it_was_is_damaged_and_nothing_is_changed(path, save, change):
    save(path, Link(3.0))
    path.write_bytes(change(path.read_bytes()))
    target = Link()
    with pytest.raises(holdfast.DamagedError, match="state"):
        load_npz(path, target)
    assert (target.count, target.W.any()) == (0, False)


# --- names that are ignored ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ignored",
    [
        "count",
        ["count"],
        iter(["count"]),
        lambda name: name == "count",
        [lambda name: name.startswith("cou"), "absent"],
    ],
    ids=["name", "list", "iterator", "function", "functions"],
)
def test_ignored_names_keep_their_values(path, ignored):
    save_npz(path, Link(2.0))
    target = Link(9.0)
    load_npz(path, target, ignore_names=ignored)
    assert (target.count, target.name, target.child.count) == (9, "link 2.0", 3)


def test_ignored_names_may_be_missing_and_of_another_shape(path):
    save_npz(path, {"a": np.ones(3), "b": np.ones(4)})
    target = {"a": np.zeros(3), "b": np.zeros(9), "c": np.zeros(1)}
    load_npz(path, target, ignore_names=["b", "c"])
    assert target["a"].all()
    assert not target["b"].any()


def test_names_are_ignored_as_they_stand_in_the_file_below_a_path(path):
    np.savez(path.with_suffix(".npz"), **{"model/a~b": np.ones(2), "model/c": np.ones(2), "model/d": np.ones(2)})
    target = {"a~b": np.zeros(2), "c": np.zeros(2), "d": np.zeros(2)}
    load_npz(path.with_suffix(".npz"), target, path="model/", ignore_names=["model/a~b", "model/c", "d"])
    assert [one.any() for one in target.values()] == [False, False, True]


def test_what_cannot_be_ignored_is_refused(path):
    save_npz(path, Link())
    with pytest.raises(ValueError, match="ignore_names"):
        load_npz(path, Link(), ignore_names=[3])


# --- no pickle, and snapshot files -----------------------------------------------------------------------------------


def test_a_pickled_object_is_refused_by_name_and_never_unpickled(path):
    class Evil:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    np.savez(path.with_suffix(".npz"), good=np.ones(1), evil=np.array([Evil()], object))
    with pytest.raises(holdfast.UnknownFormatError, match="evil"):
        load_npz(path.with_suffix(".npz"), {"good": np.zeros(1)})


def test_no_pickle_but_that_of_none_is_written(path):
    save_npz(path, Link(1.0))
    with np.load(path, allow_pickle=False) as file:
        pickled = [name for name in file if name.rpartition("/")[2] == "b"]
        assert len([file[name] for name in file if name not in pickled]) == 6  # raises where one is pickled


def test_snapshot_files_are_recognised_by_their_content(path):
    holdfast.save(path, Link(4.0))
    target = Link()
    load_npz(path, target)
    assert (target.count, target.child.count) == (4, 5)


def test_damage_to_a_snapshot_file_is_found_and_nothing_is_changed(path):
    holdfast.save(path, Link(4.0))
    raw = bytearray(path.read_bytes())
    raw[raw.rindex(np.float32(4.0).tobytes())] ^= 1
    path.write_bytes(raw)
    target = Link()
    with pytest.raises(holdfast.DamagedError, match="state: the leaf 'W'"):
        load_npz(path, target)
    assert not target.W.any()
