"""A run that Chainer began left npz files under names without a suffix; holdfast goes on from these."""

from __future__ import annotations

import logging

import numpy as np
import pytest

import holdfast
from holdfast import serializers
from holdfast.training import extensions
from training.extensions.runs import Training, names


@pytest.fixture
def out(tmp_path):
    return tmp_path / "result"


def begun(out, stop):
    """A run that leaves what Chainer leaves."""
    return Training(out, stop).run(extensions.snapshot(serializers.save_npz))


def gone_on(out, stop, trigger=(1, "iteration"), **options):
    return Training(out, stop).run(extensions.snapshot(autoload=True, **options), trigger=trigger)


def test_it_is_resumed_from_the_newest_by_number_and_nothing_is_called_damaged(out, caplog):
    ended = Training(out / "calm", (14, "iteration")).run()
    begun(out, (11, "iteration"))
    with caplog.at_level(logging.INFO, "holdfast"):
        again = gone_on(out, (14, "iteration"), trigger=(100, "iteration"))
    np.testing.assert_array_equal(again.weights, ended.weights)
    [line] = [record for record in caplog.records if "resumed" in record.message]
    assert str(out / "snapshot_iter_11") in line.message
    assert "passed over" not in caplog.text


def test_a_damaged_one_is_passed_over(out, caplog):
    ended = Training(out / "calm", (6, "iteration")).run()
    begun(out, (3, "iteration"))
    path = out / "snapshot_iter_3"
    path.write_bytes(path.read_bytes()[:-50])
    again = gone_on(out, (6, "iteration"), trigger=(100, "iteration"))
    np.testing.assert_array_equal(again.weights, ended.weights)
    assert "snapshot_iter_3" in caplog.text


def test_where_all_are_damaged_the_run_does_not_begin_anew(out):
    begun(out, (2, "iteration"))
    for name in names(out):
        (out / name).write_bytes((out / name).read_bytes()[:-50])
    with pytest.raises(holdfast.DamagedError, match="every snapshot is damaged"):
        gone_on(out, (3, "iteration"))


def test_one_that_does_not_fit_is_an_error_before_anything_is_changed(out):
    Training(out, (1, "iteration")).run(extensions.snapshot_object({"a": np.zeros(3)}, "o_{.iteration}", np_savez))
    target = {"a": np.full(4, 7.0)}
    with pytest.raises(holdfast.MismatchError, match="'a'"):
        Training(out, (2, "iteration")).run(extensions.snapshot_object(target, "o_{.iteration}", autoload=True))
    np.testing.assert_array_equal(target["a"], np.full(4, 7.0))


def np_savez(path, mapping):
    with open(path, "wb") as file:
        np.savez(file, **mapping)


def test_holdfasts_own_outranks_them_and_they_are_never_removed(out):
    begun(out, (3, "iteration"))
    gone_on(out, (5, "iteration"), n_retains=1)
    assert names(out) == ["snapshot_iter_1", "snapshot_iter_2", "snapshot_iter_3", "snapshot_iter_5"]
    begun(out / "later", (9, "iteration"))
    (out / "later" / "snapshot_iter_9").rename(out / "snapshot_iter_9")
    assert gone_on(out, (6, "iteration"), trigger=(100, "iteration")).updater.iteration == 6


def test_one_on_an_error_does_not_outrank_them(out):
    begun(out, (3, "iteration"))
    with pytest.raises(ZeroDivisionError):
        Training(out, fails_at=5).run(
            extensions.snapshot(autoload=True, snapshot_on_error=True), trigger=(9, "iteration")
        )
    assert holdfast.info(out / "snapshot_iter_4").reason == "error"
    ended = Training(out / "calm", (6, "iteration")).run()
    np.testing.assert_array_equal(gone_on(out, (6, "iteration"), trigger=(9, "iteration")).weights, ended.weights)
