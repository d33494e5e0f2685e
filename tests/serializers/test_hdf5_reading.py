"""What load_hdf5 does not read: files that are not whole, and all that Chainer does not write into one."""

from __future__ import annotations

import numpy as np
import pytest

import holdfast
from chainer_links import Link
from holdfast.serializers import load_npz
from holdfast.serializers.datasets import SIGNATURE
from holdfast.serializers.hdf5 import load_hdf5, save_hdf5

h5py = pytest.importorskip("h5py")


def test_a_file_that_is_cut_off_anywhere_is_refused_and_nothing_is_changed(path):
    save_hdf5(path, {"W": np.ones(500), "b": np.ones(3)})
    whole = path.read_bytes()
    target = {"W": np.zeros(500), "b": np.zeros(3)}
    for size in (*range(0, len(whole), 97), len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises((holdfast.DamagedError, holdfast.UnknownFormatError), match=r"state: "):
            load_hdf5(path, target)
    assert not target["W"].any()
    assert not target["b"].any()


def test_an_array_that_cannot_be_unpacked_is_named(path):
    save_hdf5(path, {"deep": {"W": np.random.default_rng(0).random(500)}})
    raw = bytearray(path.read_bytes())
    with h5py.File(path, "r") as file:
        chunk = file["deep/W"].id.get_chunk_info(0)
    raw[chunk.byte_offset + chunk.size // 2] ^= 0xFF
    path.write_bytes(raw)
    with pytest.raises(holdfast.DamagedError, match=r"state: 'deep/W' cannot be read"):
        load_hdf5(path, {"deep": {"W": np.zeros(500)}})


@pytest.mark.parametrize("content", [b"", b"PK\3\4" + bytes(50), b"no file of this kind"])
def test_a_file_of_another_format_is_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(holdfast.UnknownFormatError, match=r"state: is no HDF5 file: .* read by load_npz"):
        load_hdf5(path, Link())


def test_a_file_that_is_not_there_and_a_directory_are_refused(path):
    with pytest.raises(FileNotFoundError):
        load_hdf5(path, Link())
    path.mkdir()
    with pytest.raises(holdfast.UnknownFormatError, match="is no HDF5 file"):
        load_hdf5(path, Link())


def make_soft_link(file):
    file["x"] = h5py.SoftLink("/W")


def make_external_link(file):
    file["x"] = h5py.ExternalLink("other.h5", "/W")


def make_named_type(file):
    file["x"] = np.dtype("f4")


def make_lists(file):
    file.create_dataset("x", (2,), dtype=h5py.vlen_dtype(np.int32))


def make_references(file):
    file.create_dataset("x", data=file["W"].ref, dtype=h5py.ref_dtype)


def make_texts_of_varying_size(file):
    file["x"] = ["a", "bc"]


def make_external_data(file):
    file.create_dataset("x", (1,), np.uint8, external=[("/etc/hostname", 0, 1)])


def make_virtual_data(file):
    layout = h5py.VirtualLayout((3,), "f8")
    layout[:] = h5py.VirtualSource("other.h5", "W", (3,))
    file.create_virtual_dataset("x", layout)


def make_a_group_in_itself(file):
    file.create_group("x")["x"] = file


@pytest.mark.parametrize(
    "make",
    [
        make_soft_link, make_external_link, make_named_type, make_lists, make_references, make_texts_of_varying_size,
        make_external_data, make_virtual_data, make_a_group_in_itself,
    ],
)  # fmt: skip
def test_anything_else_in_a_file_is_refused_by_name_and_nothing_is_changed(path, make):
    with h5py.File(path, "w") as file:
        file["W"] = np.ones(3)
        make(file)
    target = {"W": np.zeros(3)}
    with pytest.raises(holdfast.UnknownFormatError, match=r"state: .*'x"):
        load_hdf5(path, target)
    assert not target["W"].any()


def test_texts_of_varying_size_are_not_even_read(path, monkeypatch):
    with h5py.File(path, "w") as file:
        make_texts_of_varying_size(file)
    monkeypatch.setattr(h5py.Dataset, "asstr", None)
    with pytest.raises(holdfast.UnknownFormatError, match="'x' holds elements of varying size"):
        load_hdf5(path, {"x": ["", ""]})


def test_a_name_that_is_no_text_is_refused(path):
    with h5py.File(path, "w") as file:
        file[b"\xff"] = 1
    with pytest.raises(holdfast.UnknownFormatError, match=r"holds the name b'\\xff', which is no text"):
        load_hdf5(path, {})


def test_a_dtype_that_numpy_lacks_is_refused(path):
    with h5py.File(path, "w") as file:
        kind = h5py.h5t.IEEE_F32LE.copy()
        kind.set_fields(31, 15, 16, 0, 15)
        h5py.h5d.create(file.id, b"x", kind, h5py.h5s.create_simple((2,)))
    with pytest.raises(holdfast.UnknownFormatError, match="'x' cannot be read: "):
        load_hdf5(path, {"x": np.zeros(2)})


def test_a_part_is_read_whatever_else_is_in_the_file(path):
    with h5py.File(path, "w") as file:
        file["good/W"] = np.ones(3)
        make_lists(file)
    target = {"W": np.zeros(3)}
    load_hdf5(path, target, path="good")
    assert target["W"].all()


def test_elements_that_the_file_does_not_hold_are_not_made_room_for(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("W", (1 << 40,), np.float64, chunks=(1024,))
    with pytest.raises(holdfast.DamagedError, match="'W' claims 8796093022208 bytes out of 0"):
        load_hdf5(path, {"W": np.zeros(3)})


def test_a_text_as_other_programs_write_it_is_read(path):
    with h5py.File(path, "w") as file:
        file["text"] = "grüße"
    target = {"text": ""}
    load_hdf5(path, target)
    assert target == {"text": "grüße"}


@pytest.mark.parametrize("call", [holdfast.restore, load_npz])
def test_restore_and_load_npz_say_what_reads_such_a_file(path, call):
    save_hdf5(path, Link())
    assert path.read_bytes().startswith(SIGNATURE)
    with pytest.raises(holdfast.UnknownFormatError, match=r"it is an HDF5 file, which .*\.load_hdf5 reads"):
        call(path, Link())
