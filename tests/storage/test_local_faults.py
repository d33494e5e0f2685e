"""What is left after an error at every call of a commit, and after a crash before every one."""

from __future__ import annotations

import errno
import os
import re
from collections import Counter
from functools import partial

import pytest

from faults.injection import ERRORS, Crash
from holdfast.errors import CommitError
from holdfast.storage import direct_io, temporaries
from holdfast.storage.base import TEMPORARY_SUFFIX
from holdfast.storage.local import LocalStorage
from storage.conformance import NEW, OLD, get, put
from storage.looking import calls_of_a_save, descriptors, files, save, told

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")

SPARE = b"what is written after the fault"


@pytest.fixture(autouse=True, params=["page cache", "direct"])
def way(request, monkeypatch):
    """Each test twice: as small files are written, and as large ones are."""
    if request.param == "direct":
        monkeypatch.setattr(direct_io, "FROM_BYTES", 1)
    return request.param


def test_after_an_error_at_any_call_the_name_is_whole_and_nothing_is_left(tmp_path, faults, way):
    practice = LocalStorage(tmp_path / "practice")
    put(practice, "model", OLD)
    calls = calls_of_a_save(faults, LocalStorage(tmp_path / "practice"))
    wanted = {"open", "lock_description", "pwrite", "fsync", "dup", "close", "rename"}
    wanted |= {"allocate", "set_direct", "truncate"} if way == "direct" else set()
    assert wanted <= {name for name, _ in calls}
    outcomes, quiet = Counter(), set()
    for number in ERRORS:
        for name, ordinal in calls:
            case = f"{errno.errorcode[number]} at {name} {ordinal}"
            directory = tmp_path / case
            put(LocalStorage(directory), "model", OLD)
            storage, before = LocalStorage(directory), descriptors()
            failure = None
            try:
                with faults.error_at(name, number, ordinal):
                    save(storage)
            except CommitError as error:
                failure = error
            outcome = "no error" if failure is None else "unknown" if "unknown" in str(failure) else "failed"
            outcomes[outcome] += 1
            if failure is None:
                quiet.add((number, name, ordinal))
            assert get(storage, "model") == (OLD if outcome == "failed" else NEW), case
            assert files(directory) == ["model"], case
            assert descriptors() == before, case
            assert temporaries._own == {}, case
            if failure is not None:
                assert failure.errno == number, case
                assert str(directory / "model") in str(failure), case
            save(storage, data=SPARE)
            assert get(storage, "model") == SPARE, case
    assert outcomes["failed"] > 60
    assert 4 * len(ERRORS) == outcomes["unknown"], outcomes
    lock = calls[calls.index(("rename", 1)) + 1]  # its second descriptor
    assert lock[0] == "close"
    opened = calls[: calls.index(("lock_description", 1))]
    above = range(2, sum(name == "open" for name, _ in opened))  # directories above that are not ours
    assert quiet == {
        (number, name, ordinal)
        for number in ERRORS
        for name, ordinal in calls
        if (name, ordinal) in {("free_bytes", 1), ("set_direct", 1), lock}
        or (number == errno.EINTR and name in ("pwrite", "allocate"))  # it goes on
        or (number == errno.EACCES and name == "allocate")  # as where a file system cannot
        or (number == errno.EACCES and name in ("open", "fsync", "fstat", "close") and ordinal in above)
    }


def test_after_an_error_at_any_call_a_first_save_leaves_no_name(tmp_path, faults):
    calls = calls_of_a_save(faults, LocalStorage(tmp_path / "practice"))
    for name, ordinal in calls:
        case = f"{name} {ordinal}"
        storage = LocalStorage(tmp_path / case)
        try:
            with faults.error_at(name, errno.EIO, ordinal):
                save(storage)
        except CommitError as error:
            if "unknown" not in str(error):
                assert files(tmp_path / case) == [], case
                continue
        assert files(tmp_path / case) == ["model"], case
        assert get(storage, "model") == NEW, case


def test_an_error_that_lasts_fails_the_save_without_retrying_for_ever(tmp_path, faults):
    for name in ("open", "lock_description", "fstat", "pwrite", "fsync", "dup", "close", "rename"):
        storage = LocalStorage(tmp_path / name)
        put(storage, "model", OLD)
        with faults.error_at(name, errno.EIO, lasting=True), pytest.raises(CommitError):
            save(storage)
        assert get(storage, "model") == OLD
        assert files(tmp_path / name) == ["model"]


@pytest.mark.parametrize("number", [errno.EIO, errno.EINTR])
def test_a_file_whose_sync_failed_is_never_synced_again(storage, directory, faults, number):
    put(storage, "model", OLD)
    synced = []

    def fail(real, fd):
        found = os.fstat(fd)
        synced.append((found.st_dev, found.st_ino))
        raise OSError(number, os.strerror(number))

    upload = storage.create("model", len(NEW))
    upload.write(0, NEW)
    with faults.instead_of("fsync", fail), pytest.raises(CommitError, match="flushed"):
        upload.commit()
    assert len(synced) == 1
    with pytest.raises(CommitError):
        upload.commit()
    assert files(directory) == ["model"]
    assert get(storage, "model") == OLD


def test_when_the_directory_cannot_be_synced_the_error_says_that_the_outcome_is_unknown(storage, faults):
    put(storage, "model", OLD)
    with faults.error_at("fsync", errno.EIO, 2), pytest.raises(CommitError, match="outcome is unknown") as raised:
        save(storage)
    assert raised.value.errno == errno.EIO
    assert "before is untouched" not in str(raised.value)


def test_a_temporary_file_that_cannot_be_removed_hides_no_error_and_is_swept_later(storage, directory, faults):
    def fail(real, path):
        raise OSError(errno.EROFS, "Read-only file system")

    with (
        faults.instead_of("unlink", fail),
        faults.error_at("rename", errno.EIO),
        pytest.raises(CommitError, match="given its name") as raised,
    ):
        save(storage)
    assert raised.value.errno == errno.EIO
    [left] = files(directory)
    assert left.endswith(TEMPORARY_SUFFIX)
    assert list(storage.list()) == []
    assert storage.sweep() == [left]
    assert files(directory) == []


def test_a_full_disk_says_how_much_is_needed_and_how_much_is_free(storage, faults):
    with faults.error_at("pwrite", errno.ENOSPC), pytest.raises(CommitError) as raised:
        save(storage)
    assert isinstance(raised.value, OSError)
    assert raised.value.errno == errno.ENOSPC
    assert re.search(rf"needs {len(NEW)} bytes, \d+ are free", str(raised.value))
    assert "keep fewer snapshots" in str(raised.value)


def test_a_write_that_failed_leaves_an_upload_that_can_only_be_aborted(storage, directory, faults):
    upload = storage.create("model", len(NEW))
    with faults.error_at("pwrite", errno.EIO), pytest.raises(CommitError):
        upload.write(0, NEW)
    assert files(directory) == []
    for act in (partial(upload.write, 0, NEW), upload.commit):
        with pytest.raises(CommitError, match="create another"):
            act()
    upload.abort()


def test_an_interrupt_in_the_middle_of_a_commit_leaves_nothing(storage, directory, faults):
    def interrupt(real, *arguments):
        raise KeyboardInterrupt

    before = descriptors()
    for name in ("pwrite", "fsync", "dup", "rename"):
        with faults.instead_of(name, interrupt), pytest.raises(KeyboardInterrupt):
            save(storage)
        assert files(directory) == []
        assert descriptors() == before


@pytest.mark.parametrize("older", [OLD, None])
def test_after_a_crash_before_any_call_the_name_is_whole_and_a_sweep_cleans_up(tmp_path, faults, older):
    practice = LocalStorage(tmp_path / "practice")
    if older is not None:
        put(practice, "model", older)
    calls = calls_of_a_save(faults, LocalStorage(tmp_path / "practice"))
    renamed = calls.index(("rename", 1))
    before = descriptors()
    left_behind = 0
    for place, (name, ordinal) in enumerate(calls):
        case = f"before {name} {ordinal}"
        directory = tmp_path / case
        if older is not None:
            put(LocalStorage(directory), "model", older)
        storage = LocalStorage(directory)
        with faults.crash_before(name, ordinal), pytest.raises(Crash):
            save(storage)
        assert descriptors() == before, case

        storage = LocalStorage(directory)
        wanted = NEW if place > renamed else older
        left = [file for file in files(directory) if file != "model"]
        assert [entry.name for entry in storage.list()] == ([] if wanted is None else ["model"]), case
        assert sorted(storage.sweep()) == left, case
        left_behind += len(left)
        assert files(directory) == ([] if wanted is None else ["model"]), case
        if wanted is not None:
            assert get(storage, "model") == wanted, case
        save(storage, data=SPARE)
        assert get(storage, "model") == SPARE, case
    assert left_behind >= 8


def test_a_crash_before_the_rename_leaves_the_older_file_and_one_temporary_file(storage, directory, faults):
    put(storage, "model", OLD)
    with faults.crash_before("rename"), pytest.raises(Crash):
        save(storage)
    assert get(storage, "model") == OLD
    assert len(files(directory)) == 2


def test_a_crash_in_the_middle_of_making_directories_hinders_nothing(tmp_path, faults):
    for ordinal in (1, 2):  # the storage's own, and the name's
        directory = tmp_path / str(ordinal)
        with faults.crash_before("mkdir", ordinal), pytest.raises(Crash):
            save(LocalStorage(directory), "model/it_1")
        with faults.record() as calls:
            save(LocalStorage(directory), "model/it_1")
        assert {"fsync .", "fsync model"} <= set(told(calls, directory))
