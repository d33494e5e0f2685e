"""npz archives: what numpy and Chainer write is read without pickle, and nothing else costs memory or runs."""

from __future__ import annotations

import io
import struct
import tracemalloc
import warnings
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as np_st

from format.archives import described, nodes_of, npy, npz, tree_of, zip_of
from format.drawn_trees import dtypes_of_numpy
from format.handmade import bytes_of
from holdfast.errors import DamagedError, UnknownFormatError
from holdfast.format import reader
from holdfast.state import dtypes
from holdfast.state.tree import Array

ARRAYS = {
    "updater/model:main/l1/W": np.arange(6, dtype=np.float32).reshape(2, 3),
    "n": np.array(3, np.int64),
    "empty": np.zeros((0, 4), np.float16),
    "text": np.array(["a", "longer"]),
    "swapped": np.arange(3, dtype=">i4"),
    "record": np.zeros(2, [("a", "<f4"), ("b", ">i2", (2,))]),
    "times": np.array(["2030-01-01"], "M8[D]"),
    "fortran": np.asfortranarray(np.arange(24.0).reshape(2, 3, 4)),
    "bytes": np.array([b"ab", b""]),
    "no bytes": np.ndarray((3,), "S0"),
}


@pytest.mark.parametrize("compressed", [False, True])
def test_arrays_stand_flat_under_their_whole_names_with_their_bytes_in_c_order(compressed):
    found = nodes_of(npz(ARRAYS, compressed))
    assert list(found) == list(ARRAYS)
    for name, one in ARRAYS.items():
        leaf = found[name].leaf
        assert (leaf.path, leaf.shape, leaf.nbytes) == (name, one.shape, one.nbytes)
        assert dtypes.to_numpy(leaf.dtype) == one.dtype
        assert bytes_of(leaf) == one.tobytes()
        assert (leaf.source.dtype, leaf.source.ndim, leaf.source.flags.writeable) == (np.uint8, 1, False)
        assert leaf.source.__array_interface__["data"][0] % 8 == 0


@settings(max_examples=100, deadline=None)
@given(np_st.arrays(dtypes_of_numpy, np_st.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)), st.booleans())
def test_any_array_comes_back_with_its_bytes(array, fortran):
    array = np.asfortranarray(array) if fortran else array
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numpy: names of fields that need version 3
        file = npz({"w": array})
    leaf = nodes_of(file)["w"].leaf
    assert (leaf.shape, dtypes.to_numpy(leaf.dtype)) == (array.shape, array.dtype)
    assert bytes_of(leaf) == array.tobytes()


def test_an_archive_of_nothing_is_an_empty_branch():
    assert nodes_of(npz({})) == {}


def test_an_archive_on_disk_is_read(tmp_path):
    (tmp_path / "a.npz").write_bytes(npz(ARRAYS))
    with reader.open_file(tmp_path / "a.npz") as file:
        assert len(file.tree().leaves()) == len(ARRAYS)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_every_version_of_npy_is_read(version):
    file = zip_of({"w.npy": npy(described([("é", "<f4")]), bytes(8), version)})
    assert nodes_of(file)["w"].leaf.dtype.startswith('{"names":["\\u00e9"]')


def test_a_shape_that_python_2_wrote_is_read():
    file = zip_of({"w.npy": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 1L), }", bytes(8))})
    assert nodes_of(file)["w"].leaf.shape == (2, 1)


def test_a_member_that_deflate_makes_as_small_as_it_can_is_read():
    zeros = np.zeros(1_000_000)
    file = npz({"w": zeros}, compressed=True)
    assert zeros.nbytes / len(file) > 900
    assert nodes_of(file)["w"].leaf.nbytes == zeros.nbytes


# --- what is no array ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["archive/data.pkl", "w.txt", "folder/", "w.npy.bak"])
def test_a_zip_that_holds_something_else_is_of_an_unknown_format(name):
    with pytest.raises(
        UnknownFormatError, match=f"here: is a zip archive with the member '{name}', which is no .npy file"
    ):
        tree_of(zip_of({name: b"x"}))


def test_a_file_of_torch_save_is_refused_with_a_hint(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"w": torch.zeros(2)}, tmp_path / "w.pt")
    with (
        pytest.raises(UnknownFormatError, match=r"torch\.save hold pickles"),
        reader.open_file(tmp_path / "w.pt") as file,
    ):
        file.tree()


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_that_is_packed_otherwise_is_refused(method):
    with pytest.raises(
        UnknownFormatError, match=r"the member 'w\.npy' is encrypted, or packed otherwise than by deflate"
    ):
        tree_of(zip_of({"w.npy": npy(described("<f4"), bytes(8))}, method))


@pytest.mark.parametrize("descr", ["<f3", "<q8", [(("title", "a"), "<f4")], "<M8[xx]"])
def test_a_dtype_that_holdfast_lacks_is_refused_with_the_name_of_the_member(descr):
    with pytest.raises((UnknownFormatError, DamagedError), match=r"here: the member 'w\.npy'"):
        tree_of(zip_of({"w.npy": npy(described(descr), bytes(8))}))


# --- what is not whole -----------------------------------------------------------------------------------------------

SMALL = npz({"w": np.arange(3.0), "b": np.arange(2)})
PACKED = npz({"w": np.arange(300.0)}, compressed=True)


@pytest.mark.parametrize("file", [SMALL, PACKED], ids=["stored", "deflated"])
def test_every_truncation_is_refused(file):
    for size in range(4, len(file)):
        with pytest.raises(DamagedError, match=r"^here: "):
            tree_of(file[:size])


@pytest.mark.parametrize("file", [SMALL, PACKED], ids=["stored", "deflated"])
def test_a_flipped_bit_never_changes_an_array(file):
    wanted = {key: bytes_of(node.leaf) for key, node in nodes_of(file).items()}
    for at in range(4, len(file)):
        for bit in (0, 3, 7):
            changed = bytearray(file)
            changed[at] ^= 1 << bit
            try:
                found = nodes_of(bytes(changed))
            except (DamagedError, UnknownFormatError):
                continue
            assert {key: bytes_of(node.leaf) for key, node in found.items()} == wanted  # a date, a comment, a mode


@pytest.mark.parametrize("file", [SMALL, PACKED, npz({})], ids=["stored", "deflated", "empty"])
def test_bytes_behind_the_end_are_refused(file):
    with pytest.raises(DamagedError, match="no whole zip archive"):
        tree_of(file + b"x")


def test_an_archive_with_a_comment_is_read():
    file = io.BytesIO(SMALL)
    with zipfile.ZipFile(file, "a") as archive:
        archive.comment = b"a comment"
    assert len(nodes_of(file.getvalue())) == 2


def test_a_member_that_does_not_match_its_checksum_is_named():
    at = SMALL.index(np.arange(3.0).tobytes())
    with pytest.raises(
        DamagedError, match=r"here: the member 'w\.npy' does not match its checksum; get the archive again"
    ):
        tree_of(SMALL[:at] + b"\1" + SMALL[at + 1 :])


def with_sizes(file: bytes, packed: int | None = None, size: int | None = None) -> bytes:
    """The archive of one member whose directory says other sizes."""
    changed = bytearray(file)
    at = file.index(b"PK\x01\x02")
    if packed is not None:
        struct.pack_into("<I", changed, at + 20, packed)
    if size is not None:
        struct.pack_into("<I", changed, at + 24, size)
    return bytes(changed)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize(
    "sizes", [{"size": 1 << 31}, {"packed": 1 << 31}, {"size": 10}, {"packed": 10}, {"size": 0}, {"packed": 0}]
)
def test_sizes_that_the_archive_does_not_back_cost_no_memory(method, sizes):
    content = npy(described("<f4"), bytes(8)) + b"\0" * 1000
    file = with_sizes(zip_of({"w.npy": content}, method), **sizes)
    tracemalloc.start()
    try:
        with pytest.raises(DamagedError, match=r"^here: "):
            tree_of(file)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_size_that_no_deflate_stream_of_that_length_has_is_refused_before_it_is_unpacked():
    file = with_sizes(zip_of({"w.npy": bytes(1000)}, zipfile.ZIP_DEFLATED), size=1 << 31)
    with pytest.raises(DamagedError, match=r"'w\.npy' claims 2147483648 bytes out of \d+ deflated ones"):
        tree_of(file)


def test_a_stream_that_goes_on_behind_its_size_costs_no_memory():
    content = npy(described("<f4", (2,)), bytes(8))
    bomb = zip_of({"w.npy": content + bytes(50_000_000)}, zipfile.ZIP_DEFLATED)
    changed = bytearray(with_sizes(bomb, size=len(content)))
    struct.pack_into("<I", changed, bomb.index(b"PK\x01\x02") + 16, zlib.crc32(content))
    tracemalloc.start()
    try:
        with pytest.raises(DamagedError, match="does not end where the archive says"):
            tree_of(bytes(changed))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_members_that_share_their_bytes_are_refused():
    content = npy(described("<f4", (1000,)), bytes(4000))
    one = zip_of({"w.npy": content})
    at = one.index(b"PK\x01\x02")
    directory = one[at : one.index(b"PK\x05\x06")]
    twice = one[:at] + directory + directory.replace(b"w.npy", b"v.npy")
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 2, 2, 2 * len(directory), at, 0)
    with pytest.raises(DamagedError, match="larger together than the archive"):
        tree_of(twice + end)


def test_two_members_of_one_name_are_refused():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("v.npy", "w.npy"):
            archive.writestr(name, npy(described("<f4"), bytes(8)))
    with pytest.raises(DamagedError, match="has two members 'w'"):
        tree_of(file.getvalue().replace(b"v.npy", b"w.npy"))


def test_a_member_of_another_name_than_the_directory_says_is_refused():
    file = zip_of({"w.npy": npy(described("<f4"), bytes(8))})
    with pytest.raises(DamagedError, match=r"'w\.npy' is not where the archive's directory says"):
        tree_of(file.replace(b"w.npy", b"v.npy", 1))


BAD_HEADERS = {
    "nothing": b"",
    "no magic": b"x" * 100,
    "an unknown version": npy(described("<f4"), bytes(8), 2).replace(b"NUMPY\2", b"NUMPY\4"),
    "a header behind the end": b"\x93NUMPY\1\0\xff\xff{}",
    "a header of 4 GB": b"\x93NUMPY\2\0\xff\xff\xff\xff{}",
    "no length": b"\x93NUMPY\1\0\x01",
    "a header that is code": npy("__import__('os').getcwd()"),
    "a header that is no dict": npy("[1]"),
    "a header cut off": npy("{'descr': '<f4',"),
    "a header with other keys": npy("{'descr': '<f4', 'shape': (2,)}", bytes(8)),
    "a header with more keys": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'x': 1}", bytes(8)),
    "a header of brackets": npy("(" * 9000),
    "a header of signs": npy("-" * 9000 + "1"),
    "a header too long": npy(described("<f4") + " " * 10_000, bytes(8)),
    "a header of bad utf-8": npy(b"{'descr': '\xff'}", b"", 3),
    "a shape that is no tuple": npy(described("<f4", [2]), bytes(8)),
    "a shape of floats": npy(described("<f4", (2.0,)), bytes(8)),
    "a shape of bools": npy(described("<f4", (True, 2)), bytes(8)),
    "a negative axis": npy(described("<f4", (-2,)), bytes(8)),
    "a huge shape": npy(described("<f4", (1 << 40,)), bytes(8)),
    "a shape that overflows": npy(described("<f4", (1 << 62, 1 << 62)), bytes(8)),
    "65 axes": npy(described("<f4", (1,) * 64 + (2,)), bytes(8)),
    "an order that is no bool": npy(described("<f4", (2,), 1), bytes(8)),
    "a dtype that is none": npy(described(5), bytes(8)),
    "a dtype of fields without end": npy(described([("a", [("b", [("c", 1)])])]), bytes(8)),
    "a field without a dtype": npy(described([("a",)]), bytes(8)),
    "two fields of one name": npy(described([("a", "<f4"), ("a", "<f4")]), bytes(16)),
    "a sub-array": npy(described(("<f4", (2,))), bytes(16)),
    "a huge sub-array": npy(described(("<f4", (1 << 40, 1 << 40))), bytes(8)),
    "too few bytes": npy(described("<f4"), bytes(7)),
    "too many bytes": npy(described("<f4"), bytes(9)),
}


@pytest.mark.parametrize("content", BAD_HEADERS.values(), ids=BAD_HEADERS)
def test_a_member_that_is_no_npy_file_is_damage_and_named(content):
    with pytest.raises(DamagedError, match=r"^here: the member 'w\.npy' is no \.npy file: "):
        tree_of(zip_of({"w.npy": content}))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whatever_stands_in_a_header_the_errors_are_holdfasts_own(data):
    text = bytearray(
        described(data.draw(st.sampled_from(["<f4", [("a", "<i2"), ("b", ("|u1", (2,)))], "|O"]))).encode()
    )
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    file = zip_of({"w.npy": npy(bytes(text), bytes(8), data.draw(st.sampled_from([1, 2, 3])))})
    try:
        [node] = nodes_of(file).values()
    except (DamagedError, UnknownFormatError):
        return
    assert isinstance(node, Array)
    assert node.leaf.nbytes == 8
