"""A file may lack extensions of which Chainer keeps nothing; all else of a trainer that it lacks is missed."""

from __future__ import annotations

import numpy as np
import pytest

import holdfast
from training.extensions.runs import Training

torch = pytest.importorskip("torch")

from holdfast.training import Extension, extensions  # noqa: E402

MODEL = torch.nn.Linear(2, 1)


def statistics():
    return extensions.ParameterStatistics(MODEL, trigger=(2, "iteration"))


def plot():
    return extensions.VariableStatisticsPlot(list(MODEL.parameters()), trigger=(9, "iteration"))


class Mine(extensions.ParameterStatistics):
    """A user's, which is still one of these."""


def report():
    return extensions.LogReport(trigger=(9, "iteration"))


class Counting(Extension):
    """One with a state of its own."""

    n = 0

    def serialize(self, serializer):
        self.n = serializer("n", self.n)


NAMESAKE = type("ParameterStatistics", (Counting,), {"__module__": "of_a_user"})


def saved(file_format, path, *parts):
    """A file of a trainer with these extensions, in iteration 2."""
    run = Training(path.parent / "out", (2, "iteration")).run(*parts)
    file_format.save(path, run.trainer)
    return run


def fresh(path, *parts, stop=4):
    run = Training(path.parent / "again", (stop, "iteration"))
    for part in parts:
        run.trainer.extend(part)
    return run


@pytest.mark.parametrize(
    "parts",
    [
        lambda: [report(), statistics()],
        lambda: [report(), plot(), statistics(), statistics()],
        lambda: [report(), Mine(MODEL, trigger=(2, "iteration"))],
    ],
    ids=["one", "several", "a subclass"],
)
def test_what_chainer_keeps_nothing_of_may_be_lacking(file_format, path, parts):
    before = saved(file_format, path, report())
    run = fresh(path, *parts())
    file_format.load(path, run.trainer)
    assert run.updater.iteration == 2
    np.testing.assert_array_equal(run.weights, before.weights)


def test_all_extensions_may_be_of_that_kind(file_format, path):
    saved(file_format, path)
    run = fresh(path, statistics(), plot())
    file_format.load(path, run.trainer)
    assert run.updater.iteration == 2


@pytest.mark.parametrize("more", [list, lambda: [statistics()]], ids=["alone", "beside one that may"])
@pytest.mark.parametrize("missed", [report, Counting, NAMESAKE], ids=["a log", "a user's", "a namesake"])
@pytest.mark.parametrize("before", [list, lambda: [extensions.LogReport()]], ids=["none", "another"])
def test_any_other_extension_is_missed_and_nothing_is_changed(file_format, path, missed, more, before):
    saved(file_format, path, *before())
    run = fresh(path, *before(), missed(), *more())
    with pytest.raises(holdfast.MismatchError, match=r"missing in the snapshot: .*extensions"):
        file_format.load(path, run.trainer)
    assert run.updater.iteration == 0
    assert not run.weights.any()


def test_what_stands_in_a_file_is_restored(file_format, path):
    saved(file_format, path, extensions.ParameterStatistics(MODEL, trigger=(9, "iteration")))
    run = fresh(path, extensions.ParameterStatistics(MODEL, trigger=(9, "iteration")))
    file_format.load(path, run.trainer)
    [extension] = [entry.extension for entry in run.trainer.entries()]
    assert extension._means.take().compute_mean()


def test_in_what_is_no_trainer_the_same_names_are_missed(file_format, path):
    file_format.save(path, {"a": np.ones(1)})
    target = {"a": np.zeros(1), "extensions": {"ParameterStatistics": np.zeros(1)}, "stop_trigger": {"n": 1}}
    with pytest.raises(holdfast.MismatchError, match="missing in the snapshot: 'extensions', 'stop_trigger'"):
        file_format.load(path, target)
    assert not target["a"].any()
