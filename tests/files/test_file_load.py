"""holdfast.files.load: arrays of each framework over the mapped file, and nothing of the file is ever run."""

from __future__ import annotations

import re
import sys

import ml_dtypes
import numpy as np
import pytest

from holdfast import files
from holdfast.errors import DamagedError, UnknownFormatError

STATE = {"weight": np.arange(2048.0), "half": np.arange(5, dtype=ml_dtypes.bfloat16), "rates": [0.1, (1, None)]}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "snapshot.safetensors"
    files.save(path, STATE)
    return path


def address(array):
    return array.__array_interface__["data"][0]


# numpy


def test_numpy_arrays_look_into_the_mapped_file_and_are_read_only(path, maps_of):
    found = files.load(path)
    assert found.keys() == STATE.keys()
    assert found["rates"] == STATE["rates"]
    assert np.array_equal(found["weight"], STATE["weight"])
    (low, high, rights), *_ = maps_of(path)
    assert low <= address(found["weight"]) < high
    assert rights == "r--p"
    with pytest.raises(ValueError, match="read-only"):
        found["weight"][0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        found["weight"].flags.writeable = True


def test_arrays_outlive_the_name_of_their_file_and_then_let_go_of_it(path, maps_of):
    weight = files.load(path)["weight"]
    path.unlink()
    assert np.array_equal(weight, STATE["weight"])
    del weight
    assert maps_of(f"{path} (deleted)") == []


def test_a_device_of_numpy_is_refused(path):
    with pytest.raises(ValueError, match="device is 'cpu', but numpy's arrays have none; name framework='torch'"):
        files.load(path, device="cpu")


def test_another_framework_is_refused(path):
    with pytest.raises(ValueError, match="framework is 'tensorflow', wanted 'numpy', 'torch' or 'jax'"):
        files.load(path, framework="tensorflow")


@pytest.mark.parametrize(
    "dtype", ["bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu", "float8_e4m3fnuz", "float8_e5m2fnuz"]
)
def test_dtypes_that_numpy_lacks_come_back_through_ml_dtypes(tmp_path, dtype):
    values = np.arange(1, 5).astype(getattr(ml_dtypes, dtype))
    files.save(tmp_path / "model", {"weight": values})
    found = files.load(tmp_path / "model")["weight"]
    assert found.dtype == values.dtype
    assert found.tobytes() == values.tobytes()


def test_without_ml_dtypes_the_error_names_the_array_and_both_ways_out(path, absent):
    absent("ml_dtypes")
    wanted = f"{path}: 'half': numpy has no bfloat16: install ml_dtypes, or load with framework='torch'"
    with pytest.raises(UnknownFormatError, match=re.escape(wanted)):
        files.load(path)
    assert np.array_equal(files.load(path, subtree="weight"), STATE["weight"])


# What is not installed


@pytest.mark.parametrize("framework", ["torch", "jax"])
def test_a_framework_that_is_not_installed_is_named_with_the_extra_that_brings_it(path, absent, framework):
    absent(framework)
    with pytest.raises(ModuleNotFoundError, match=re.escape(f"pip install 'holdfast[{framework}]'")) as raised:
        files.load(path, framework=framework)
    assert raised.value.name == framework


def test_a_framework_that_lacks_a_package_of_its_own_says_so_itself(path, tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text("import a_package_that_torch_needs\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    with pytest.raises(ModuleNotFoundError, match="a_package_that_torch_needs") as raised:
        files.load(path, framework="torch")
    assert "holdfast[torch]" not in str(raised.value)


# Nothing is run

AUDITED = """
import sys
import numpy as np
from holdfast import files
from holdfast.errors import HoldfastError

events = []
sys.addaudithook(lambda event, arguments: events.append(event) if event.startswith("pickle.") else None)
for path in sys.argv[1:]:
    for read in (files.load, lambda path: files.restore(path, {"a": None})):
        try:
            read(path)
            print("read", *events)
        except HoldfastError as error:
            print(type(error).__name__, *events)
print("imported" if "sentinel" in sys.modules else "not imported")
np.load(sys.argv[1], allow_pickle=True)["a"]
print(*events, "imported" if "sentinel" in sys.modules else "not imported")
"""


class Sentinel:
    """Unpickling it imports the module `sentinel`."""

    def __reduce__(self):
        return (__import__, ("sentinel",))


def test_nothing_is_unpickled_whatever_an_archive_holds(tmp_path, program):
    (tmp_path / "sentinel.py").write_text("")
    objects = np.array([Sentinel(), {}], dtype=object)
    np.savez(tmp_path / "stored.npz", a=objects)
    np.savez_compressed(tmp_path / "deflated.npz", a=objects)
    np.savez(tmp_path / "none.npz", a=np.array(None))
    paths = [tmp_path / name for name in ("stored.npz", "deflated.npz", "none.npz")]
    lines = program(f"import sys; sys.path.append({str(tmp_path)!r})" + AUDITED, *paths).end().splitlines()
    assert lines[:6] == ["UnknownFormatError"] * 4 + ["read"] * 2
    assert lines[6] == "not imported"
    assert lines[7].startswith("pickle.find_class")  # numpy does unpickle it: the trap works
    assert lines[7].endswith(" imported")


def test_an_archive_of_pickles_is_refused_with_what_to_do(tmp_path):
    np.savez(tmp_path / "objects.npz", a=np.zeros(2), b=np.array([{}], dtype=object))
    with pytest.raises(UnknownFormatError, match=r"'b.npy' cannot be read: it holds Python objects as a pickle"):
        files.load(tmp_path / "objects.npz")


def test_a_file_of_torch_save_is_refused_with_what_to_do(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "model.pt")
    with pytest.raises(UnknownFormatError, match=r"files of torch\.save hold pickles: read them with torch"):
        files.load(tmp_path / "model.pt")


@pytest.mark.parametrize("read", [files.load, files.verify])
def test_text_and_nothing_are_no_snapshots(tmp_path, read):
    (tmp_path / "text").write_text("once upon a time " * 300)
    (tmp_path / "nothing").write_text("")
    with pytest.raises(UnknownFormatError, match="is of no format that holdfast reads"):
        read(tmp_path / "text")
    with pytest.raises(DamagedError, match="is cut off: the file has 0 bytes"):
        read(tmp_path / "nothing")
