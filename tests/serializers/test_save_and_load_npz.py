"""save_npz and load_npz: Chainer's contract, without pickle."""

from __future__ import annotations

import io
import os
from collections import OrderedDict

import numpy as np
import pytest

import holdfast
from chainer_links import NAMES, Link
from holdfast.serializers import load_npz, save_npz
from holdfast.storage.base import TEMPORARY_SUFFIX


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state"


def test_an_object_comes_back_in_place_under_chainers_names(path):
    save_npz(path, Link(3.0))
    with np.load(path, allow_pickle=True) as file:
        assert sorted(file) == NAMES
        assert file["b"].dtype == object
        assert file["b"][()] is None
    target = Link()
    array = target.W
    load_npz(path, target)
    assert target.W is array
    assert (target.count, target.name, target.b, target.child.count) == (3, "link 3.0", None, 4)
    assert (array == 3).all()
    assert (target.child.W == 4).all()


@pytest.mark.parametrize("kind", [str, lambda path: path])
def test_a_path_is_written_under_exactly_its_name(path, kind):
    save_npz(kind(path), {"a": np.arange(3)})
    assert os.listdir(path.parent) == ["state"]


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
    stream = io.BytesIO(stream.getvalue()[6:])
    target = Link()
    load_npz(stream, target)
    assert (target.count, target.child.count) == (1, 2)


def test_an_open_file_of_another_format_is_named(path):
    path.write_bytes(b"what is not an archive")
    with open(path, "rb") as file, pytest.raises(holdfast.UnknownFormatError, match=r"state: is of no format"):
        load_npz(file, Link())
    with pytest.raises(holdfast.UnknownFormatError, match="the BytesIO: is of no format"):
        load_npz(io.BytesIO(path.read_bytes()), Link())


def test_a_mapping_of_arrays_is_written_as_it_is_so_that_it_is_a_savefun(path):
    save_npz(path, {"a/b": np.arange(2), "none": np.asarray(None), "file": np.ones(1)})
    assert list(holdfast.load(path)) == ["a/b", "none", "file"]


@pytest.mark.parametrize("kind", [dict, OrderedDict])
def test_a_dict_of_single_values_is_written_under_its_keys(path, kind):
    save_npz(path, kind({"a/b": np.arange(2), "a/c": 3, "~": None, "e": "text", "f": np.float32(1.5)}))
    assert list(holdfast.load(path)) == ["a/b", "a/c", "~", "e", "f"]
    target = {"a": {"b": np.zeros(2, int), "c": 0}, "~": 1, "e": "", "f": np.float32(0)}
    load_npz(path, target)
    assert target["a"].pop("b").tolist() == [0, 1]
    assert target == {"a": {"c": 3}, "~": None, "e": "text", "f": 1.5}


@pytest.mark.parametrize("name", ["a\0b", "a\ud800"])
def test_a_name_that_would_be_another_one_in_the_file_is_refused(path, name):
    with pytest.raises(holdfast.CaptureError, match="cannot be the name of an array in a file"):
        save_npz(path, {name: np.zeros(1)})
    assert not path.exists()


@pytest.mark.parametrize("kind", ["O", "T"])
def test_an_array_that_is_no_plain_bytes_is_refused_by_name(path, kind):
    if kind == "T" and not hasattr(np.dtypes, "StringDType"):
        pytest.skip("this numpy has no StringDType")
    array = np.array(["a"], np.dtypes.StringDType() if kind == "T" else object)
    with pytest.raises(holdfast.CaptureError, match=r"'a/b': an array of"):
        save_npz(path, {"a/b": array})
    assert not path.exists()


def test_a_full_disk_is_a_commit_error_and_the_older_file_stays(path, on_a_full_disk):
    save_npz(path, Link(1.0))
    before = path.read_bytes()
    said = on_a_full_disk(f"from holdfast.serializers import save_npz as save; path = {str(path)!r}")
    assert said.startswith("CommitError")
    assert str(path) in said
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["state"]


def test_a_failing_save_leaves_the_older_file_and_no_temporary(path):
    save_npz(path, Link(1.0))
    before = path.read_bytes()
    with pytest.raises(holdfast.CaptureError):
        save_npz(path, {"a": object()})
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["state"]


def test_part_of_a_file_is_loaded_by_its_path(path):
    save_npz(path, {"updater": {"model": Link(5.0)}})
    target = Link()
    load_npz(path, target, path="updater/model/")
    assert target.count == 5


def test_a_path_that_is_not_there_is_an_error_that_names_the_file(path):
    save_npz(path, {"model": Link()})
    with pytest.raises(holdfast.NotFoundError, match=r"state: there is no 'modle'"):
        load_npz(path, Link(), path="modle/")


def test_a_path_that_is_not_there_restores_nothing_unless_strict_and_says_so(path, caplog):
    save_npz(path, {"model": Link(3.0)})
    target = Link(1.0)
    load_npz(path, target, path="modle/", strict=False)
    assert (target.count, target.child.count) == (1, 2)
    assert "there is no 'modle'" in caplog.text


def test_a_misfit_names_the_file(path):
    save_npz(path, {"W": np.ones(3)})
    with pytest.raises(holdfast.MismatchError, match=r"state: the snapshot does not fit the target"):
        load_npz(path, {"W": np.zeros(4)})


def test_a_target_that_cannot_change_in_place_is_refused(path):
    save_npz(path, {"0": 5, "1": 6})
    with pytest.raises(holdfast.MismatchError, match=r"a tuple cannot change in place; use holdfast\.restore"):
        load_npz(path, (0, 0))


@pytest.mark.parametrize("change", [lambda raw: raw[:-30], lambda raw: raw + bytes(4096)], ids=["cut off", "padded"])
@pytest.mark.parametrize("save", [save_npz, holdfast.save])
def test_a_file_that_is_not_as_long_as_it_was_is_damaged_and_nothing_is_changed(path, save, change):
    save(path, Link(3.0))
    path.write_bytes(change(path.read_bytes()))
    target = Link()
    with pytest.raises(holdfast.DamagedError, match="state"):
        load_npz(path, target)
    assert (target.count, target.W.any()) == (0, False)


def test_what_only_the_file_holds_is_left_out_as_in_chainer(path):
    save_npz(path, {"W": np.ones((2, 3), np.float32), "more": np.zeros(1)})
    target = {"W": np.zeros((2, 3), np.float32)}
    load_npz(path, target)
    assert target["W"].all()


def test_a_missing_name_is_an_error_unless_not_strict_and_nothing_is_changed(path):
    save_npz(path, {"W": np.ones((2, 3), np.float32), "b": np.asarray(None), "count": np.asarray(7)})
    target = Link(child=False)
    with pytest.raises(holdfast.MismatchError, match="'name'"):
        load_npz(path, target)
    assert not target.W.any()
    load_npz(path, target, strict=False)
    assert target.W.all()
    assert (target.count, target.name) == (7, "link 0.0")


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


def test_dtypes_are_cast_where_the_kind_is_the_same_and_not_otherwise(path):
    save_npz(path, {"a": np.arange(3.0)})
    target = {"a": np.zeros(3, np.float32)}
    load_npz(path, target)
    assert target["a"].tolist() == [0, 1, 2]
    with pytest.raises(holdfast.MismatchError, match="'a'"):
        load_npz(path, {"a": np.zeros(3, np.int64)})


def test_a_shape_that_only_broadcasts_is_refused(path):
    save_npz(path, {"a": np.ones(1)})
    target = {"a": np.zeros(3)}
    with pytest.raises(holdfast.MismatchError, match="'a'"):
        load_npz(path, target)
    assert not target["a"].any()


def test_a_scalar_takes_the_type_of_the_value_and_only_by_a_safe_cast(path):
    save_npz(path, {"a": np.asarray(3), "b": np.asarray(2.5)})
    target = {"a": 1.0, "b": 0.0}
    load_npz(path, target)
    assert target == {"a": 3.0, "b": 2.5}
    assert type(target["a"]) is float
    with pytest.raises(holdfast.MismatchError, match="'b'"):
        load_npz(path, {"a": 1, "b": 0})


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
        for name in file:
            if name.rpartition("/")[2] != "b":
                file[name]  # raises where it is pickled


def test_a_torch_optimizer_goes_through_npz(path):
    torch = pytest.importorskip("torch")

    def make():
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 2)
        return model, torch.optim.Adam(model.parameters())

    model, optimizer = make()
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    save_npz(path, {"model": model, "optimizer": optimizer})
    fresh_model, fresh = make()
    load_npz(path, {"model": fresh_model, "optimizer": fresh})
    assert torch.equal(fresh_model.weight, model.weight)
    assert torch.equal(fresh.state[fresh_model.weight]["exp_avg"], optimizer.state[model.weight]["exp_avg"])


def test_bfloat16_goes_through_npz(path):
    torch = pytest.importorskip("torch")
    save_npz(path, {"a": torch.arange(4).bfloat16()})
    target = {"a": torch.zeros(4, dtype=torch.bfloat16)}
    load_npz(path, target)
    assert target["a"].tolist() == [0, 1, 2, 3]


def test_no_temporary_is_left_beside_the_file(path):
    for _ in range(2):
        save_npz(path, Link())
    assert not [name for name in os.listdir(path.parent) if TEMPORARY_SUFFIX in name]
