from __future__ import annotations

import logging
import os
import struct
import sys
import types

import numpy as np
import pytest

from holdfast.training import Trainer
from holdfast.training.extensions.variable_statistics_plot import VariableStatisticsPlot
from training.fakes import CountingUpdater
from training.serializers import loaded, restored, saved, tree_of

pytest.importorskip("matplotlib")


class Variable(types.SimpleNamespace):
    """As Chainer's: an array and its gradient, either of which may be missing yet."""


class MovingUpdater(CountingUpdater):
    """Moves a variable with each update, as the count says."""

    def __init__(self, variable=None):
        super().__init__(4)
        self.variable = Variable(data=None, grad=None) if variable is None else variable

    def update(self):
        super().update()
        draw = np.random.default_rng(self.iteration)
        self.variable.data, self.variable.grad = draw.normal(size=(3, 7)), draw.normal(size=(3, 7)) / self.iteration


@pytest.fixture
def figures_drawn(monkeypatch):
    """Every figure that is drawn."""
    drawn = []
    draw = VariableStatisticsPlot._drawn

    def keep(self):
        drawn.append(draw(self))
        return drawn[-1]

    monkeypatch.setattr(VariableStatisticsPlot, "_drawn", keep)
    return drawn


def run(out, make, iterations=4, resume_from=None, variable=None):
    updater = MovingUpdater(variable)
    extension = make(updater.variable)
    trainer = Trainer(updater, (iterations, "iteration"), out=out, extensions=[extension])
    if resume_from is not None:
        restored(resume_from, trainer)
    trainer.run(show_loop_exception_msg=False)
    return trainer


def labels_of(figure):
    labels = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    return [label.replace("\N{EN DASH}", " to ") for label in labels]


def line_of(axes, label):
    [line] = [line for line in axes.get_lines() if line.get_label() == label]
    return line


class TestPicture:
    def test_it_has_moments_above_percentiles_below_and_gradients_beside(self, tmp_path, figures_drawn):
        run(tmp_path, VariableStatisticsPlot, iterations=8)
        assert os.listdir(tmp_path) == ["statistics.png"]
        assert len(figures_drawn) == 2
        panels = figures_drawn[-1].get_axes()
        assert [(panel.get_title(), panel.get_ylabel(), panel.get_xlabel()) for panel in panels] == [
            *[("data", "mean ± std", ""), ("grad", "", "")],
            *[("", "percentiles", "iteration"), ("", "", "iteration")],
        ]
        assert labels_of(figures_drawn[-1]) == [  # column by column, of four
            *["mean", "0.13 to 99.87 %", "± std", "2.28 to 97.72 %", "median", "15.87 to 84.13 %", "0 to 100 %"]
        ]

    def test_it_shows_the_statistics_of_each_iteration(self, tmp_path, figures_drawn):
        run(tmp_path, VariableStatisticsPlot)
        draws = [np.random.default_rng(i).normal(size=(2, 3, 7)) / [[[1]], [[i]]] for i in range(1, 5)]
        for panel, part in zip(figures_drawn[-1].get_axes(), (0, 1), strict=False):
            mean = line_of(panel, "mean")
            assert mean.get_xdata().tolist() == list(range(1, 5))
            assert mean.get_ydata() == pytest.approx([draw[part].mean() for draw in draws], rel=1e-5)
        median = line_of(figures_drawn[-1].get_axes()[2], "median")
        assert median.get_ydata() == pytest.approx([np.median(draw[0]) for draw in draws], rel=1e-5)

    @pytest.mark.parametrize(
        ("options", "titles", "labels"),
        [
            ({"report_grad": False, "percentile_sigmas": ()}, ["data"], ["mean", "± std"]),
            ({"report_data": False, "plot_std": False, "percentile_sigmas": 0}, ["grad"], []),
            ({"plot_mean": False, "percentile_sigmas": None}, ["data", "grad"], []),
            (
                {"plot_mean": False, "plot_std": False, "percentile_sigmas": (75, 25)},
                ["data", "grad"],
                ["25 to 75 %"],
            ),
            ({"plot_mean": False, "plot_std": False, "percentile_sigmas": 90}, ["data", "grad"], ["90 %"]),
        ],
    )
    def test_only_what_is_wanted_is_drawn(self, tmp_path, figures_drawn, options, titles, labels):
        run(tmp_path, lambda variable: VariableStatisticsPlot(variable, **options))
        assert [panel.get_title() for panel in figures_drawn[-1].get_axes()] == titles
        assert labels_of(figures_drawn[-1]) == labels

    def test_gradients_that_are_not_there_yet_are_a_gap_and_not_zero(self, tmp_path, figures_drawn):
        variable = Variable(data=None, grad=None)

        class Late(MovingUpdater):
            def update(self):
                super().update()
                if self.iteration < 4:
                    variable.grad = None

        updater = Late(variable)
        Trainer(updater, (4, "iteration"), out=tmp_path, extensions=[VariableStatisticsPlot(variable)]).run()
        mean = line_of(figures_drawn[-1].get_axes()[1], "mean")
        assert np.isnan(mean.get_ydata()).tolist() == [True, True, True, False]

    def test_a_panel_without_a_finite_value_says_so(self, tmp_path, figures_drawn):
        weights = np.ones(3)

        class Frozen:
            data, grad = weights, None

        run(tmp_path, lambda variable: VariableStatisticsPlot(Frozen()))
        texts = [[text.get_text() for text in panel.texts] for panel in figures_drawn[-1].get_axes()]
        assert texts == [[], ["no finite values"], [], ["no finite values"]]

    def test_arrays_have_no_column_of_gradients(self, tmp_path, figures_drawn):
        run(tmp_path, lambda variable: VariableStatisticsPlot([np.arange(4.0)]))
        assert [panel.get_title() for panel in figures_drawn[-1].get_axes()] == ["data", ""]

    def test_a_single_iteration_has_a_tick_and_bands_with_a_width(self, tmp_path, figures_drawn):
        run(tmp_path, lambda variable: VariableStatisticsPlot(variable, trigger=(1, "iteration")), iterations=1)
        panel = figures_drawn[-1].get_axes()[2]
        assert list(panel.get_xticks()) == [1]
        assert all(np.ptp(band.get_paths()[0].vertices[:, 0]) > 0.5 for band in panel.collections)

    def test_the_legend_overlaps_nothing_and_lies_within_the_figure(self, tmp_path, figures_drawn):
        run(tmp_path, VariableStatisticsPlot)
        figure = figures_drawn[-1]
        figure.canvas.draw()
        box = figure.legends[0].get_window_extent()
        assert not any(box.overlaps(panel.get_tightbbox()) for panel in figure.get_axes())
        assert figure.bbox.contains(box.x0, box.y0)
        assert figure.bbox.contains(box.x1, box.y1)

    def test_its_size_may_be_given(self, tmp_path):
        run(tmp_path, lambda variable: VariableStatisticsPlot(variable, figsize=(4, 3)))
        assert struct.unpack(">II", (tmp_path / "statistics.png").read_bytes()[16:24]) == (800, 600)

    def test_modules_of_torch_are_looked_at(self, tmp_path, figures_drawn):
        torch = pytest.importorskip("torch")
        module = torch.nn.Linear(3, 2)
        module(torch.ones(1, 3)).sum().backward()
        run(tmp_path, lambda variable: VariableStatisticsPlot(module), iterations=4)
        values = np.concatenate([p.detach().numpy().ravel() for p in module.parameters()])
        panels = figures_drawn[-1].get_axes()
        assert line_of(panels[0], "mean").get_ydata() == pytest.approx([values.mean()] * 4)
        assert line_of(panels[1], "mean").get_ydata() == pytest.approx([1.0] * 4)


class TestArguments:
    @pytest.mark.parametrize(
        ("options", "error", "said"),
        [
            ({"targets": []}, ValueError, "at least one variable"),
            ({"targets": "model"}, TypeError, "and a str is none of these"),
            ({"max_sample_size": 0}, ValueError, "max_sample_size must be 1 or more, not 0"),
            ({"max_sample_size": 2.5}, TypeError, "max_sample_size must be an int, not 2.5"),
            ({"report_grad": True, "report_data": False}, ValueError, "nothing to plot"),
            ({"plot_mean": False, "plot_std": False, "percentile_sigmas": ()}, ValueError, "nothing to plot"),
            ({"percentile_sigmas": (50, 101)}, ValueError, "from 0 to 100, and 101 is not"),
            ({"percentile_sigmas": "many"}, TypeError, "must be numbers from 0 to 100, not 'many'"),
            ({"filename": "{loss}.png"}, ValueError, "asks for 'loss'"),
            ({"filename": "a.png", "file_name": "b.png"}, TypeError, "both given"),
        ],
    )
    def test_what_cannot_be_is_refused(self, options, error, said):
        with pytest.raises(error, match=said):
            VariableStatisticsPlot(**{"targets": np.ones(3), **options})

    def test_chainers_old_name_of_the_file_still_works(self, tmp_path):
        with pytest.warns(DeprecationWarning, match="file_name is deprecated; use filename") as warned:
            extension = VariableStatisticsPlot(np.ones(3), file_name="old.png")
        assert warned[0].filename == __file__
        run(tmp_path, lambda variable: extension)
        assert os.listdir(tmp_path) == ["old.png"]

    def test_the_name_may_say_where_the_training_was(self, tmp_path):
        run(tmp_path, lambda variable: VariableStatisticsPlot(variable, filename="at/{epoch}_{iteration}.svg"))
        assert os.listdir(tmp_path / "at") == ["1_4.svg"]

    def test_without_matplotlib_it_warns_and_does_nothing(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        with pytest.warns(UserWarning, match=r'pip install "holdfast\[plot\]"') as warned:
            assert VariableStatisticsPlot.available() is False
        assert warned[0].filename == __file__
        with pytest.warns(UserWarning, match="nothing will be plotted") as warned:
            extension = VariableStatisticsPlot(np.ones(3))
        assert warned[0].filename == __file__
        run(tmp_path, lambda variable: extension)
        assert os.listdir(tmp_path) == []

    def test_a_file_that_matplotlib_cannot_write_is_refused_before_the_first_update(self, tmp_path):
        updater = MovingUpdater()
        extension = VariableStatisticsPlot(updater.variable, filename="statistics.txt")
        trainer = Trainer(updater, (4, "iteration"), out=tmp_path, extensions=[extension])
        with pytest.raises(ValueError, match=r"VariableStatisticsPlot: .*no figure named 'statistics.txt'"):
            trainer.run()
        assert updater.iteration == 0


class TestResuming:
    def test_every_picture_is_the_same_wherever_the_run_was_stopped(self, tmp_path, monkeypatch):
        drawn = []

        def note(self):
            drawn.append([part.tolist() for part in self._samples.get_data()])
            return types.SimpleNamespace(savefig=lambda path, **options: open(path, "w").close(), dpi=1)

        monkeypatch.setattr(VariableStatisticsPlot, "_drawn", note)

        def make(variable):
            return VariableStatisticsPlot(variable, max_sample_size=5, trigger=(4, "iteration"))

        run(tmp_path, make, iterations=30)
        whole, drawn[:] = drawn[:], []
        assert len(whole) == 7
        assert [len(idxs) for idxs, _ in whole] == [4, 5, 5, 5, 5, 5, 5]
        for stop in range(1, 30):
            tree = tree_of(run(tmp_path, make, iterations=stop))
            run(tmp_path, make, iterations=30, resume_from=tree)
            assert drawn == whole
            drawn.clear()

    def test_the_files_are_the_same_to_the_byte(self, tmp_path):
        for out, stops in (("whole", [4]), ("cut", [2, 4])):
            tree = None
            for stop in stops:
                tree = tree_of(run(tmp_path / out, VariableStatisticsPlot, iterations=stop, resume_from=tree))
        files = [tmp_path / out / "statistics.png" for out in ("whole", "cut")]
        assert files[0].read_bytes() == files[1].read_bytes()

    def test_the_state_is_arrays_and_numbers_that_any_serializer_takes(self, tmp_path):
        trainer = run(tmp_path, lambda variable: VariableStatisticsPlot(variable, 5, percentile_sigmas=(25.5, 75)))
        extension = trainer.get_extension("VariableStatisticsPlot")
        state = saved(extension)
        sample = "_samples/5_data_grad_mean_std_25.5_75"
        assert set(state) == {
            *["_trigger/previous_iteration", "_trigger/previous_epoch_detail"],
            *[f"{sample}/data", f"{sample}/idxs", f"{sample}/counter"],
        }
        assert state[f"{sample}/data"].shape == (5, 2, 4)
        other = loaded(state, VariableStatisticsPlot(Variable(data=None, grad=None), 5, percentile_sigmas=(75, 25.5)))
        again = saved(other)
        assert all(np.array_equal(again[key], value) for key, value in state.items())

    @pytest.mark.parametrize("options", [{"max_sample_size": 4}, {"percentile_sigmas": (50,)}, {"report_grad": False}])
    def test_a_sample_of_other_statistics_is_left_out(self, tmp_path, caplog, options):
        tree = tree_of(run(tmp_path, VariableStatisticsPlot, iterations=3))
        with caplog.at_level(logging.INFO, "holdfast"):
            trainer = run(tmp_path, lambda variable: VariableStatisticsPlot(variable, **options), 6, resume_from=tree)
        assert "the snapshot holds no sample of" in caplog.text
        idxs, _ = trainer.get_extension("VariableStatisticsPlot")._samples.get_data()
        assert idxs.tolist() == [4, 5, 6]
