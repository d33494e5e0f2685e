"""save_hdf5, load_hdf5 and their serializers: Chainer's contract, and what is better."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import OrderedDict

import numpy as np
import pytest

import holdfast
from chainer_links import NAMES, Link, names_in
from holdfast.serializers.hdf5 import load_hdf5, save_hdf5

h5py = pytest.importorskip("h5py")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state"


# --- there and back --------------------------------------------------------------------------------------------------


def test_an_object_comes_back_in_place_under_chainers_names(path):
    save_hdf5(path, Link(3.0))
    assert names_in(path) == NAMES
    target = Link()
    array = target.W
    load_hdf5(path, target)
    assert target.W is array
    assert (target.count, target.name, target.b, target.child.count) == (3, "link 3.0", None, 4)
    assert (array == 3).all()
    assert (target.child.W == 4).all()


def test_values_stand_in_the_file_as_chainer_writes_them(path):
    save_hdf5(path, Link(3.0))
    with h5py.File(path, "r") as file:
        assert (file["W"].dtype, file["W"].shape, file["W"].compression, file["W"].compression_opts) == (
            np.float32, (2, 3), "gzip", 4,
        )  # fmt: skip
        assert (file["b"].shape, file["b"].dtype) == (None, np.float32)
        assert (file["count"].shape, file["count"][()], file["count"].compression) == ((), 3, None)
        assert file["name"].asstr()[()] == "link 3.0"


@pytest.mark.parametrize(
    "array",
    [
        np.array([True, False]),
        *(
            np.arange(6).reshape(2, 3).astype(kind)
            for kind in "u1 i1 u2 i2 u4 i4 u8 i8 f2 f4 f8 c8 c16 >f4 >i8".split()
        ),
        np.array(2.5),
        np.zeros((0, 4), np.float32),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(12.0)[::2],
        np.array(["a", "grüße", "", "x\0y"]),
        np.array("one"),
        np.array([b"ab", b"", b"a\0b"]),
        np.array([b"xyz"], "V3"),
        np.array([(1.5, [1, 2]), (2.5, [3, 4])], [("a", "<f4"), ("é", ">i2", (2,))]),
        np.array(["2030-01-01", "NaT"], "M8[ns]"),
        np.array([[1], [-1]], "m8[25us]"),
    ],
    ids=lambda array: f"{array.dtype.str}-{array.shape}",
)
def test_every_dtype_comes_back(path, array):
    save_hdf5(path, {"array": array})
    target = {"array": np.zeros(array.shape, array.dtype)}
    load_hdf5(path, target)
    assert target["array"].dtype == array.dtype
    assert target["array"].tobytes() == array.tobytes()


VALUES = {
    "none": None,
    "bool": True,
    "int": -7,
    "large": 1 << 80,
    "float": 0.1,
    "nan": float("nan"),
    "complex": 1 + 2j,
    "text": "grüße",
    "empty": "",
    "long": "long " * 20_000,
    "json": '[0,["none",null]]',
    "zero": "a\0",
    "bytes": b"a\0b\0",
    "scalar": np.float16(1.5),
}


def test_plain_values_come_back_with_their_types(path):
    save_hdf5(path, VALUES)
    target = {name: None if value is None else type(value)() for name, value in VALUES.items()}
    load_hdf5(path, target)
    assert {name: type(value) for name, value in target.items()} == {name: type(one) for name, one in VALUES.items()}
    assert repr(target) == repr(VALUES)


def test_lists_and_parts_within_parts_come_back(path):
    def state(fill):
        return {"rows": [fill, fill + 1], "deep": {"deeper": (np.full(2, fill), {"x": fill})}}

    save_hdf5(path, state(5))
    assert names_in(path) == ["deep/deeper/~i0", "deep/deeper/~i1/x", "rows/~i0", "rows/~i1"]
    target = state(0)
    load_hdf5(path, target)
    assert target["rows"] == [5, 6]
    assert target["deep"]["deeper"][0].tolist() == [5, 5]
    assert target["deep"]["deeper"][1] == {"x": 5}


@pytest.mark.parametrize("kind", [dict, OrderedDict])
def test_a_dict_of_single_values_is_written_under_its_keys_so_that_it_is_a_savefun(path, kind):
    save_hdf5(path, kind({"/a/b": np.arange(2), "a/c": 3, "a/d": np.asarray(None), "e": "text"}))
    assert names_in(path) == ["a/b", "a/c", "a/d", "e"]
    target = {"a": {"b": np.zeros(2, int), "c": 0, "d": 1}, "e": ""}
    load_hdf5(path, target)
    assert target["a"].pop("b").tolist() == [0, 1]
    assert target == {"a": {"c": 3, "d": None}, "e": "text"}


def test_it_is_a_savefun_of_the_snapshot_extension(tmp_path):
    from holdfast.training import Trainer, extensions
    from training.fakes import CountingUpdater

    trainer = Trainer(CountingUpdater(), (3, "iteration"), out=tmp_path)
    trainer.extend(extensions.LogReport(trigger=(1, "iteration")))
    trainer.extend(extensions.snapshot(savefun=save_hdf5, filename="at_{.updater.iteration}"), trigger=(3, "iteration"))
    trainer.run()
    fresh = Trainer(CountingUpdater(), (3, "iteration"), out=tmp_path)
    fresh.extend(extensions.LogReport(trigger=(1, "iteration")))
    load_hdf5(tmp_path / "at_3", fresh, strict=False)
    assert fresh.updater.iteration == 3
    assert fresh.get_extension("LogReport").log == trainer.get_extension("LogReport").log


def test_tensors_of_torch_go_through(path):
    torch = pytest.importorskip("torch")

    def make():
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 2)
        return {"model": model, "optimizer": torch.optim.Adam(model.parameters()), "b": torch.arange(4).bfloat16()}

    state, fresh = make(), make()
    state["model"](torch.ones(1, 3)).sum().backward()
    state["optimizer"].step()
    save_hdf5(path, state)
    fresh["b"].zero_()
    load_hdf5(path, fresh)
    assert torch.equal(fresh["model"].weight, state["model"].weight)
    assert fresh["b"].tolist() == [0, 1, 2, 3]
    moments, wanted = (one["optimizer"].state[one["model"].weight]["exp_avg"] for one in (fresh, state))
    assert torch.equal(moments, wanted)


# --- the arguments ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [str, lambda path: path])
def test_a_path_is_written_under_exactly_its_name_and_nothing_beside_it(path, kind):
    for _ in range(2):
        save_hdf5(kind(path), Link())
    assert os.listdir(path.parent) == ["state"]


@pytest.mark.parametrize(("compression", "found"), [(9, ("gzip", 9)), (0, ("gzip", 0)), (None, (None, None))])
def test_compression_is_chosen_for_every_array_of_several_elements(path, compression, found):
    save_hdf5(path, {"one": np.zeros(1), "first": np.zeros(100), "last": np.zeros((2, 2))}, compression=compression)
    with h5py.File(path, "r") as file:
        assert [(file[name].compression, file[name].compression_opts) for name in ("first", "last")] == [found] * 2
        assert file["one"].compression is None


@pytest.mark.parametrize("compression", [-1, 10, "gzip", 4.0])
def test_a_level_that_gzip_does_not_have_is_refused(path, compression):
    with pytest.raises(ValueError, match=r"compression is .*, wanted a level of gzip from 0 to 9, or None"):
        save_hdf5(path, Link(), compression=compression)
    assert not path.exists()


@pytest.mark.parametrize("part", ["updater/model:main/", "/updater/model:main"])
def test_part_of_a_file_is_loaded_by_its_path(path, part):
    save_hdf5(path, {"updater": {"model:main": Link(5.0)}, "more": np.zeros(3)})
    target = Link()
    load_hdf5(path, target, path=part)
    assert (target.count, target.child.count) == (5, 6)


def test_one_array_is_loaded_by_its_path(path):
    save_hdf5(path, {"deep": {"W": np.arange(3)}})
    target = np.zeros(3, int)
    load_hdf5(path, target, path="deep/W")
    assert target.tolist() == [0, 1, 2]


def test_a_path_that_is_not_there_is_an_error_that_says_what_is(path):
    save_hdf5(path, {"model": Link(), "n": 1})
    with pytest.raises(holdfast.NotFoundError, match=r"state: there is no 'modle/' in .* holds 'model', 'n'"):
        load_hdf5(path, Link(), path="modle/")


def test_a_path_that_is_not_there_restores_nothing_unless_strict_and_says_so(path, caplog):
    save_hdf5(path, {"model": Link(3.0)})
    target = Link(1.0)
    load_hdf5(path, target, path="modle/", strict=False)
    assert (target.count, target.child.count) == (1, 2)
    assert "there is no 'modle/'" in caplog.text


def test_what_only_the_file_holds_is_left_out(path):
    save_hdf5(path, {"W": np.ones(3), "more": np.zeros(1)})
    target = {"W": np.zeros(3)}
    load_hdf5(path, target)
    assert target["W"].all()


def test_a_missing_name_is_an_error_unless_not_strict_and_nothing_is_changed(path):
    save_hdf5(path, {"W": np.ones((2, 3), np.float32), "b": None, "count": 7})
    target = Link(child=False)
    with pytest.raises(holdfast.MismatchError, match=r"state: .*\n.*missing in the snapshot: 'name'"):
        load_hdf5(path, target)
    assert not target.W.any()
    load_hdf5(path, target, strict=False)
    assert target.W.all()
    assert (target.count, target.name) == (7, "link 0.0")


# --- better than Chainer ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stored", [np.ones(1), np.ones(()), np.ones((1, 3)), np.ones((3, 1))])
def test_a_shape_that_only_broadcasts_is_refused(path, stored):
    save_hdf5(path, {"a": stored, "b": np.ones(2)})
    target = {"a": np.zeros((3, 3)), "b": np.zeros(2)}
    with pytest.raises(holdfast.MismatchError, match="'a' is"):
        load_hdf5(path, target)
    assert not target["a"].any()
    assert not target["b"].any()


def test_dtypes_are_cast_where_the_kind_is_the_same_and_not_otherwise(path):
    save_hdf5(path, {"a": np.array([0.5, 1.5])})
    target = {"a": np.zeros(2, np.float32)}
    load_hdf5(path, target)
    assert target["a"].tolist() == [0.5, 1.5]
    with pytest.raises(holdfast.MismatchError, match="'a'"):
        load_hdf5(path, {"a": np.zeros(2, np.int64)})


def test_a_number_is_not_rounded(path):
    save_hdf5(path, {"a": 2.5})
    with pytest.raises(holdfast.MismatchError, match="'a'"):
        load_hdf5(path, {"a": 0})


def test_a_target_that_cannot_change_in_place_is_refused(path):
    save_hdf5(path, {"0": 5, "1": 6})
    with pytest.raises(holdfast.MismatchError, match=r"a tuple cannot change in place; use holdfast\.restore"):
        load_hdf5(path, (0, 0))


def test_a_failing_save_leaves_the_older_file_and_no_temporary(path):
    save_hdf5(path, Link(1.0))
    before = path.read_bytes()
    for target in ({"a": object()}, {"a": np.zeros(2), "b": np.zeros(2, [("text", "U3")])}):
        with pytest.raises(holdfast.CaptureError):
            save_hdf5(path, target)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["state"]


@pytest.mark.parametrize(
    ("array", "why"),
    [
        (np.zeros(2, [("text", "U3")]), "which HDF5 cannot hold"),
        (np.ndarray((3,), "S0"), "which HDF5 cannot hold"),
        (np.array(["a\ud800"]), "a text that is no Unicode"),
        (np.array([{}], object), "Python objects"),
        (np.zeros(2, [("r", "f4"), ("i", "f4")]), "which HDF5 would give back as complex64"),
    ],
    ids=["text in a field", "no bytes", "surrogate", "objects", "as if complex"],
)
def test_an_array_that_hdf5_cannot_hold_is_refused_by_name(path, array, why):
    with pytest.raises(holdfast.CaptureError, match=f"'deep/array'.*{why}"):
        save_hdf5(path, {"deep/array": array})
    assert not path.exists()


@pytest.mark.parametrize("name", ["a/./b", "a//b", ".", "", "/", "a\0b", "a\ud800"])
def test_a_name_that_would_be_another_one_in_the_file_is_refused(path, name):
    with pytest.raises(holdfast.CaptureError, match=r"cannot be (a|the) name"):
        save_hdf5(path, {name: np.zeros(1)})
    assert not path.exists()


def test_an_array_that_has_parts_is_refused(path):
    with pytest.raises(holdfast.CaptureError, match="'a/b' cannot be written"):
        save_hdf5(path, {"a": np.zeros(1), "a/b": np.zeros(1)})


def test_the_same_state_gives_the_same_bytes(path):
    save_hdf5(path, Link(1.0))
    before = path.read_bytes()
    save_hdf5(path, Link(1.0))
    assert path.read_bytes() == before


def test_a_full_disk_is_a_commit_error_and_the_older_file_stays(path, on_a_full_disk):
    save_hdf5(path, Link(1.0))
    before = path.read_bytes()
    said = on_a_full_disk(f"from holdfast.serializers.hdf5 import save_hdf5 as save; path = {str(path)!r}")
    assert said.startswith("CommitError")
    assert str(path) in said
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["state"]


def test_a_missing_h5py_is_an_error_that_names_the_extra(path, monkeypatch):
    save_hdf5(path, Link())
    monkeypatch.setitem(sys.modules, "h5py", None)
    for call in (save_hdf5, load_hdf5):
        with pytest.raises(ModuleNotFoundError, match=r'pip install "holdfast\[hdf5\]"'):
            call(path, Link())


def test_importing_the_serializers_does_not_load_h5py():
    code = "import sys, holdfast.serializers.hdf5; sys.exit('h5py' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
