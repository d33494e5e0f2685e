"""What a reader sees in the figures of PlotReport."""

from __future__ import annotations

import math
import struct

import pytest

from holdfast import reporter
from holdfast.training import make_extension
from holdfast.training.extensions import plot_report
from holdfast.training.extensions.plot_report import PlotReport
from training.extensions.plotting import Looking, reporting, run

pytest.importorskip("matplotlib")


@pytest.fixture
def look():
    return Looking()


def test_one_curve_is_named_at_its_axis_alone(tmp_path, look):
    run(tmp_path, PlotReport(["main/loss"], postprocess=look), reporting(main__loss=float))
    assert look.axes.get_ylabel() == "main/loss"
    assert look.legend == []


def test_one_curve_of_a_long_name_has_a_legend_since_the_axis_is_too_short(tmp_path, look):
    name = "validation/a_data_set_of_a_long_name/main/loss"
    run(tmp_path, reporting(**{name.replace("/", "__"): float}), PlotReport([name], postprocess=look))
    assert look.axes.get_ylabel() == "loss"
    assert look.legend == [name]


@pytest.mark.parametrize(
    ("names", "axis"),
    [
        (["a/loss", "b/c/loss"], "loss"),
        (["loss", "a/loss"], "loss"),
        (["lr", "a/loss"], "value"),
        (["a/" + "x" * 31, "b/" + "x" * 31], "value"),
    ],
)
def test_several_have_a_legend_and_the_axis_what_they_have_in_common(tmp_path, look, names, axis):
    values = reporting(**{name.replace("/", "__"): float for name in names})
    run(tmp_path, values, PlotReport(names, postprocess=look))
    assert look.axes.get_ylabel() == axis
    assert look.legend == names


@pytest.mark.parametrize("names", [["a", "b"], [f"validation/main/{i}" for i in range(20)], ["x" * 130, "y" * 70]])
def test_the_legend_overlaps_nothing_and_lies_within_the_figure(tmp_path, look, names):
    values = reporting(**{name.replace("/", "__"): float for name in names})
    run(tmp_path, values, PlotReport(names, postprocess=look))
    figure = look.figure
    figure.canvas.draw()
    [legend] = figure.legends
    box, axes = legend.get_window_extent(), look.axes.get_tightbbox()
    assert not box.overlaps(axes)
    assert figure.bbox.contains(box.x0, box.y0)
    assert figure.bbox.contains(box.x1, box.y1)
    assert axes.height > 0.8 * 3.4 * figure.dpi
    assert "".join(look.legend).replace("\n", "") == "".join(names)


def test_names_are_shown_as_they_are(tmp_path, look):
    names = ["_hidden", "cost$a$b", r"\alpha"]

    @make_extension(priority=300)
    def values(trainer):
        reporter.report(dict.fromkeys(names, 1.0))

    run(tmp_path, values, PlotReport(names, postprocess=look))
    assert [text.strip() for text in look.legend] == names
    assert not any(text.get_parse_math() for text in look.figure.legends[0].get_texts())


def test_no_two_of_28_curves_look_the_same():
    _, axes = plot_report.draw({str(i): [[1, i], [2, i]] for i in range(28)}, "iteration", "x", True)
    assert len({(line.get_color(), line.get_linestyle()) for line in axes.get_lines()}) == 28


def test_what_is_not_finite_is_a_gap_and_what_stands_alone_a_mark():
    given = [1.0, math.nan, 3.0, math.inf, 5.0, 6.0, -math.inf, math.nan]
    _, axes = plot_report.draw({"v": [[i, y] for i, y in enumerate(given, 1)]}, "iteration", None, True)
    line, alone = axes.get_lines()
    assert str(line.get_ydata().tolist()) == "[1.0, nan, 3.0, nan, 5.0, 6.0, nan, nan]"
    assert alone.get_xdata().tolist() == [1, 3]
    assert alone.get_marker() == "."
    low, high = axes.get_xlim()
    assert low <= 1
    assert high >= 8  # what is missing at the end is seen to be missing


def test_a_picture_of_no_finite_value_says_so(tmp_path, look):
    run(tmp_path, reporting(v=lambda i: math.nan), PlotReport(["v"], postprocess=look), iterations=8)
    assert [text.get_text() for text in look.axes.texts] == ["no finite values"]
    assert list(look.axes.get_yticks()) == []
    assert look.axes.get_xlim()[1] >= 8


def test_a_curve_of_no_finite_value_beside_others_is_named_so(tmp_path, look):
    run(tmp_path, reporting(v=lambda i: math.nan), PlotReport(["loss", "v"], postprocess=look))
    assert look.legend == ["loss", "v (no finite values)"]


@pytest.mark.parametrize(
    ("function", "scale"),
    [
        (lambda i: 10.0**-i, "log"),
        (lambda i: 10.0**i, "log"),
        (lambda i: 1.0 / i, "linear"),
        (lambda i: 10.0**-i if i < 8 else 0.0, "linear"),
        (lambda i: -(10.0**i), "linear"),
        (lambda i: 10.0 ** (50 * i - 201), "log"),
    ],
)
def test_an_axis_is_logarithmic_where_the_values_are_positive_and_far_apart(function, scale):
    _, axes = plot_report.draw({"v": [[i, function(i)] for i in range(1, 9)]}, "iteration", "x", True)
    assert axes.get_yscale() == scale


@pytest.mark.parametrize("value", [0.0, 1e-12, 123456.0, 1e300])
def test_a_single_point_has_a_tick_of_its_own(tmp_path, look, value):
    run(tmp_path, reporting(v=lambda i: value), PlotReport("v", postprocess=look), iterations=4)
    assert list(look.axes.get_xticks()) == [4]
    low, high = look.axes.get_ylim()
    assert low < value < high


@pytest.mark.parametrize(("points", "curves", "marker"), [(50, 7, "x"), (51, 7, "None"), (50, 8, "None")])
def test_many_points_or_curves_have_no_marks(points, curves, marker):
    data = {str(name): [[i, name + i] for i in range(points)] for name in range(curves)}
    _, axes = plot_report.draw(data, "iteration", "x", True)
    assert [line.get_marker() for line in axes.get_lines()] == [marker] * curves


def test_marks_and_grid_can_be_left_out(tmp_path, look):
    run(tmp_path, PlotReport("loss", postprocess=look, marker=None, grid=False))
    assert look.axes.get_lines()[0].get_marker() == "None"
    assert not any(line.get_visible() for line in look.axes.get_xgridlines())


def test_postprocess_may_make_the_legend_and_the_size_itself(tmp_path):
    def change(figure, axes, summary):
        axes.set_yscale("log")
        axes.legend(["mine"], loc="lower left")
        figure.set_size_inches(3, 2)

    run(tmp_path, PlotReport(["loss"], postprocess=change))
    assert struct.unpack(">II", (tmp_path / "plot.png").read_bytes()[16:24]) == (600, 400)


def test_a_curve_that_postprocess_adds_is_in_the_legend(tmp_path, look):
    def add(figure, axes, summary):
        axes.twinx().plot([4, 8], [1, 2], label="rate")
        look(figure, axes, summary)

    run(tmp_path, PlotReport(["loss"], postprocess=add))
    assert look.legend == ["loss", "rate"]
