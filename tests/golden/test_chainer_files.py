"""Files that Chainer 7.8.1 wrote are read for ever, without Chainer and without pickle."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

import holdfast
from golden import make_chainer_files
from holdfast.serializers import DictionarySerializer, NpzDeserializer, load_npz
from holdfast.serializers.hdf5 import load_hdf5
from holdfast.training.extensions import LogReport

FOLDER = make_chainer_files.FOLDER
EXPECTED = json.loads((FOLDER / "expected.json").read_text())
SHA256 = "1ebcffc2ae970c1321a65576f940d7ac74d52968771a9efed22d2973dc9001e7"


def target_of(name):
    """The state that a file holds, with other values: dicts by the "/" in the names, ones of the right shapes."""
    target = {}
    for key, saved in EXPECTED[name].items():
        *parts, last = key.split("/")
        place = target
        for part in parts:
            place = place.setdefault(part, {})
        dtype, value = saved or [None, None]
        place[last] = np.ones(np.shape(value), dtype) if isinstance(value, list) else saved and type(value)()
    return target


def state_of(target):
    """What it holds now, as the golden files' values are written down."""
    serializer = DictionarySerializer()
    serializer.save(target)
    return {
        key: None if array.dtype == object else [array.dtype.str, array.tolist()]
        for key, array in serializer.target.items()
    }


def load(name, target, **options):
    if name.endswith(".h5"):
        pytest.importorskip("h5py")
        load_hdf5(FOLDER / name, target, **options)
    else:
        load_npz(FOLDER / name, target, **options)


def test_the_golden_files_are_those_that_were_made():
    paths = sorted(FOLDER.iterdir())
    assert {path.name for path in paths} == {*EXPECTED, "expected.json"}
    assert hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest() == SHA256


@pytest.mark.parametrize("name", EXPECTED)
def test_every_value_comes_back(name):
    target = target_of(name)
    assert state_of(target) != EXPECTED[name]
    load(name, target)
    assert state_of(target) == EXPECTED[name]


@pytest.mark.parametrize("name", [name for name in EXPECTED if not name.endswith(".h5")])
def test_restore_and_load_read_the_npz_files_by_their_content(name):
    found = holdfast.load(FOLDER / name)
    assert EXPECTED[name].keys() <= found.keys()
    for key, saved in EXPECTED[name].items():
        assert found[key] is None if saved is None else [found[key].dtype.str, found[key].tolist()] == saved
    target = target_of(name)
    assert holdfast.restore(FOLDER / name, target, strict=False) is target
    assert state_of(target) == EXPECTED[name]


@pytest.mark.parametrize("name", ["snapshot_iter_7", "trainer.h5"])
def test_a_model_is_taken_out_of_a_trainer(name):
    target = target_of(name)["updater"]["model:main"]
    load(name, target, path="updater/model:main/")
    above = "updater/model:main/"
    assert state_of(target) == {
        key[len(above) :]: saved for key, saved in EXPECTED[name].items() if key.startswith(above)
    }


@pytest.mark.parametrize("name", ["no_shape.npz", "no_shape.h5"])
def test_a_parameter_without_a_shape_is_none_and_leaves_one_that_has_one_to_its_link(name):
    target = {"W": np.ones((2, 3), np.float32), "b": np.ones(2, np.float32)}
    load(name, target)
    assert target["W"] is None
    assert not target["b"].any()


def test_the_none_in_a_golden_file_is_a_pickle_which_numpy_refuses():
    with np.load(FOLDER / "no_shape.npz") as file, pytest.raises(ValueError, match="pickle"):
        file["W"]


def test_a_log_comes_back_row_by_row():
    log = LogReport(trigger=(2, "iteration"))
    load_npz(FOLDER / "snapshot_iter_7", log, path="extensions/LogReport/")
    assert [(row["iteration"], row["epoch"], "main/loss" in row) for row in log.log] == [
        (2, 0, True),
        (4, 1, True),
        (6, 2, True),
    ]
    assert log.log == json.loads(EXPECTED["snapshot_iter_7"]["extensions/LogReport/_log"][1])


def test_a_deserializer_reads_what_numpy_loaded():
    with np.load(FOLDER / "no_shape.npz", allow_pickle=True) as file:
        deserializer = NpzDeserializer(file)
        assert deserializer("W", np.ones(3)) is None
        assert deserializer("b", None).tolist() == [0, 0]
    with np.load(FOLDER / "no_shape.npz") as file, pytest.raises(holdfast.UnknownFormatError, match=r"'W': .*load_npz"):
        NpzDeserializer(file)("W", None)
