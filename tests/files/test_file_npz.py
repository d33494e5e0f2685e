"""npz archives of numpy.savez and numpy.savez_compressed, through holdfast.files."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest

from files.test_file_verify import kernel_can_tell
from holdfast import files
from holdfast.errors import DamagedError, MismatchError

ARRAYS = {
    "updater/model:main/l1/W": np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4),
    "updater/model:main/l1/b": np.zeros(3, np.float32),
    "updater/optimizer:main/t": np.array(17),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big-endian": np.arange(3, dtype=">i4"),
    "complex": np.array([1 + 2j]),
    "text": np.array(["a", "bc"]),
    "bytes": np.array([b"a", b"bc"]),
    "time": np.array(["2030-01-01"], "datetime64[s]"),
    "record": np.array([(1, 2.5)], dtype=[("a", "<i4"), ("b", "<f8")]),
    "bool": np.array([True]),
    "empty": np.zeros((2, 0)),
    "ä": np.arange(2),
}


@pytest.fixture(params=[np.savez, np.savez_compressed])
def path(tmp_path, request):
    path = tmp_path / "snapshot.npz"
    request.param(path, **ARRAYS)
    return path


def differing(found, wanted):
    return [
        name
        for name, one in wanted.items()
        if (found[name].dtype, found[name].shape, found[name].tobytes()) != (one.dtype, one.shape, one.tobytes())
    ]


def test_every_array_comes_back_under_its_whole_name(path):
    found = files.load(path)
    assert found.keys() == ARRAYS.keys()
    assert differing(found, ARRAYS) == []
    assert not any(one.flags.writeable for one in found.values())


def test_arrays_are_restored_into_flat_names(path):
    target = {name: np.zeros_like(one) for name, one in ARRAYS.items()}
    files.restore(path, target)
    assert differing(target, ARRAYS) == []


def test_names_with_slashes_are_restored_into_parts_within_parts(path):
    weight, bias = np.zeros((3, 4), np.float32), np.ones(3, np.float32)
    target = {"model:main": {"l1": {"W": weight, "b": bias}}, "optimizer:main": {"t": 0}}
    files.restore(path, target, subtree="updater")
    assert np.array_equal(weight, ARRAYS["updater/model:main/l1/W"])
    assert bias.tolist() == [0, 0, 0]
    assert target["optimizer:main"] == {"t": 17}
    assert files.load(path, subtree="updater/model:main/l1/W").shape == (3, 4)


def test_a_part_that_does_not_fit_changes_nothing(path):
    weight, bias = np.full((4, 3), 7.0, np.float32), np.ones(3, np.float32)
    with pytest.raises(MismatchError, match=rf"{path}: the snapshot does not fit"):
        files.restore(path, {"W": weight, "b": bias}, subtree="updater/model:main/l1")
    assert (weight == 7).all()
    assert (bias == 1).all()


def test_damage_is_found_by_the_sums_of_the_archive_itself(path):
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo("updater/model:main/l1/W.npy")
    raw = bytearray(path.read_bytes())
    raw[member.header_offset + 100 + member.compress_size // 2] ^= 1
    path.write_bytes(raw)
    target = {name: np.full_like(one, 0) for name, one in ARRAYS.items()}
    for verify in (True, False):
        with pytest.raises(DamagedError, match=r"'updater/model:main/l1/W.npy'"):
            files.restore(path, target, verify=verify)
    assert not any(one.any() for name, one in target.items() if name not in ("text", "bytes", "time", "record"))


def test_an_archive_cut_off_anywhere_is_refused(path):
    raw = path.read_bytes()
    for size in (0, 3, 4, 100, len(raw) // 2, len(raw) - 23, len(raw) - 1):
        path.write_bytes(raw[:size])
        with pytest.raises(DamagedError):
            files.load(path)


LOST = """
import os, sys
from holdfast import files
from holdfast.errors import DamagedError

with files.opened(sys.argv[1]) as file:
    os.truncate(sys.argv[1], 5000)  # from here on, touching the rest of the map is signal 7, as where a disk fails
    try:
        file.tree()
    except DamagedError as error:
        print(error)
"""


@pytest.mark.skipif(not kernel_can_tell(), reason="only Linux from 5.14 on tells that a page cannot be read")
def test_what_the_disk_does_not_give_is_damage_and_not_the_end_of_the_process(tmp_path, program):
    np.savez(tmp_path / "large.npz", w=np.ones(100_000))
    said = program(LOST, tmp_path / "large.npz").end()
    assert said.startswith(f"{tmp_path / 'large.npz'}: cannot be read from the disk")


def test_none_as_chainer_writes_it_is_none(tmp_path):
    np.savez(tmp_path / "old.npz", a=np.array(None), b=np.ones(1))
    assert files.load(tmp_path / "old.npz")["a"] is None


def test_what_load_returned_of_an_archive_can_be_saved_as_a_snapshot(path, tmp_path):
    files.save(tmp_path / "new.safetensors", files.load(path))
    files.verify(tmp_path / "new.safetensors")
    assert differing(files.load(tmp_path / "new.safetensors"), ARRAYS) == []
