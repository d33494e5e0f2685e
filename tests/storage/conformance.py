"""What every storage must do. A class of tests that derives from StorageConformance and has a fixture `storage`, which
makes a new empty one, is the proof that an implementation is finished."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.errors import CommitError
from holdfast.storage.base import Entry, Storage

OLD = b"the older bytes"
NEW = b"newer bytes, and more of them"

BAD_NAMES = ("", "/", "/etc/passwd", "..", "../out", "a/../../out", "a/..", ".", "./a", "a//b", "a/", "a\0b", "\0")
KEPT_NAMES = (".holdfast-lock", "model/.holdfast-lock", ".0123456789abcdef.holdfast-tmp", "model/.x.holdfast-tmp")


def put(storage: Storage, name: str, data: bytes) -> None:
    """Write and commit a whole file, in two pieces where it has two bytes."""
    upload = storage.create(name, len(data))
    try:
        middle = len(data) // 2
        upload.write(middle, data[middle:])
        upload.write(0, data[:middle])
        upload.commit()
    except BaseException:
        upload.abort()
        raise


def get(storage: Storage, name: str) -> bytes:
    """All bytes under a name."""
    return storage.read(name, 0, storage.stat(name).size_bytes)


class StorageConformance:
    """The suite; the fixture `storage` comes from the class that derives from it."""

    def test_a_new_one_is_empty(self, storage):
        assert list(storage.list()) == []
        assert list(storage.list(depth=2)) == []
        assert isinstance(storage.location, str)
        assert storage.location

    def test_what_was_committed_is_there(self, storage):
        put(storage, "model", NEW)
        assert get(storage, "model") == NEW
        assert type(storage.read("model", 0, 4)) is bytes
        assert storage.stat("model") == Entry("model", len(NEW))
        assert list(storage.list()) == [Entry("model", len(NEW))]

    def test_nothing_is_visible_before_the_commit(self, storage):
        upload = storage.create("model", len(NEW))
        upload.write(0, NEW)
        with pytest.raises(FileNotFoundError):
            storage.stat("model")
        with pytest.raises(FileNotFoundError):
            storage.read("model", 0, 1)
        assert list(storage.list()) == []
        upload.commit()
        assert get(storage, "model") == NEW

    def test_an_older_file_stays_whole_until_the_commit_and_is_replaced_by_it(self, storage):
        put(storage, "model", OLD)
        upload = storage.create("model", len(NEW))
        upload.write(0, NEW)
        assert get(storage, "model") == OLD
        assert list(storage.list()) == [Entry("model", len(OLD))]
        upload.commit()
        assert get(storage, "model") == NEW
        assert list(storage.list()) == [Entry("model", len(NEW))]

    def test_an_aborted_upload_leaves_nothing_and_the_older_file_alone(self, storage):
        put(storage, "model", OLD)
        for name in ("model", "other"):
            upload = storage.create(name, len(NEW))
            upload.write(0, NEW)
            upload.abort()
        assert get(storage, "model") == OLD
        assert list(storage.list()) == [Entry("model", len(OLD))]

    def test_after_either_end_only_abort_may_be_called_and_does_nothing(self, storage):
        for name, end in (("committed", "commit"), ("aborted", "abort")):
            upload = storage.create(name, 0)
            getattr(upload, end)()
            with pytest.raises(CommitError):
                upload.commit()
            with pytest.raises(CommitError):
                upload.write(0, b"")
            upload.abort()
        assert list(storage.list()) == [Entry("committed", 0)]

    def test_a_file_of_which_bytes_are_missing_is_not_committed(self, storage):
        put(storage, "model", OLD)
        for pieces in ([], [(0, b"abc")], [(7, b"abc")], [(0, b"abc"), (7, b"abc")]):
            upload = storage.create("model", 10)
            for offset, piece in pieces:
                upload.write(offset, piece)
            with pytest.raises(CommitError, match="instead of 10"):
                upload.commit()
        assert get(storage, "model") == OLD
        assert list(storage.list()) == [Entry("model", len(OLD))]

    @pytest.mark.parametrize(("offset", "size_bytes"), [(0, 11), (10, 1), (-1, 1), (5, 6), (11, 0)])
    def test_bytes_outside_the_size_are_refused(self, storage, offset, size_bytes):
        upload = storage.create("model", 10)
        with pytest.raises(ValueError, match="outside the 10 bytes"):
            upload.write(offset, bytes(size_bytes))
        upload.abort()

    def test_a_negative_size_is_refused(self, storage):
        with pytest.raises(ValueError, match="-1 bytes"):
            storage.create("model", -1)

    @pytest.mark.parametrize("size_bytes", [0, 1, 4095, 4096, 4097, 1 << 20])
    def test_files_of_every_size_come_back(self, storage, size_bytes):
        data = bytes(i * 7 % 251 for i in range(size_bytes))
        put(storage, "model", data)
        assert get(storage, "model") == data
        assert storage.stat("model").size_bytes == size_bytes

    def test_a_read_ends_with_the_file_and_never_allocates_what_is_not_there(self, storage):
        put(storage, "model", b"0123456789")
        assert storage.read("model", 0, 4) == b"0123"
        assert storage.read("model", 4, 4) == b"4567"
        assert storage.read("model", 8, 4) == b"89"
        assert storage.read("model", 0, 1 << 60) == b"0123456789"
        assert storage.read("model", 5, 0) == b""
        assert storage.read("model", 10, 4) == b""
        assert storage.read("model", 11, 4) == b""

    def test_pieces_may_come_in_any_order(self, storage):
        @given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=6), st.randoms(use_true_random=False))
        @settings(max_examples=25, deadline=None)
        def check(data, cuts, random):
            ends = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
            pieces = [(begin, data[begin:end]) for begin, end in pairwise(ends)]
            random.shuffle(pieces)
            upload = storage.create("model", len(data))
            for offset, piece in pieces:
                upload.write(offset, piece)
            upload.commit()
            assert get(storage, "model") == data

        check()

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_every_kind_of_buffer_is_taken_as_its_bytes(self, storage, kind):
        upload = storage.create("model", 6)
        upload.write(0, kind(b"abc"))
        upload.write(3, memoryview(bytearray(b"adbecf"))[1::2].tobytes())
        upload.commit()
        assert get(storage, "model") == b"abcdef"

    def test_a_buffer_of_wide_items_is_written_whole(self, storage):
        wide = memoryview(bytearray(range(48))).cast("d", [2, 3])
        upload = storage.create("model", 48)
        upload.write(0, wide)
        upload.commit()
        assert get(storage, "model") == bytes(range(48))

    def test_a_buffer_may_be_changed_once_it_was_taken(self, storage):
        buffer = bytearray(b"abc")
        upload = storage.create("model", 3)
        upload.write(0, buffer)
        buffer[:] = b"xyz"
        upload.commit()
        assert get(storage, "model") == b"abc"

    def test_one_upload_may_be_written_from_many_threads(self, storage):
        data = bytes(range(256)) * 256
        upload = storage.create("model", len(data))
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda at: upload.write(at, data[at : at + 1024]), range(0, len(data), 1024)))
        upload.commit()
        assert get(storage, "model") == data

    def test_a_thousand_writers_of_different_names_do_not_disturb_each_other(self, storage):
        names = [f"model_{i}" if i % 2 else f"it_{i % 7}/model_{i}" for i in range(1000)]
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda name: put(storage, name, name.encode() * 3), names))
        assert {entry.name for depth in (1, 2) for entry in storage.list(depth)} == set(names)
        assert all(get(storage, name) == name.encode() * 3 for name in names)

    def test_of_many_writers_of_one_name_one_wins_whole(self, storage):
        contents = [bytes([i]) * (1000 + i) for i in range(32)]
        start = threading.Barrier(8)

        def race(thread: int) -> None:
            start.wait()
            for data in contents[thread::8]:
                put(storage, "model", data)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(race, range(8)))
        assert get(storage, "model") in contents
        assert len(list(storage.list())) == 1

    def test_names_may_have_components_and_are_listed_by_their_number(self, storage):
        for name in ("one", "model/two", "model/deep/three", "other/two"):
            put(storage, name, name.encode())
        assert sorted(entry.name for entry in storage.list()) == ["one"]
        assert sorted(entry.name for entry in storage.list(depth=2)) == ["model/two", "other/two"]
        assert list(storage.list(depth=3)) == [Entry("model/deep/three", 16)]
        assert get(storage, "model/deep/three") == b"model/deep/three"

    @pytest.mark.parametrize(
        "name", ["with space", "ünïcode-模型", ".hidden", "-dash", "a.b.c", "new\nline", "x" * 200]
    )
    def test_unusual_names_are_names(self, storage, name):
        put(storage, name, NEW)
        assert get(storage, name) == NEW
        assert list(storage.list()) == [Entry(name, len(NEW))]
        storage.remove(name)
        assert list(storage.list()) == []

    @pytest.mark.parametrize("name", [*BAD_NAMES, *KEPT_NAMES])
    def test_a_name_that_leads_elsewhere_is_refused_by_every_method(self, storage, name):
        for method, arguments in (("create", (1,)), ("read", (0, 1)), ("stat", ()), ("remove", ())):
            with pytest.raises(ValueError, match="no name inside a storage"):
                getattr(storage, method)(name, *arguments)
        assert list(storage.list()) == []

    def test_a_missing_name_is_not_found(self, storage):
        put(storage, "model/two", NEW)
        for name in ("missing", "missing/two", "model/missing", "model", "model/two/three"):
            with pytest.raises(FileNotFoundError):
                storage.read(name, 0, 1)
            with pytest.raises(FileNotFoundError):
                storage.stat(name)

    def test_a_removed_name_is_gone_and_the_others_stay(self, storage):
        for name in ("model", "other", "model_2/two"):
            put(storage, name, NEW)
        storage.remove("model")
        storage.remove("model_2/two")
        with pytest.raises(FileNotFoundError):
            storage.stat("model")
        assert [entry.name for depth in (1, 2) for entry in storage.list(depth)] == ["other"]

    def test_removing_a_missing_name_is_no_error(self, storage):
        storage.remove("missing")
        storage.remove("missing/two")

    def test_a_removed_name_can_be_written_again(self, storage):
        put(storage, "model", OLD)
        storage.remove("model")
        put(storage, "model", NEW)
        assert get(storage, "model") == NEW

    def test_a_sweep_leaves_committed_files_and_uploads_under_way_alone(self, storage):
        put(storage, "model", OLD)
        uploads = [storage.create(name, len(NEW)) for name in ("model", "deep/model")]
        assert list(storage.sweep(depth=3)) == []
        for upload in uploads:
            upload.write(0, NEW)
        assert list(storage.sweep(depth=3)) == []
        assert get(storage, "model") == OLD
        for upload in uploads:
            upload.commit()
        assert get(storage, "model") == get(storage, "deep/model") == NEW
