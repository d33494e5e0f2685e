"""VariableStatisticsPlot: how the values of parameters and of their gradients are distributed, over the iterations.

The sample that is drawn belongs to the state: a resumed run draws the picture of one that was never stopped.
"""

from __future__ import annotations

import logging
import numbers
from typing import TYPE_CHECKING, Any

import numpy as np

from holdfast.training.extension import Extension
from holdfast.training.extensions import figures
from holdfast.training.extensions.intervals import Interval
from holdfast.training.extensions.output_files import COUNTED, counts, figure_name
from holdfast.training.extensions.variable_statistics import (
    Reservoir,
    Statistician,
    has_grad,
    part_of,
    variables_of,
)

if TYPE_CHECKING:
    from holdfast.training.trainer import Trainer

_log = logging.getLogger("holdfast")

PANEL_IN = 2.2  # the height of a row of panels
LINE = figures.COLOURS[0]


class VariableStatisticsPlot(Extension):
    """Takes the statistics of variables in each iteration, and draws them over the iterations whenever `trigger` fires.

    A column of panels shows the values, another one their gradients: above, the mean with the standard deviation on
    both sides; below, bands between percentiles. All elements of all targets are looked at together. Where there is no
    gradient yet, or an element is NaN, there is a gap.

    Of more iterations than `max_sample_size` a random sample is kept, in which each iteration has the same chance. It
    follows from the count of iterations alone: no random generator of the training is disturbed, and a resumed run
    draws the same.

    Args:
        targets: Chainer's variables and links, torch's tensors, parameters and modules, numpy arrays, which have no
            gradients; or a list of such.
        max_sample_size: the most iterations that are kept.
        report_data: draw the values.
        report_grad: draw the gradients.
        plot_mean: draw the mean.
        plot_std: draw the standard deviation of the population.
        percentile_sigmas: which percentiles to draw, from 0 to 100; a number or several; none of them: ().
        trigger: when to draw: a trigger, or a pair such as (1, "epoch"). It is not the one that `extend` takes, by
            which statistics are taken.
        filename: the file in the trainer's `out`, whose ending says the format; "statistics.png" by default. It may
            hold the fields {iteration} and {epoch}.
        figsize: (width, height) of the figure in inches.
        marker: matplotlib's name for the mark at a point of a line; None: no marks. A line of more than 50 points has
            none.
        grid: draw a grid behind the curves.
        file_name: deprecated; means `filename`.

    Where matplotlib is not installed, it does nothing, as with Chainer.

    Raises:
        TypeError: an argument is of the wrong kind, or both `filename` and `file_name` were given.
        ValueError: there is nothing to look at or to draw, or an argument is none that there can be.

    Warns:
        UserWarning: matplotlib is not installed.
    """

    def __init__(
        self,
        targets: Any,
        max_sample_size: int = 1000,
        report_data: bool = True,
        report_grad: bool = True,
        plot_mean: bool = True,
        plot_std: bool = True,
        percentile_sigmas: Any = (0, 0.13, 2.28, 15.87, 50, 84.13, 97.72, 99.87, 100),
        trigger: Any = (1, "epoch"),
        filename: str | None = None,
        figsize: tuple[float, float] | None = None,
        marker: Any = None,
        grid: bool = True,
        *,
        file_name: str | None = None,
    ) -> None:
        self._vars = variables_of(targets)
        if not self._vars:
            raise ValueError("VariableStatisticsPlot: targets must hold at least one variable, and hold none")
        if isinstance(max_sample_size, bool) or not hasattr(type(max_sample_size), "__index__"):
            raise TypeError(f"VariableStatisticsPlot: max_sample_size must be an int, not {max_sample_size!r}")
        if max_sample_size < 1:
            raise ValueError(f"VariableStatisticsPlot: max_sample_size must be 1 or more, not {max_sample_size}")
        self._statistician = Statistician(plot_mean, plot_std, _percentiles(percentile_sigmas))
        wanted = {"data": report_data, "grad": report_grad and any(map(has_grad, self._vars))}
        self._keys = [part for part, is_wanted in wanted.items() if is_wanted]
        columns = self._statistician.columns
        if not self._keys or not columns:
            raise ValueError(
                "VariableStatisticsPlot: nothing to plot: of report_data and report_grad (which numpy arrays do not "
                "have), and of plot_mean, plot_std and percentile_sigmas, one each is needed"
            )
        self._interval = Interval(trigger, kept_by_chainer=False)
        self._filename = figure_name("VariableStatisticsPlot", filename, file_name, "statistics.png", COUNTED)
        self._figsize = figsize
        self._marker = marker
        self._grid = grid
        self._samples = self._no_samples(int(max_sample_size))
        self._draws = figures.check_available(stacklevel=2)

    @staticmethod
    def available() -> bool:
        """Whether matplotlib is installed; warns where it is not."""
        return figures.check_available(stacklevel=2)

    def initialize(self, trainer: Trainer) -> None:
        """Load matplotlib.

        Raises:
            ImportError: it is installed, but cannot be loaded.
            ValueError: it knows no format of the file's ending, or no such marker.
        """
        self._interval.initialize(trainer)
        if self._draws:
            figures.prepare("VariableStatisticsPlot", self._filename, self._marker)

    def __call__(self, trainer: Trainer) -> None:
        """Take the statistics of this iteration; draw if it is time.

        Raises:
            TypeError: a variable is of complex numbers.
        """
        if not self._draws:
            return
        self._samples.add([self._statistics_of(key) for key in self._keys], trainer.updater.iteration)
        if self._interval.ends(trainer):
            figure = self._drawn()
            figures.write(figure, trainer.out, self._filename.format(**counts(trainer)))

    def serialize(self, serializer: Any) -> None:
        """Save or restore the sample. One of another size, or of other statistics, is left out: the sample begins
        anew, and the log says so."""
        self._interval.serialize(serializer)
        samples = serializer["_samples"]
        columns = "_".join([str(self._samples.size), *self._keys, *self._statistician.columns])  # what an item is
        try:
            if getattr(serializer, "loading", False) and columns not in samples:
                raise KeyError(columns)
            self._samples.serialize(samples[columns])
        except KeyError:
            _log.info("VariableStatisticsPlot: the snapshot holds no sample of %s; the sample begins anew", columns)
            self._samples = self._no_samples(self._samples.size)

    def _no_samples(self, size: int) -> Reservoir:
        return Reservoir(size, (len(self._keys), len(self._statistician.columns)))

    def _statistics_of(self, key: str) -> figures.Array:
        found = [part_of(variable, key) for variable in self._vars]
        return self._statistician([part for part in found if part is not None])

    def _drawn(self) -> Any:
        idxs, data = self._samples.get_data()
        moments = int(self._statistician.collect_mean) + int(self._statistician.collect_std)
        rows = [moments > 0, len(self._statistician.percentile_sigmas) > 0]
        size = self._figsize or (figures.WIDTH_IN, 0.5 + PANEL_IN * sum(rows))
        figure = figures.new_figure(size)
        panels = figure.subplots(sum(rows), len(self._keys), sharex=True, squeeze=False)
        for column, key in enumerate(self._keys):
            panels[0, column].set_title(key, fontsize=figures.TEXT_PT)
            panels[-1, column].set_xlabel("iteration", fontsize=figures.TEXT_PT)
            if rows[0]:
                self._draw_moments(panels[0, column], idxs, data[:, column, :moments])
            if rows[1]:
                self._draw_percentiles(panels[-1, column], idxs, data[:, column, moments:])
        for panel in panels.flat:
            figures.trim(panel, self._grid)
            figures.scale_x(panel, idxs, whole=True, ticks=8 // len(self._keys))
        for panel, name in zip(panels[:, 0], self._names_of_rows(), strict=True):
            panel.set_ylabel(name, fontsize=figures.TEXT_PT)
        figure.align_ylabels(panels[:, 0])
        _add_legend(figure, panels[:, 0], grows=self._figsize is None)
        return figure

    def _names_of_rows(self) -> list[str]:
        statistician = self._statistician
        moments = [name for name in statistician.columns if name in ("mean", "std")]
        return [
            *([" ± ".join(moments)] if moments else []),
            *(["percentiles"] if statistician.percentile_sigmas else []),
        ]

    def _draw_moments(self, axes: Any, idxs: figures.Array, data: figures.Array) -> None:
        if data.shape[1] == 2:
            mean, std = data.astype(np.float64).T
            self._draw_line(axes, idxs, mean, "mean")  # above the band all the same
            _draw_band(axes, idxs, mean - std, mean + std, _shade(0.25), "± std")
            figures.scale_y(axes, np.concatenate([mean - std, mean + std]))
        else:
            self._draw_line(axes, idxs, data[:, 0], self._statistician.columns[0])
            figures.scale_y(axes, data)

    def _draw_percentiles(self, axes: Any, idxs: figures.Array, data: figures.Array) -> None:
        names = self._statistician.percentile_sigmas
        bands = len(names) // 2
        if len(names) % 2:
            middle = names[bands]
            self._draw_line(axes, idxs, data[:, bands], "median" if middle == 50 else f"{middle:g} %")
        for position in range(bands):
            label = f"{names[position]:g}\N{EN DASH}{names[-position - 1]:g} %"
            shade = _shade(0.15 + 0.5 * position / bands)
            _draw_band(axes, idxs, data[:, position], data[:, -position - 1], shade, label)
        figures.scale_y(axes, data)

    def _draw_line(self, axes: Any, x: figures.Array, y: figures.Array, label: str) -> None:
        figures.draw_line(axes, x, y, label, self._marker, LINE)


def _draw_band(axes: Any, x: figures.Array, low: figures.Array, high: figures.Array, colour: Any, label: str) -> None:
    if len(x) == 1:  # a band has a width
        x, low, high = np.array([x[0] - 0.4, x[0] + 0.4]), np.repeat(low, 2), np.repeat(high, 2)
    axes.fill_between(x, low, high, color=colour, linewidth=0.5, label=label)  # what lasts one iteration is seen, too


def _shade(strength: float) -> tuple[float, ...]:
    """The colour of the lines, so strong on white."""
    from matplotlib.colors import to_rgb

    return tuple(1 - strength * (1 - part) for part in to_rgb(LINE))


def _add_legend(figure: Any, panels: Any, grows: bool) -> None:
    """A legend, unless it would only repeat the name of the y axis."""
    found = [panel.get_legend_handles_labels() for panel in panels]
    handles = [handle for some, _ in found for handle in some]
    labels = [label for _, some in found for label in some]
    if labels != [panel.get_ylabel() for panel in panels]:
        figures.add_legend(figure, handles, labels, grows=grows, by_row=True)


def _percentiles(given: Any) -> tuple[float, ...]:
    """In rising order."""
    if given is None or (isinstance(given, numbers.Real) and not given):
        return ()
    wanted = [given] if isinstance(given, numbers.Real) else given
    try:
        found = tuple(sorted({float(one) for one in wanted}))
    except (TypeError, ValueError):
        raise TypeError(
            f"VariableStatisticsPlot: percentile_sigmas must be numbers from 0 to 100, not {given!r}"
        ) from None
    for one in found:
        if not 0 <= one <= 100:
            raise ValueError(f"VariableStatisticsPlot: percentile_sigmas must be from 0 to 100, and {one:g} is not")
    return found
