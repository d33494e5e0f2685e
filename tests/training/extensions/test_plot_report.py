from __future__ import annotations

import itertools
import json
import logging
import math
import os
import struct
import subprocess
import sys

import pytest

from holdfast.serializers.npz import DictionarySerializer, NpzDeserializer
from holdfast.training import Trainer
from holdfast.training.extensions.plot_report import PlotReport
from training.extensions.plotting import Looking, reporting, run
from training.fakes import CountingUpdater
from training.serializers import loaded, saved, tree_of

pytest.importorskip("matplotlib")


@pytest.fixture
def look():
    return Looking()


def mean(*iterations):
    return sum(1 / (3 * i) for i in iterations) / len(iterations)


class TestPoints:
    def test_each_is_the_mean_since_the_last_one(self, tmp_path, look):
        run(tmp_path, PlotReport(["loss"], postprocess=look), iterations=8)
        first, second = [4, pytest.approx(mean(1, 2, 3, 4))], [8, pytest.approx(mean(5, 6, 7, 8))]
        assert look.pictures == [{"loss": [first]}, {"loss": [first, second]}]
        assert look.summary.compute_mean() == {"loss": second[1]}

    def test_its_own_trigger_says_when_one_is_made(self, tmp_path, look):
        run(tmp_path, PlotReport("loss", trigger=(3, "iteration"), postprocess=look), iterations=8)
        assert [x for x, _ in look.pictures[-1]["loss"]] == [3, 6]

    def test_a_name_that_is_seldom_reported_has_fewer(self, tmp_path, look):
        seldom = reporting(validation__loss=lambda i: 2.0 if i == 6 else None)
        names = ["loss", "validation/loss", "never"]
        run(tmp_path, seldom, PlotReport(iter(names), trigger=(2, "iteration"), postprocess=look), iterations=8)
        assert [set(picture) for picture in look.pictures[1:3]] == [{"loss"}, {"loss", "validation/loss"}]
        assert look.pictures[-1]["validation/loss"] == [[6, 2.0]]

    def test_they_may_be_drawn_over_epochs(self, tmp_path, look):
        run(tmp_path, PlotReport(["loss"], "epoch", postprocess=look), iterations=8)
        assert [x for x, _ in look.pictures[-1]["loss"]] == [1, 2]
        assert look.axes.get_xlabel() == "epoch"

    def test_they_may_be_drawn_over_a_reported_value(self, tmp_path, look):
        run(tmp_path, reporting(lr=lambda i: i / 2), PlotReport(["loss"], "lr", (2, "iteration"), postprocess=look))
        assert [x for x, _ in look.pictures[-1]["loss"]] == [0.75, 1.75]

    def test_a_value_to_draw_over_that_is_missing_is_an_error_that_says_what_is_there(self, tmp_path):
        with pytest.raises(
            KeyError, match=r"draws over 'lr', which was not reported .*: 'loss'; 'iteration' is always"
        ):
            run(tmp_path, PlotReport(["loss"], "lr"))

    def test_there_is_one_before_training_where_it_is_called_then(self, tmp_path, look):
        first = reporting(score=lambda i: 0.5 + i)
        run(tmp_path, first, PlotReport("score", postprocess=look), iterations=3, before_training=True)
        assert look.pictures == [{"score": [[0, 0.5]]}]

    def test_nothing_is_drawn_while_there_is_none(self, tmp_path):
        run(tmp_path, PlotReport(["never"]), PlotReport([]))
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize(("wrong", "said"), [(None, "not None"), (3, "not 3"), (["loss", 3], "3 is none")])
    def test_names_that_are_none_are_refused(self, wrong, said):
        with pytest.raises(TypeError, match=f"PlotReport: y_keys must be .*{said}"):
            PlotReport(wrong)

    def test_a_name_to_draw_over_must_be_one(self):
        with pytest.raises(TypeError, match=r"x_key must be a name such as 'iteration', not \(1, 'epoch'\)"):
            PlotReport(["loss"], (1, "epoch"))


class TestFile:
    def test_it_is_a_png_of_twice_600_pixels_and_nothing_else_is_left(self, tmp_path):
        run(tmp_path, PlotReport(["loss"]))
        assert os.listdir(tmp_path) == ["plot.png"]
        data = (tmp_path / "plot.png").read_bytes()
        assert data.startswith(b"\x89PNG")
        assert struct.unpack(">I", data[16:20]) == (1200,)

    @pytest.mark.parametrize(
        ("name", "file", "begins"),
        [
            ("loss.pdf", "loss.pdf", b"%PDF"),
            ("loss.SVG", "loss.SVG", b"<?xml"),
            ("plots/loss", "plots/loss.png", b"\x89PNG"),
        ],
    )
    def test_its_ending_says_the_format(self, tmp_path, name, file, begins):
        run(tmp_path, PlotReport(["loss"], filename=name))
        assert (tmp_path / file).read_bytes().startswith(begins)

    def test_its_name_may_say_where_the_training_was(self, tmp_path):
        run(tmp_path, PlotReport(["loss"], filename="loss_{epoch}_{iteration:03d}.svg"), iterations=8)
        assert sorted(os.listdir(tmp_path)) == ["loss_1_004.svg", "loss_2_008.svg"]

    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("{loss}.png", "asks for 'loss'; there is 'epoch', 'iteration'"),
            ("{}.png", "filled by name"),
            ("{.png", "no format string"),
            ("plots/", "must end in the name of a file"),
        ],
    )
    def test_a_name_that_cannot_be_made_is_refused(self, name, said):
        with pytest.raises(ValueError, match=said):
            PlotReport(["loss"], filename=name)

    def test_a_name_must_be_text(self):
        with pytest.raises(TypeError, match=r"filename must be a str such as .*, not 3"):
            PlotReport(["loss"], filename=3)

    @pytest.mark.parametrize(
        ("options", "said"),
        [({"filename": "loss.docx"}, r"no figure named 'loss.docx'.*\.png"), ({"marker": "cat"}, "'cat' is no marker")],
    )
    def test_what_matplotlib_cannot_draw_is_refused_before_the_first_update(self, tmp_path, options, said):
        updater = CountingUpdater(4)
        trainer = Trainer(updater, (8, "iteration"), out=tmp_path, extensions=[PlotReport(["loss"], **options)])
        with pytest.raises(ValueError, match=said):
            trainer.run()
        assert updater.iteration == 0

    def test_chainers_old_name_of_the_argument_still_works(self, tmp_path):
        with pytest.warns(DeprecationWarning, match="file_name is deprecated; use filename") as warned:
            report = PlotReport(["loss"], file_name="old.png")
        assert warned[0].filename == __file__
        run(tmp_path, report)
        assert os.listdir(tmp_path) == ["old.png"]

    def test_both_names_of_the_argument_are_refused(self):
        with pytest.raises(TypeError, match="filename and its old name file_name were both given"):
            PlotReport(["loss"], filename="a.png", file_name="b.png")

    def test_a_process_that_dies_while_writing_leaves_the_file_of_before(self, tmp_path, monkeypatch):
        class Killed(BaseException):
            pass

        def die(source, destination):
            raise Killed

        run(tmp_path, PlotReport(["loss"]), iterations=4)
        before = (tmp_path / "plot.png").read_bytes()
        monkeypatch.setattr(os, "replace", die)
        with pytest.raises(Killed):
            run(tmp_path, PlotReport(["loss"], "epoch"))
        monkeypatch.undo()
        assert (tmp_path / "plot.png").read_bytes() == before
        assert os.listdir(tmp_path) == ["plot.png"]


class TestMatplotlib:
    def test_it_is_loaded_when_the_run_begins_and_pyplot_never(self, tmp_path):
        program = """
import sys
from holdfast.training import Trainer
from holdfast.training.extensions.plot_report import PlotReport
from training.fakes import CountingUpdater
assert PlotReport.available()
trainer = Trainer(CountingUpdater(4), (4, "iteration"), out=sys.argv[1], extensions=[PlotReport(["loss"])])
print("matplotlib" in sys.modules)
trainer.run()
print("matplotlib" in sys.modules, "matplotlib.pyplot" in sys.modules)
"""
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", program, str(tmp_path)]
        output = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
        assert output.split() == ["False", "True", "False"]
        assert os.listdir(tmp_path) == ["plot.png"]

    def test_without_it_nothing_is_drawn_and_a_later_run_that_has_it_draws_all(self, tmp_path, monkeypatch, look):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "matplotlib", None)
            with pytest.warns(UserWarning, match=r'pip install "holdfast\[plot\]"') as warned:
                assert PlotReport.available() is False
            assert warned[0].filename == __file__
            with pytest.warns(UserWarning, match=r'pip install "holdfast\[plot\]"') as warned:
                report = PlotReport(["loss"])
            assert warned[0].filename == __file__
            tree = tree_of(run(tmp_path, report, iterations=6))
            assert os.listdir(tmp_path) == []
        assert PlotReport.available() is True
        run(tmp_path, PlotReport(["loss"], postprocess=look), iterations=8, resume_from=tree)
        assert [x for x, _ in look.pictures[-1]["loss"]] == [4, 8]
        assert os.listdir(tmp_path) == ["plot.png"]

    def test_one_that_cannot_be_loaded_ends_the_run_before_its_first_update(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
        updater = CountingUpdater(4)
        trainer = Trainer(updater, (8, "iteration"), out=tmp_path, extensions=[PlotReport(["loss"])])
        with pytest.raises(ImportError, match=r'cannot be loaded .*pip install "holdfast\[plot\]"'):
            trainer.run()
        assert updater.iteration == 0


class TestResuming:
    def test_every_picture_is_the_same_bit_for_bit_wherever_the_run_was_stopped(self, tmp_path, monkeypatch):
        drawn = []
        monkeypatch.setattr(
            PlotReport, "_draw", lambda self, trainer, summary, name: drawn.append((name, json.dumps(self._data)))
        )

        def training(iterations, resume_from=None):
            seldom = reporting(seldom=lambda i: math.pi * i if i % 5 == 0 else None)
            report = PlotReport(["loss", "seldom"], trigger=(4, "iteration"), filename="{iteration}.png")
            return run(tmp_path, seldom, report, iterations=iterations, resume_from=resume_from)

        training(30)
        whole, drawn[:] = drawn[:], []
        assert len(whole) == 7
        for stop in range(1, 30):
            tree = tree_of(training(stop))
            training(30, resume_from=tree)
            assert drawn == whole
            drawn.clear()

    def test_the_files_are_the_same_to_the_byte(self, tmp_path):
        for out, stops in (("whole", [12]), ("cut", [6, 12])):
            tree = None
            for stop in stops:
                tree = tree_of(run(tmp_path / out, PlotReport(["loss"]), iterations=stop, resume_from=tree))
        assert (tmp_path / "whole" / "plot.png").read_bytes() == (tmp_path / "cut" / "plot.png").read_bytes()

    def test_the_points_are_under_chainers_key(self, tmp_path):
        report = PlotReport(["loss"], filename="loss.png")
        run(tmp_path, report, iterations=6)
        state = saved(report)
        assert set(state) == {
            *["_plot_loss.png", "_trigger/previous_iteration", "_trigger/previous_epoch_detail", "_summary/_names"],
            *["_summary/_summaries/0/_x", "_summary/_summaries/0/_x2", "_summary/_summaries/0/_n"],
        }
        assert json.loads(state["_plot_loss.png"]) == {"loss": [[4, pytest.approx(mean(1, 2, 3, 4))]]}
        assert saved(loaded(state, PlotReport(["loss"], filename="loss.png"))) == state

    def test_chainers_own_state_gives_the_points_and_the_next_mean_begins_there(self, tmp_path, caplog, look):
        points = {"loss": [[4, 0.25]], "other": [[4, 1.0]]}
        npz = DictionarySerializer()
        npz("_plot_plot.png", json.dumps(points))
        report = PlotReport(["loss", "new"], postprocess=look)
        with caplog.at_level(logging.INFO, "holdfast"):
            report.serialize(NpzDeserializer(npz.target))
        assert "PlotReport: the snapshot does not hold what was taken in since the last report" in caplog.text
        updater = CountingUpdater(4)
        trainer = Trainer(updater, (8, "iteration"), out=tmp_path, extensions=[report])
        updater.iteration = 6
        trainer.run()
        assert look.pictures == [{"loss": [[4, 0.25], [8, pytest.approx(mean(7, 8))]]}]

    def test_a_figure_of_another_name_does_not_keep_a_run_from_going_on(self, tmp_path, caplog):
        def training(name, iterations, state=None):
            report = PlotReport(["loss"], trigger=(2, "iteration"), filename=name)
            return run(tmp_path, report, iterations=iterations, resume_from=state)

        tree = tree_of(training("before.png", 5))
        with caplog.at_level(logging.INFO, "holdfast"):
            trainer = training("after.png", 8, tree)
        assert "the snapshot holds no points of a figure 'after.png'; the curves begin anew" in caplog.text
        state = saved(trainer.get_extension("PlotReport"))
        assert json.loads(state["_plot_after.png"])["loss"] == [
            [6, pytest.approx(mean(5, 6))],
            [8, pytest.approx(mean(7, 8))],
        ]

    def test_a_name_that_is_new_since_the_snapshot_begins_without_points(self, tmp_path):
        state = saved(PlotReport(["loss"]))
        report = loaded(state, PlotReport(["loss", "new"]))
        assert json.loads(saved(report)["_plot_plot.png"]) == {"loss": [], "new": []}

    def test_a_trigger_without_a_state_is_none_of_the_state(self):
        report = PlotReport(["loss"], trigger=lambda trainer: True)
        assert set(saved(report)) == {"_plot_plot.png", "_summary/_names"}

    def test_values_that_are_not_finite_stay_the_same(self, tmp_path):
        numbers = itertools.cycle([math.nan, math.inf, -math.inf])
        report = PlotReport("v", trigger=(1, "iteration"))
        run(tmp_path, reporting(v=lambda i: next(numbers)), report, iterations=3)
        assert str(saved(loaded(saved(report), PlotReport("v")))) == str(saved(report))
