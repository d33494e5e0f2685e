"""save_npz and save_hdf5 as savefuns of the snapshot extension: what they write is read again without a loadfun."""

from __future__ import annotations

import logging
from functools import partial

import numpy as np
import pytest

import holdfast
from holdfast import serializers
from holdfast.training import extensions
from holdfast.training.extensions import snapshot_writers
from training.extensions.runs import Training, names

NAME = "it_{.updater.iteration}"
SAVEFUNS = {
    "npz": serializers.save_npz,
    "npz, stored": partial(serializers.save_npz, compression=False),
    "hdf5": serializers.save_hdf5,
    "hdf5, not packed": partial(partial(serializers.save_hdf5), compression=None),
}


@pytest.fixture(params=SAVEFUNS)
def savefun(request):
    if request.param.startswith("hdf5"):
        pytest.importorskip("h5py")
    return SAVEFUNS[request.param]


def test_a_run_goes_on_from_it_bit_for_bit(tmp_path, savefun):
    ended = Training(tmp_path / "whole", (6, "iteration")).run()
    Training(tmp_path / "out", (3, "iteration")).run(extensions.snapshot(savefun, NAME))
    again = Training(tmp_path / "out", (6, "iteration")).run(extensions.snapshot(savefun, NAME, autoload=True))
    assert again.updater.iteration == 6
    np.testing.assert_array_equal(again.weights, ended.weights)


def test_so_it_does_where_a_writer_has_the_savefun(tmp_path, savefun):
    def snapshot():
        return extensions.snapshot(filename=NAME, writer=snapshot_writers.ThreadWriter(savefun), autoload=True)

    ended = Training(tmp_path / "whole", (6, "iteration")).run()
    Training(tmp_path / "out", (3, "iteration")).run(snapshot())
    again = Training(tmp_path / "out", (6, "iteration")).run(snapshot())
    np.testing.assert_array_equal(again.weights, ended.weights)


def test_a_log_comes_back_and_a_report_that_the_file_lacks_is_named(tmp_path, savefun, caplog):
    def run(stop, *more):
        reports = [extensions.LogReport(trigger=(1, "iteration")), *more]
        return Training(tmp_path, (stop, "iteration")).run(*reports, extensions.snapshot(savefun, NAME, autoload=True))

    first = run(2)
    with caplog.at_level(logging.WARNING, "holdfast"):
        again = run(4, extensions.MicroAverage("loss", "loss", "mean", trigger=(2, "iteration")))
    assert "'MicroAverage'" in caplog.text
    log, before = (one.trainer.get_extension("LogReport").log for one in (again, first))
    assert log[:2] == before
    assert [row["iteration"] for row in log] == [1, 2, 3, 4]


def test_a_damaged_one_is_passed_over_and_the_newest_are_retained(tmp_path, savefun, caplog):
    calm = Training(tmp_path / "calm", (6, "iteration")).run()
    out = tmp_path / "out"
    Training(out, (4, "iteration")).run(extensions.snapshot(savefun, NAME, n_retains=2))
    assert names(out) == ["it_3", "it_4"]
    whole = (out / "it_4").read_bytes()
    (out / "it_4").write_bytes(whole[: len(whole) // 2])
    again = Training(out, (6, "iteration")).run(extensions.snapshot(savefun, NAME, autoload=True))
    np.testing.assert_array_equal(again.weights, calm.weights)
    assert "passed over" in caplog.text
    assert str(out / "it_4") in caplog.text


def test_an_object_is_restored_by_itself(tmp_path, savefun):
    target = {"x": np.arange(3.0), "n": 1, "text": "a"}
    Training(tmp_path, (1, "iteration")).run(extensions.snapshot_object(target, "object", savefun))
    fresh = {"x": np.zeros(3), "n": 0, "text": ""}
    Training(tmp_path, (1, "iteration")).run(
        extensions.snapshot_object(fresh, "object", savefun, autoload=True), trigger=(9, "iteration")
    )
    assert fresh["x"].tolist() == [0, 1, 2]
    assert (fresh["n"], fresh["text"]) == (1, "a")


def test_one_that_does_not_fit_changes_nothing(tmp_path, savefun):
    Training(tmp_path, (1, "iteration")).run(extensions.snapshot_object({"x": np.ones(3)}, "object", savefun))
    fresh = {"x": np.zeros(4)}
    with pytest.raises(holdfast.MismatchError, match="object: the snapshot does not fit the target"):
        Training(tmp_path, (1, "iteration")).run(extensions.snapshot_object(fresh, "object", savefun, autoload=True))
    assert not fresh["x"].any()


def test_a_loadfun_that_is_given_is_the_one_that_is_called(tmp_path, savefun):
    loaded = []
    Training(tmp_path, (1, "iteration")).run(extensions.snapshot(savefun, NAME))
    Training(tmp_path, (1, "iteration")).run(
        extensions.snapshot(savefun, NAME, autoload=True, loadfun=lambda path, target: loaded.append(path))
    )
    assert loaded == [str(tmp_path / "it_1")]


@pytest.mark.parametrize("wrapped", [lambda path, mapping: None, partial(lambda path, mapping: None), partial(print)])
def test_what_another_function_writes_is_not_known(wrapped):
    with pytest.raises(ValueError, match="autoload cannot read what a savefun of your own writes"):
        extensions.snapshot(wrapped, NAME, autoload=True)
