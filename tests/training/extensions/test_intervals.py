"""Extensions that report at intervals of their own: where the first one begins in a training that goes on."""

from __future__ import annotations

import logging
import os
import types

import numpy as np
import pytest

from holdfast import reporter
from holdfast.training import Trainer, extensions
from holdfast.training.extensions import figures
from holdfast.training.extensions.intervals import Interval, Means
from training.fakes import CountingUpdater
from training.serializers import loaded, restored, saved, tree_of

BEFORE, END = 17, 37  # iterations, 10 to an epoch


class Counted(CountingUpdater):
    """Reports a numerator and a denominator as well."""

    def update(self):
        super().update()
        reporter.report({"n": self.iteration, "d": 1})


def link():
    parameter = types.SimpleNamespace(data=np.ones(3), grad=None)
    return types.SimpleNamespace(name="a", namedparams=lambda: [("/W", parameter)])


def rows(trainer, out):
    return [row["iteration"] for row in trainer.get_extension("new").log]


def rows_of_its_own(trainer, out):
    return [row["iteration"] for row in trainer.get_extension("new")._log_report.log]


def pictures(trainer, out):
    return sorted(int(name.removesuffix(".png")) for name in os.listdir(out))


def looked_at(trainer, out):
    return [iteration for iteration, names in trainer.seen if names - {"loss", "n", "d"}]


MADE = {
    "LogReport": (lambda trigger: extensions.LogReport(trigger=trigger), rows),
    "PrintReport": (
        lambda trigger: extensions.PrintReport(["loss"], extensions.LogReport(trigger=trigger)),
        rows_of_its_own,
    ),
    "PlotReport": (
        lambda trigger: extensions.PlotReport("loss", trigger=trigger, filename="{iteration}.png"),
        pictures,
    ),
    "VariableStatisticsPlot": (
        lambda trigger: extensions.VariableStatisticsPlot(np.ones(3), trigger=trigger, filename="{iteration}.png"),
        pictures,
    ),
    "MicroAverage": (lambda trigger: extensions.MicroAverage("n", "d", "mean", trigger), looked_at),
    "ParameterStatistics": (lambda trigger: extensions.ParameterStatistics(link(), trigger=trigger), looked_at),
}


def train(out, length, state=None, extension=None):
    trainer = Trainer(Counted(), (length, "iteration"), out=out)
    trainer.seen = []
    if extension is not None:
        trainer.extend(extension, name="new")
        look = lambda trainer: trainer.seen.append((trainer.updater.iteration, set(trainer.observation)))  # noqa: E731
        trainer.extend(look, name="look", priority=0)
    if state is not None:
        restored(state, trainer)
    trainer.run()
    return trainer


@pytest.mark.parametrize("trigger", [(10, "iteration"), (1, "epoch")], ids=str)
@pytest.mark.parametrize("name", MADE)
class TestNew:
    @pytest.fixture(autouse=True)
    def sketched(self, name, monkeypatch):
        """Figures are made, but their files are empty: writing them takes longest."""
        if "Plot" in name:
            pytest.importorskip("matplotlib")
        monkeypatch.setattr(figures, "write", lambda figure, out, filename: (out / filename).touch())

    def test_one_that_is_new_to_a_resumed_training_does_not_catch_up(self, name, trigger, tmp_path):
        make, reports = MADE[name]
        state = tree_of(train(tmp_path / "before", BEFORE))
        trainer = train(tmp_path / "after", END, state, make(trigger))
        assert reports(trainer, tmp_path / "after") == [20, 30]

    def test_one_that_the_snapshot_knows_goes_on(self, name, trigger, tmp_path):
        make, reports = MADE[name]
        state = tree_of(train(tmp_path / "before", BEFORE, extension=make(trigger)))
        trainer = train(tmp_path / "after", END, state, make(trigger))
        assert [iteration for iteration in reports(trainer, tmp_path / "after") if iteration > BEFORE] == [20, 30]


class Held:
    """Has an interval, as an extension has."""

    def __init__(self, interval):
        self.interval = interval

    def serialize(self, serializer):
        self.interval.serialize(serializer)


def at(iteration):
    updater = types.SimpleNamespace(
        iteration=iteration, epoch_detail=iteration / 10, previous_epoch_detail=iteration / 10
    )
    return types.SimpleNamespace(updater=updater)


class TestInterval:
    @pytest.mark.parametrize("trigger", [(10, "iteration"), (1, "epoch")], ids=str)
    def test_it_is_not_begun_anew_when_it_is_asked_seldom(self, trigger):
        """A trigger that was asked in the 15th iteration, and is asked in the 21st, has passed the 20th."""
        interval = Interval(trigger, kept_by_chainer=False)
        assert interval.ends(at(15))
        for save, load in ((saved, loaded), (tree_of, restored)):
            resumed = load(save(Held(interval)), Held(Interval(trigger, kept_by_chainer=False))).interval
            resumed.initialize(at(17))
            assert resumed.ends(at(21))


class TestMeans:
    def test_what_was_taken_in_is_that_of_one_interval(self):
        means = Means("Some", (2, "iteration"), kept_by_chainer=True)
        found = []
        for iteration in range(1, 5):
            means.add({"x": iteration})
            if means.ends(at(iteration)):
                found.append(means.take().compute_mean())
        assert found == [{"x": 1.5}, {"x": 3.5}]
        assert means.take().compute_mean() == {}

    def test_a_file_that_lacks_it_warns_where_chainer_keeps_it(self):
        means = Means("Some", (2, "iteration"), kept_by_chainer=True)
        with pytest.warns(UserWarning, match="not saved") as warned:
            restored(tree_of({"held": Nothing()}), {"held": Held(means)}, strict=False)
        assert len(warned) == 2  # the iteration and the epoch

    def test_a_file_that_lacks_it_is_logged_where_chainer_keeps_nothing(self, caplog):
        means = Means("Some", (10, "iteration"), kept_by_chainer=False)
        means.add({"x": 1})
        with caplog.at_level(logging.INFO, "holdfast"):
            restored(tree_of({"held": Nothing()}), {"held": Held(means)}, strict=False)
        assert "Some: the snapshot does not hold what was taken in since the last report" in caplog.text
        assert means.take().compute_mean() == {}
        assert not means.ends(at(17))
        assert means.ends(at(20))


class Nothing:
    """Has no state."""

    def serialize(self, serializer):
        pass
