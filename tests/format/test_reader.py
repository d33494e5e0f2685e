"""Opening files: what comes back, how long memory lives, what is recognised, and what is read for a listing."""

from __future__ import annotations

import gc
import io
import mmap
import os
import pickle
import time
import weakref

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings

from format.drawn_trees import trees
from format.handmade import FACTS, array, branch, changed_facts, described, file_of, grow, small_tree, value
from holdfast.errors import DamagedError, UnknownFormatError
from holdfast.format import reader
from holdfast.format.prefix import facts_to_json
from holdfast.format.source import Source
from holdfast.format.sums import PAGE

METADATA = {"note": "é", "rows": [1, 2.5, None]}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "snapshot_00000007.safetensors"
    path.write_bytes(file_of(small_tree(), metadata=METADATA))
    return path


def parse(file: bytes) -> reader.SnapshotFile:
    return reader.parse(memoryview(file), "here")


def test_a_file_gives_back_what_was_written(path):
    with reader.open_file(path) as file:
        file.verify()
        assert (file.format, file.where, file.size_bytes) == ("snapshot", str(path), path.stat().st_size)
        assert file.facts is not None
        assert facts_to_json(file.facts) == facts_to_json(FACTS)
        assert file.metadata() == METADATA
        assert described(file.tree()) == described(small_tree())


@settings(max_examples=60, deadline=None)
@given(trees())
def test_any_tree_comes_back_with_its_bytes(tree):
    with parse(file_of(tree)) as file:
        file.verify()
        assert described(file.tree()) == described(tree)


def test_the_tree_is_read_once(path):
    with reader.open_file(path) as file:
        assert file.tree() is file.tree()


def test_what_a_caller_does_to_the_metadata_stays_with_him(path):
    with reader.open_file(path) as file:
        file.metadata()["rows"].clear()
        assert file.metadata() == METADATA


def test_leaves_are_read_only_rows_of_bytes_of_the_map(path):
    with reader.open_file(path) as file:
        for leaf in file.tree().leaves():
            assert (leaf.source.dtype, leaf.source.shape) == (np.uint8, (leaf.nbytes,))
            assert not leaf.source.flags.owndata
            with pytest.raises(ValueError, match="WRITEABLE"):
                leaf.source.flags.writeable = True


def test_the_file_is_mapped_and_not_copied(path):
    with reader.open_file(path) as file:
        base = file.tree().leaves()[0].source
        while isinstance(base, np.ndarray):
            base = base.base
        assert isinstance(base, memoryview)
        assert isinstance(base.obj, mmap.mmap)


def test_arrays_outlive_the_with_block_and_the_removal_of_the_file(path):
    with reader.open_file(path) as file:
        leaf = file.tree().leaves()[0]
    path.unlink()
    assert leaf.source.tobytes() == np.arange(12, dtype=np.float32).tobytes()


def test_leaving_the_with_block_drops_the_memory():
    memory = np.frombuffer(file_of(small_tree()), np.uint8)
    alive = weakref.ref(memory)
    with reader.SnapshotFile(Source(memory), "here") as file:
        file.verify()
        del memory
    gc.collect()
    assert alive() is None
    with pytest.raises(ValueError, match="here: was read after its `with` block was left; open it again"):
        file.tree()
    with pytest.raises(ValueError, match="open it again"):
        file.metadata()


def test_verify_looks_only_at_the_leaves_that_it_is_given():
    buffer = bytearray(file_of(small_tree()))
    buffer[-1] ^= 1  # in the packed text, the last leaf
    with reader.parse(memoryview(buffer), "here") as file:
        *others, text = file.tree().leaves()
        assert text.path == "text"
        file.verify(others)
        start = len(buffer) - text.nbytes
        with pytest.raises(
            DamagedError, match=rf"^here: the leaf 'text' \(bytes {start}-{len(buffer) - 1}\) does not match"
        ):
            file.verify([text])


def test_the_header_is_verified_though_the_leaves_are_not(path):
    file = bytearray(path.read_bytes())
    file[2000] ^= 1  # behind the facts
    with parse(bytes(file)) as opened:
        for ask in (opened.tree, opened.metadata):
            with pytest.raises(DamagedError, match=r"here: the header \(bytes 0-4095\) does not match its checksum"):
                ask()


# --- what is recognised ----------------------------------------------------------------------------------------------


def npz_bytes() -> bytes:
    file = io.BytesIO()
    np.savez(file, w=np.arange(3.0))
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (file_of(small_tree()), "snapshot"),
        (safetensors.numpy.save({"w": np.arange(3.0)}), "safetensors"),
        (safetensors.numpy.save({"holdfast.w": np.arange(3.0)}), "safetensors"),
        (b"\2\0\0\0\0\0\0\0{}", "safetensors"),
        (npz_bytes(), "npz"),
    ],
)
def test_a_format_is_recognised_by_content_whatever_the_name(tmp_path, content, wanted):
    path = tmp_path / "name.bin"
    path.write_bytes(content)
    with reader.open_file(path) as file:
        assert file.format == wanted
        assert (file.facts is None) == (wanted != "snapshot")
        file.verify()  # nothing to compare in the others, and no error


@pytest.mark.parametrize("content", [b"", b"\0" * 10_000, b"short", file_of(small_tree())[:8]])
def test_an_empty_file_and_one_of_zeroes_are_damaged(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(DamagedError, match=f"{path}: the header"):
        reader.open_file(path)


@pytest.mark.parametrize(
    "content", [b"once upon a time there was a file", b"\x89HDF\r\n\x1a\n" + b"\0" * 100, pickle.dumps({"w": [1] * 30})]
)
def test_other_content_is_of_an_unknown_format_and_the_message_says_which_are_read(content):
    with pytest.raises(UnknownFormatError, match=r"here: .*snapshot files, safetensors files, npz archives"):
        parse(content)


def test_a_directory_and_a_missing_file_are_errors_of_the_system(tmp_path):
    with pytest.raises(IsADirectoryError):
        reader.open_file(tmp_path)
    with pytest.raises(FileNotFoundError):
        reader.info(tmp_path / "none")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("read", [reader.open_file, reader.info])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path, read):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnknownFormatError, match="no regular file"):
        read(tmp_path / "pipe")


# --- listing ---------------------------------------------------------------------------------------------------------


def test_info_says_what_the_header_says_of_a_file(path):
    found = reader.info(path)
    assert (found.location, found.name) == (str(path.parent), path.name)
    assert (found.step, found.epoch, found.reason, found.sequence) == (7, 0.5, "trigger", 3)
    assert (found.run_id, found.role, found.template, found.library) == (
        FACTS.run_id, "store", FACTS.template, "1.0.0",
    )  # fmt: skip
    assert found.metrics["loss"] == 0.25
    assert found.created_at == FACTS.created_at
    assert found.size_bytes == path.stat().st_size
    assert os.fspath(found) == str(path)
    assert found.metadata == METADATA
    assert pickle.loads(pickle.dumps(found)).metadata == METADATA


def test_info_takes_the_name_from_the_file_and_not_from_the_header(path):
    assert reader.info(path.rename(path.with_name("copy"))).name == "copy"


def test_info_reads_the_first_4_kib_only(path):
    file = bytearray(path.read_bytes())
    file[PAGE:] = bytes(len(file) - PAGE)
    path.write_bytes(file)
    assert reader.info(path).step == 7


def test_info_refuses_other_formats(tmp_path):
    (tmp_path / "file").write_bytes(safetensors.numpy.save({"w": np.arange(3.0)}))
    with pytest.raises(UnknownFormatError, match="no snapshot file"):
        reader.info(tmp_path / "file")


def test_the_metadata_of_a_replaced_file_is_not_given_out_for_that_of_the_old_one(path):
    found = reader.info(path)
    path.write_bytes(file_of(small_tree(), changed_facts(sequence=4), metadata={"other": 1}))
    with pytest.raises(FileNotFoundError, match="this one was replaced"):
        _ = found.metadata


def test_the_metadata_of_a_damaged_file_is_not_given_out(path):
    found = reader.info(path)
    file = bytearray(path.read_bytes())
    file[file.index(b"rows")] ^= 1
    path.write_bytes(file)
    with pytest.raises(DamagedError, match="the header"):
        _ = found.metadata


# --- speed -----------------------------------------------------------------------------------------------------------


def large_file() -> bytes:
    layers = {
        f"layer{i}": branch("dict", {"W": array(np.full((4, 4), i, np.float32), "torch"), "n": value("int", i)})
        for i in range(500)
    }
    return file_of(grow(branch("dict", layers)))


def test_1000_files_of_500_leaves_are_listed_in_a_moment(tmp_path):
    content = large_file()
    paths = [str(tmp_path / str(i)) for i in range(1000)]
    for path in paths:
        with open(path, "wb") as file:
            file.write(content)

    def once() -> float:
        begun = time.process_time()
        for path in paths:
            reader.info(path)
        return time.process_time() - begun

    best = min(once() for _ in range(5))
    print(f"1000 x info: {best:.3f} s")
    assert best < 0.15


def test_a_file_of_500_leaves_is_parsed_in_a_moment():
    content = large_file()

    def once() -> float:
        begun = time.process_time()
        with parse(content) as file:
            assert len(file.tree().leaves()) == 500
        return time.process_time() - begun

    best = min(once() for _ in range(10))
    print(f"500 leaves: {best:.4f} s")
    assert best < 0.03
