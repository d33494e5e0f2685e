"""What HDF5 files have of their own: how values stand in them, and what they cannot hold."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import holdfast
from chainer_links import Link, names_in
from holdfast.serializers.hdf5 import load_hdf5, save_hdf5, tree_of

h5py = pytest.importorskip("h5py")


def test_values_stand_in_the_file_as_chainer_writes_them(path):
    save_hdf5(path, Link(3.0))
    with h5py.File(path, "r") as file:
        assert (file["W"].dtype, file["W"].shape, file["W"].compression, file["W"].compression_opts) == (
            np.float32, (2, 3), "gzip", 4,
        )  # fmt: skip
        assert (file["b"].shape, file["b"].dtype) == (None, np.float32)
        assert (file["count"].shape, file["count"][()], file["count"].compression) == ((), 3, None)
        assert file["name"].asstr()[()] == "link 3.0"


def test_a_name_in_a_dict_may_begin_with_a_slash_as_in_chainer(path):
    save_hdf5(path, {"/a/b": np.arange(2), "c": 1})
    assert names_in(path) == ["a/b", "c"]


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
def test_an_array_that_hdf5_cannot_hold_is_refused_by_name_and_an_older_file_stays(path, array, why):
    save_hdf5(path, Link(1.0))
    before = path.read_bytes()
    with pytest.raises(holdfast.CaptureError, match=f"'deep/array'.*{why}"):
        save_hdf5(path, {"deep/array": array})
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["state"]


@pytest.mark.parametrize("name", ["a/./b", "a//b", ".", "", "/"])
def test_a_name_with_an_empty_part_or_a_dot_is_refused(path, name):
    with pytest.raises(holdfast.CaptureError, match="cannot be a name in an HDF5 file"):
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
    with h5py.File(path, "r") as file:  # no time of day stands in it
        parts = [file[name] for name in ("/", "child", "W", "b", "count", "name", "child/W", "child/count")]
        assert [h5py.h5o.get_info(part.id).mtime for part in parts] == [0] * len(parts)


def test_all_of_a_file_is_read_under_whole_names(path):
    save_hdf5(path, {"z": None, "deep": {"W": np.arange(3), "V": {"x": 1}}, "a": 1})
    assert tree_of(path).root.keys == ("a", "deep/V/x", "deep/W", "z")


def test_a_missing_h5py_is_an_error_that_names_the_extra(path, monkeypatch):
    save_hdf5(path, Link())
    monkeypatch.setitem(sys.modules, "h5py", None)
    for call in (save_hdf5, load_hdf5):
        with pytest.raises(ModuleNotFoundError, match=r'pip install "holdfast\[hdf5\]"'):
            call(path, Link())


def test_importing_the_serializers_does_not_load_h5py():
    code = "import sys, holdfast.serializers.hdf5; sys.exit('h5py' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
