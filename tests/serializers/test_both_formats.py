"""What npz and HDF5 files have in common: Chainer's contract, and what is better."""

from __future__ import annotations

import os
from collections import OrderedDict

import numpy as np
import pytest

import holdfast
from chainer_links import NAMES, Link

# --- there and back --------------------------------------------------------------------------------------------------


def test_an_object_comes_back_in_place_under_chainers_names(file_format, path):
    file_format.save(path, Link(3.0))
    assert file_format.names(path) == NAMES
    target = Link()
    array = target.W
    file_format.load(path, target)
    assert target.W is array
    assert (target.count, target.name, target.b, target.child.count) == (3, "link 3.0", None, 4)
    assert (array == 3).all()
    assert (target.child.W == 4).all()


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
def test_every_dtype_comes_back(file_format, path, array):
    file_format.save(path, {"array": array})
    target = {"array": np.zeros(array.shape, array.dtype)}
    file_format.load(path, target)
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


def test_plain_values_come_back_with_their_types(file_format, path):
    file_format.save(path, VALUES)
    target = {name: None if value is None else type(value)() for name, value in VALUES.items()}
    file_format.load(path, target)
    assert {name: type(value) for name, value in target.items()} == {name: type(one) for name, one in VALUES.items()}
    assert repr(target) == repr(VALUES)


def test_lists_and_parts_within_parts_come_back(file_format, path):
    def state(fill):
        return {"rows": [fill, fill + 1], "deep": {"deeper": (np.full(2, fill), {"x": fill})}}

    file_format.save(path, state(5))
    assert file_format.names(path) == ["deep/deeper/~i0", "deep/deeper/~i1/x", "rows/~i0", "rows/~i1"]
    target = state(0)
    file_format.load(path, target)
    assert target["rows"] == [5, 6]
    assert target["deep"]["deeper"][0].tolist() == [5, 5]
    assert target["deep"]["deeper"][1] == {"x": 5}


@pytest.mark.parametrize("kind", [dict, OrderedDict])
def test_a_dict_of_single_values_is_written_under_its_keys_so_that_it_is_a_savefun(file_format, path, kind):
    file_format.save(path, kind({"a/b": np.arange(2), "a/c": 3, "a/d": np.asarray(None), "~": None, "e": "text"}))
    assert file_format.names(path) == ["a/b", "a/c", "a/d", "e", "~"]
    target = {"a": {"b": np.zeros(2, int), "c": 0, "d": 1}, "~": 1, "e": ""}
    file_format.load(path, target)
    assert target["a"].pop("b").tolist() == [0, 1]
    assert target == {"a": {"c": 3, "d": None}, "~": None, "e": "text"}


def test_tensors_of_torch_and_its_optimizers_go_through(file_format, path):
    torch = pytest.importorskip("torch")

    def make():
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 2)
        return {"model": model, "optimizer": torch.optim.Adam(model.parameters()), "b": torch.arange(4).bfloat16()}

    state, fresh = make(), make()
    state["model"](torch.ones(1, 3)).sum().backward()
    state["optimizer"].step()
    file_format.save(path, state)
    fresh["b"].zero_()
    file_format.load(path, fresh)
    assert torch.equal(fresh["model"].weight, state["model"].weight)
    assert fresh["b"].tolist() == [0, 1, 2, 3]
    moments, wanted = (one["optimizer"].state[one["model"].weight]["exp_avg"] for one in (fresh, state))
    assert torch.equal(moments, wanted)


# --- the arguments ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [str, lambda path: path], ids=["str", "Path"])
def test_a_path_is_written_under_exactly_its_name_and_nothing_beside_it(file_format, path, kind):
    for _ in range(2):
        file_format.save(kind(path), Link())
    assert os.listdir(path.parent) == ["state"]


@pytest.mark.parametrize("part", ["updater/model:main/", "/updater/model:main"])
def test_part_of_a_file_is_loaded_by_its_path(file_format, path, part):
    file_format.save(path, {"updater": {"model:main": Link(5.0)}, "more": np.zeros(3)})
    target = Link()
    file_format.load(path, target, path=part)
    assert (target.count, target.child.count) == (5, 6)


def test_one_array_is_loaded_by_its_path(file_format, path):
    file_format.save(path, {"deep": {"W": np.arange(3)}})
    target = np.zeros(3, int)
    file_format.load(path, target, path="deep/W")
    assert target.tolist() == [0, 1, 2]


def test_a_path_that_is_not_there_is_an_error_that_says_what_is(file_format, path):
    file_format.save(path, {"model": Link(), "n": 1})
    with pytest.raises(holdfast.NotFoundError, match=r"state: there is no 'modle/?' in .* holds 'model"):
        file_format.load(path, Link(), path="modle/")


def test_a_path_that_is_not_there_restores_nothing_unless_strict_and_says_so(file_format, path, caplog):
    file_format.save(path, {"model": Link(3.0)})
    target = Link(1.0)
    file_format.load(path, target, path="modle/", strict=False)
    assert (target.count, target.child.count) == (1, 2)
    assert "there is no 'modle" in caplog.text


def test_what_only_the_file_holds_is_left_out(file_format, path):
    file_format.save(path, {"W": np.ones(3), "more": np.zeros(1)})
    target = {"W": np.zeros(3)}
    file_format.load(path, target)
    assert target["W"].all()


def test_a_missing_name_is_an_error_unless_not_strict_and_nothing_is_changed(file_format, path):
    file_format.save(path, {"W": np.ones((2, 3), np.float32), "b": None, "count": 7})
    target = Link(child=False)
    with pytest.raises(holdfast.MismatchError, match=r"state: .*\n.*missing in the snapshot: 'name'"):
        file_format.load(path, target)
    assert not target.W.any()
    file_format.load(path, target, strict=False)
    assert target.W.all()
    assert (target.count, target.name) == (7, "link 0.0")


# --- better than Chainer ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stored", [np.ones(1), np.ones(()), np.ones((1, 3)), np.ones((3, 1))])
def test_a_shape_that_only_broadcasts_is_refused(file_format, path, stored):
    file_format.save(path, {"a": stored, "b": np.ones(2)})
    target = {"a": np.zeros((3, 3)), "b": np.zeros(2)}
    with pytest.raises(holdfast.MismatchError, match="'a' is"):
        file_format.load(path, target)
    assert not target["a"].any()
    assert not target["b"].any()


def test_dtypes_are_cast_where_the_kind_is_the_same_and_not_otherwise(file_format, path):
    file_format.save(path, {"a": np.array([0.5, 1.5])})
    target = {"a": np.zeros(2, np.float32)}
    file_format.load(path, target)
    assert target["a"].tolist() == [0.5, 1.5]
    with pytest.raises(holdfast.MismatchError, match="'a'"):
        file_format.load(path, {"a": np.zeros(2, np.int64)})


def test_a_number_takes_the_type_of_the_value_and_is_not_rounded(file_format, path):
    file_format.save(path, {"a": 3, "b": 2.5})
    target = {"a": 1.0, "b": 0.0}
    file_format.load(path, target)
    assert target == {"a": 3.0, "b": 2.5}
    assert type(target["a"]) is float
    with pytest.raises(holdfast.MismatchError, match="'b'"):
        file_format.load(path, {"a": 1, "b": 0})


def test_a_target_that_cannot_change_in_place_is_refused(file_format, path):
    file_format.save(path, {"0": 5, "1": 6})
    with pytest.raises(holdfast.MismatchError, match=r"a tuple cannot change in place; use holdfast\.restore"):
        file_format.load(path, (0, 0))


def test_a_text_that_chainer_wrote_as_bytes_under_python_2_is_one(file_format, path):
    array = Link(2.0).W
    file_format.save(path, {"W": array, "b": None, "count": 2, "name": np.array("grüße".encode())})
    target = Link(child=False)
    file_format.load(path, target)
    assert target.name == "grüße"


def test_a_failing_save_leaves_the_older_file_and_no_temporary(file_format, path):
    file_format.save(path, Link(1.0))
    before = path.read_bytes()
    for target in ({"a": object()}, {"a": np.zeros(2), "b": np.array([{}], object)}):
        with pytest.raises(holdfast.CaptureError, match=r"'[ab]'"):
            file_format.save(path, target)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["state"]


def test_an_array_of_numpys_string_dtype_is_refused_by_name(file_format, path):
    if not hasattr(np.dtypes, "StringDType"):
        pytest.skip("this numpy has no StringDType")
    with pytest.raises(holdfast.CaptureError, match=r"'a/b': an array of"):
        file_format.save(path, {"a/b": np.array(["a"], np.dtypes.StringDType())})
    assert not path.exists()


@pytest.mark.parametrize("name", ["a\0b", "a\ud800"])
def test_a_name_that_would_be_another_one_in_the_file_is_refused(file_format, path, name):
    with pytest.raises(holdfast.CaptureError, match="cannot be the name of an array in a file"):
        file_format.save(path, {name: np.zeros(1)})
    assert not path.exists()


def test_a_full_disk_is_a_commit_error_and_the_older_file_stays(file_format, path, on_a_full_disk):
    file_format.save(path, Link(1.0))
    before = path.read_bytes()
    said = on_a_full_disk(file_format.save, path)
    assert said.startswith("CommitError")
    assert str(path) in said
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["state"]
