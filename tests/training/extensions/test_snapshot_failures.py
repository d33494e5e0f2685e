"""on_failure="warn" of both snapshot extensions: what the machine cannot do costs that snapshot only, in every way of
writing it; mistakes of the program end the run. And names that lead out of the folder."""

from __future__ import annotations

import errno
import logging
import re
from itertools import product

import numpy as np
import pytest

import holdfast
from faults.writing import IN_THIS_PROCESS, WRITERS, name_of
from holdfast import keep
from holdfast.training import extensions
from holdfast.writers import SimpleWriter
from training.extensions import failing_savefuns as savefuns
from training.extensions.runs import Training, names

pytestmark = pytest.mark.timeout(60)

OF_THE_MACHINE = [savefuns.on_a_full_disk, savefuns.on_a_failing_disk, savefuns.with_an_error_of_holdfasts]
HERE_ONLY = [savefuns.without_memory, savefuns.without_a_number]


def told(caplog):
    return [
        record.getMessage()
        for record in caplog.records
        if (record.name, record.levelname) == ("holdfast", "WARNING") and "training goes on" in record.getMessage()
    ]


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.mark.parametrize(
    ("kind", "savefun"),
    [*product(WRITERS, OF_THE_MACHINE), *product(IN_THIS_PROCESS, HERE_ONLY)],
    ids=name_of,
)
def test_a_savefun_that_the_machine_fails_costs_that_snapshot_and_is_logged_once(out, caplog, kind, savefun):
    run = Training(out, (5, "iteration"))  # the 2nd fails in the middle, the 5th as the last of all
    run.run(
        extensions.snapshot_object(run.weights, "w_{.iteration}", writer=kind(savefun), on_failure="warn"),
        extensions.snapshot(),
    )
    assert names(out) == [*[f"snapshot_iter_{n}" for n in range(1, 6)], "w_1", "w_3", "w_4"]
    messages = told(caplog)
    assert [sum(f"w_{n}" in message for message in messages) for n in (2, 5)] == [1, 1]
    assert len(messages) == 2


@pytest.mark.parametrize("kind", WRITERS, ids=name_of)
def test_a_full_disk_is_logged_with_what_is_needed_and_what_is_free(out, caplog, kind):
    run = Training(out, (3, "iteration"))
    writer = kind(savefuns.on_a_full_disk)
    run.run(extensions.snapshot_object(run.weights, "w_{.iteration}", writer=writer, on_failure="warn"))
    [message] = told(caplog)
    assert "No space left on device" in message
    assert re.search(rf"needs {run.weights.nbytes} bytes, \d+ are free in {re.escape(str(out))}", message)


@pytest.mark.parametrize("kind", WRITERS, ids=name_of)
@pytest.mark.parametrize("at_the_end", [False, True], ids=["on the way", "the last"])
def test_a_mistake_of_the_program_ends_the_run_in_spite_of_warn(out, kind, at_the_end):
    run = Training(out, (5 if at_the_end else 4, "iteration"))
    extension = extensions.snapshot_object(
        run.weights, "w_{.iteration}", writer=kind(savefuns.with_a_mistake), on_failure="warn"
    )
    with pytest.raises((TypeError, holdfast.CommitError), match="this is no path"):
        run.run(extension, trigger=(5 if at_the_end else 1, "iteration"))
    assert "w_2" not in names(out)
    assert "w_5" not in names(out)


def test_what_cannot_be_captured_ends_the_run_in_spite_of_warn(out):
    for filename in ("x_{.iteration}", "x_{.iteration}.npz"):
        run = Training(out, (2, "iteration"))
        with pytest.raises(holdfast.CaptureError):
            run.run(extensions.snapshot_object({"x": object()}, filename, on_failure="warn"))


def test_a_snapshot_that_does_not_fit_is_an_error_in_spite_of_warn(out):
    Training(out, (1, "iteration")).run(extensions.snapshot_object({"x": np.zeros(3)}, "x_{.iteration}"))
    with pytest.raises(holdfast.MismatchError):
        Training(out, (2, "iteration")).run(
            extensions.snapshot_object({"x": np.zeros(4)}, "x_{.iteration}", autoload=True, on_failure="warn")
        )


@pytest.mark.parametrize("kind", WRITERS, ids=name_of)
@pytest.mark.parametrize("on_failure", ["raise", "warn"])
def test_a_state_for_which_there_is_no_memory_costs_that_snapshot_only_with_warn(out, caplog, kind, on_failure):
    run = Training(out, (2, "iteration"))
    extension = extensions.snapshot(writer=kind(budget_bytes=10), on_failure=on_failure)
    if on_failure == "raise":
        with pytest.raises(holdfast.StagingError):
            run.run(extension)
        return
    run.run(extension)
    assert names(out) == []
    assert ["snapshot_iter_1" in message and "budget_bytes" in message for message in told(caplog)] == [True, False]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=errno.errorcode.get)
@pytest.mark.parametrize("name", ["mkdir", "open", "scandir"])
def test_a_folder_that_cannot_be_opened_costs_a_snapshot_where_nothing_was_to_be_resumed(
    tmp_path, faults, caplog, name, number
):
    run, extension = Training(tmp_path / "out"), extensions.snapshot(on_failure="warn")
    run.updater.update()
    with faults.error_at(name, number):
        extension(run.trainer)
    assert len(told(caplog)) == 1
    run.updater.update()
    extension(run.trainer)
    extension.finalize()
    assert names(tmp_path / "out") == ["snapshot_iter_2"]


def test_npz_files_are_retained_past_one_that_failed(out, faults, caplog):
    run = Training(out, (6, "iteration"))
    with faults.error_at("rename", errno.EIO, 4):
        run.run(extensions.snapshot_object(run.weights, "w_{.iteration}.npz", n_retains=2, on_failure="warn"))
    assert names(out) == ["w_5.npz", "w_6.npz"]
    assert ["w_4.npz" in message for message in told(caplog)] == [True]


def test_after_a_failure_nothing_older_goes(out, faults):
    run = Training(out, (4, "iteration"))
    with faults.error_at("rename", errno.EIO, 4):
        run.run(extensions.snapshot_object(run.weights, "w_{.iteration}.npz", n_retains=2, on_failure="warn"))
    assert names(out) == ["w_2.npz", "w_3.npz"]


def test_a_file_of_before_is_not_taken_for_one_that_was_not_written(out, faults, caplog):
    def extension(n_retains):
        return extensions.snapshot_object({"x": 1}, "w_{.iteration}.npz", n_retains=n_retains, on_failure="warn")

    Training(out, (2, "iteration")).run(extension(-1))
    with faults.error_at("rename", errno.EIO):
        Training(out, (1, "iteration")).run(extension(1))
    assert len(told(caplog)) == 1
    assert names(out) == ["w_1.npz", "w_2.npz"]


def test_a_folder_that_cannot_be_listed_keeps_its_older_files_and_the_run(out, faults, caplog):
    run = Training(out, (3, "iteration"))
    extension = extensions.snapshot_object(run.weights, "w_{.iteration}.npz", n_retains=1)
    with faults.error_at("scandir", errno.EIO, 4):  # two for the sweep, and one a snapshot
        run.run(extension)
    assert names(out) == ["w_3.npz"]
    assert "older snapshots stay" in caplog.text


@pytest.mark.parametrize("kind", IN_THIS_PROCESS, ids=name_of)  # tests/faults/test_small_disks.py has the others
def test_a_file_larger_than_what_is_free_is_not_begun(out, faults, caplog, kind):
    run = Training(out, (2, "iteration"))
    with faults.instead_of("free_bytes", lambda real, path: 100), faults.record() as calls:
        run.run(extensions.snapshot(writer=kind(), on_failure="warn", keep=keep.last(1)))
    assert names(out) == []
    assert [bool(re.search(r"needs \d+ bytes, 100 are free in ", message)) for message in told(caplog)] == [True] * 2
    assert {"pwrite", "rename", "allocate"}.isdisjoint(
        call.name for call in calls if not call.path.endswith(".holdfast-lock")
    )


@pytest.mark.parametrize("name", ["../x.npz", "/tmp/x.npz", "a/../../x", "", ".holdfast-lock", "x\0y"])
@pytest.mark.parametrize("suffix", ["", ".npz"])
def test_a_made_name_that_leads_out_of_the_folder_is_refused_before_anything_is_written(out, name, suffix):
    made = name if name == ".holdfast-lock" else name + suffix * (not name.endswith(".npz") and bool(name))
    extension = extensions.snapshot_object({"x": 1}, lambda trainer: made, writer=SimpleWriter(), on_failure="warn")
    with pytest.raises(ValueError, match="no name inside a storage"):
        Training(out, (1, "iteration")).run(extension)
    assert names(out.parent) == []


def test_a_warning_is_no_error_of_the_log(out, caplog):
    run = Training(out, (2, "iteration"))
    with caplog.at_level(logging.ERROR, "holdfast"):
        run.run(
            extensions.snapshot_object(run.weights, "w_{.iteration}", savefuns.on_a_failing_disk, on_failure="warn")
        )
    assert caplog.records == []


def test_what_only_has_the_name_of_an_npz_file_is_passed_over(out, caplog):
    def extension():
        return extensions.snapshot_object(weights, "w_{.iteration}.npz", autoload=True)

    weights = np.zeros(3)
    Training(out, (2, "iteration")).run(extension())
    (out / "w_2.npz").unlink()
    (out / "w_2.npz").write_text("torn by a program that does not sync")
    run, again = Training(out), extension()
    assert again.resume(run.trainer) == str(out / "w_1.npz")
    again.finalize()
    assert "w_2.npz" in caplog.text
