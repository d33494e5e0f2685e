"""What snapshot and snapshot_object leave in the folder: after an error, of older snapshots, where a writer fails."""

from __future__ import annotations

import errno
import logging
import os

import numpy as np
import pytest

import holdfast
from holdfast import keep, training
from holdfast.training import extensions
from holdfast.training.extensions.snapshot_names import Filename
from training.extensions.runs import Training, names


@pytest.fixture
def out(tmp_path):
    return tmp_path / "result"


# snapshot_on_error


def test_a_failing_loop_leaves_a_snapshot_that_is_labelled_and_raises_its_own_error(out):
    run = Training(out, fails_at=3)
    with pytest.raises(ZeroDivisionError, match="the loss is gone"):
        run.run(extensions.snapshot(snapshot_on_error=True), trigger=(100, "iteration"))
    assert names(out) == ["snapshot_iter_2"]
    assert holdfast.info(out / "snapshot_iter_2").reason == "error"


def test_a_snapshot_on_error_is_taken_whatever_the_condition_says(out):
    with pytest.raises(ZeroDivisionError):
        Training(out, fails_at=1).run(extensions.snapshot(snapshot_on_error=True, condition=lambda: False))
    assert names(out) == ["snapshot_iter_0"]


@pytest.mark.parametrize("filename", ["it_{.updater.iteration}", "it_{.updater.iteration}.npz", "fixed", "fixed.npz"])
def test_a_snapshot_on_error_never_replaces_a_good_one(out, filename):
    run = Training(out, fails_at=3)
    with pytest.raises(ZeroDivisionError):
        run.run(extensions.snapshot_object(run.weights, filename, snapshot_on_error=True))
    name = filename.format(run.trainer)
    good, bad = holdfast.load(out / name), holdfast.load(out / f"{name}.error")
    assert not np.array_equal(next(iter(good.values())) if isinstance(good, dict) else good, run.weights)
    np.testing.assert_array_equal(next(iter(bad.values())) if isinstance(bad, dict) else bad, run.weights)


def test_no_snapshot_on_error_is_taken_unless_asked_for(out):
    with pytest.raises(ZeroDivisionError):
        Training(out, fails_at=3).run(extensions.snapshot(), trigger=(100, "iteration"))
    assert names(out) == []


def test_a_run_is_resumed_from_a_good_snapshot_rather_than_from_a_later_one_on_error(out):
    ended = Training(out, (6, "iteration")).run()
    with pytest.raises(ZeroDivisionError):
        Training(out, fails_at=5).run(extensions.snapshot(snapshot_on_error=True), trigger=(3, "iteration"))
    assert names(out) == ["snapshot_iter_3", "snapshot_iter_4"]
    again = Training(out, (6, "iteration")).run(extensions.snapshot(autoload=True), trigger=(100, "iteration"))
    np.testing.assert_array_equal(again.weights, ended.weights)


def test_a_snapshot_on_error_is_resumed_from_where_there_is_no_good_one(out, caplog):
    with pytest.raises(ZeroDivisionError):
        Training(out, fails_at=3).run(extensions.snapshot(snapshot_on_error=True), trigger=(100, "iteration"))
    with caplog.at_level(logging.INFO, "holdfast"):
        again = Training(out, (4, "iteration")).run(extensions.snapshot(autoload=True), trigger=(100, "iteration"))
    assert again.updater.iteration == 4
    assert "snapshot_iter_2" in caplog.text


def test_an_error_of_the_snapshot_on_error_does_not_take_the_place_of_the_first(out, faults):
    run = Training(out, fails_at=3)
    with faults.error_at("fsync", errno.EIO, 1), pytest.raises(ZeroDivisionError):
        run.run(extensions.snapshot(snapshot_on_error=True), trigger=(100, "iteration"))


# n_retains, keep


@pytest.mark.parametrize(
    ("filename", "expected"),
    [("m_{.updater.iteration}", ["m_11", "m_12"]), ("m_{.updater.iteration}.npz", ["m_11.npz", "m_12.npz"])],
)
def test_the_newest_are_retained_by_iteration_and_never_by_time(out, filename, expected):
    run = Training(out, (12, "iteration"))

    @training.make_extension(priority=-50)
    def travels_in_time(trainer):
        for name in names(out):
            os.utime(out / name, (4e9 - trainer.updater.iteration, 4e9 - trainer.updater.iteration))

    run.run(extensions.snapshot_object(run.weights, filename, n_retains=2), travels_in_time)
    assert names(out) == expected


def test_retention_touches_nothing_that_the_extension_did_not_write(out):
    out.mkdir()
    foreign = ["model_best", "model_card.md", "model_3.bak", "model_x", "xmodel_1", "model_1.tmp"]
    for name in foreign:
        (out / name).write_text("mine")
    (out / "model_7").mkdir()
    (out / "model_0").write_text("not a snapshot, though its name is one's")
    run = Training(out, (6, "iteration"))
    run.run(extensions.snapshot_object(run.weights, "model_{.updater.iteration}", n_retains=1))
    assert names(out) == sorted([*foreign, "model_0", "model_6"])
    assert (out / "model_7").is_dir()


def test_two_extensions_retain_their_own(out):
    run = Training(out, (6, "iteration"))
    run.run(
        extensions.snapshot_object(run.weights, "gen_{.updater.iteration}", n_retains=1),
        extensions.snapshot_object(run.weights, "dis_{.updater.iteration:04d}", n_retains=3),
        extensions.snapshot(n_retains=2),
    )
    assert names(out) == ["dis_0004", "dis_0005", "dis_0006", "gen_6", "snapshot_iter_5", "snapshot_iter_6"]


@pytest.mark.parametrize("n_retains", [0, -1])
def test_zero_and_below_retain_all(out, n_retains):
    Training(out, (3, "iteration")).run(extensions.snapshot(n_retains=n_retains))
    assert len(names(out)) == 3


@pytest.mark.parametrize("n_retains", [1.0, True, "2", None])
def test_n_retains_must_be_an_int(n_retains):
    with pytest.raises(TypeError, match="n_retains"):
        extensions.snapshot(n_retains=n_retains)


def test_num_retain_is_deprecated_and_wins(out):
    with pytest.warns(DeprecationWarning, match="num_retain") as caught:
        extension = extensions.snapshot(num_retain=1, n_retains=5)
    assert caught[0].filename == __file__
    Training(out, (3, "iteration")).run(extension)
    assert names(out) == ["snapshot_iter_3"]


def test_nothing_is_removed_before_the_newer_one_is_durable(out, faults):
    run = Training(out, (3, "iteration"))
    with faults.record() as calls:
        run.run(extensions.snapshot(n_retains=1))
    removed = [i for i, call in enumerate(calls) if call.name == "unlink" and "snapshot_iter" in call.path]
    renamed = [i for i, call in enumerate(calls) if call.name == "rename"]
    assert len(removed) == 2
    assert renamed[1] < removed[0] < renamed[2] < removed[1]
    assert all(
        any(call.name == "fsync" for call in calls[done:gone]) for done, gone in zip(renamed[1:], removed, strict=True)
    )


def test_a_savefuns_files_are_retained_by_their_numbers_with_any_writer(out):
    def write(name, outdir, mapping):
        with open(os.path.join(outdir, name), "w") as file:
            file.write(name)

    Training(out, (11, "iteration")).run(
        extensions.snapshot(writer=write, filename="s_{.updater.iteration}", n_retains=2)
    )
    assert names(out) == ["s_10", "s_11"]


def test_keep_takes_a_policy_with_metrics_of_the_observation(out):
    values = iter([3.0, 1.0, 2.0, 4.0])

    @training.make_extension(priority=training.PRIORITY_WRITER)
    def measure(trainer):
        holdfast.report({"error": next(values)})

    policy = keep.best(1, "error", mode="min") | keep.last(1)
    Training(out, (4, "iteration")).run(measure, extensions.snapshot(keep=policy))
    assert names(out) == ["snapshot_iter_2", "snapshot_iter_4"]
    assert holdfast.info(out / "snapshot_iter_2").metrics["error"] == 1


def test_keep_and_n_retains_exclude_each_other():
    with pytest.raises(TypeError, match="keep and n_retains"):
        extensions.snapshot(keep=keep.last(1), n_retains=1)


@pytest.mark.parametrize("number", ["0", "12", "0.25", "1e-05", "1e+16", "-3"])
def test_a_number_in_a_name_is_found_again_however_it_is_written(number):
    assert Filename("a_{.updater.epoch_detail}.npz").numbers(f"a_{number}.npz") == (float(number),)


def test_keep_is_refused_for_files_without_headers():
    with pytest.raises(ValueError, match="keep"):
        extensions.snapshot(filename="x_{.updater.iteration}.npz", keep=keep.last(1))


# on_failure


def test_a_full_disk_ends_the_run_by_default(out, faults):
    run = Training(out, (3, "iteration"))
    with faults.error_at("pwrite", errno.ENOSPC, 4), pytest.raises(holdfast.CommitError, match="snapshot_iter_2"):
        run.run(extensions.snapshot())
    assert names(out) == ["snapshot_iter_1"]


def test_with_on_failure_warn_it_costs_that_snapshot_only(out, faults, caplog):
    run = Training(out, (3, "iteration"))
    with faults.error_at("pwrite", errno.ENOSPC, 4):
        run.run(extensions.snapshot(on_failure="warn"))
    assert names(out) == ["snapshot_iter_1", "snapshot_iter_3"]
    assert "snapshot_iter_2" in caplog.text


def test_on_failure_must_be_one_of_two():
    with pytest.raises(ValueError, match="on_failure"):
        extensions.snapshot(on_failure="ignore")


def test_snapshots_of_parts_are_durable_before_the_trainers_own_of_the_same_iteration(out):
    run = Training(out, (1, "iteration"))
    run.run(extensions.snapshot(), extensions.snapshot_object(run.weights, "part_{.updater.iteration}"))
    assert holdfast.info(out / "part_1").sequence < holdfast.info(out / "snapshot_iter_1").sequence
