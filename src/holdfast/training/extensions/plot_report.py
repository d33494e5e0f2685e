"""PlotReport: curves of what was reported, drawn anew with each point.

The points belong to the state, with what was taken in since the last one: a resumed run draws the picture of one that
was never stopped.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from holdfast.reporter import DictSummary
from holdfast.training.extension import Extension
from holdfast.training.extensions import figures
from holdfast.training.extensions.intervals import Means
from holdfast.training.extensions.output_files import COUNTED, counts, figure_name

if TYPE_CHECKING:
    from holdfast.training.trainer import Trainer

_log = logging.getLogger("holdfast")

Points = dict[str, list[list[float]]]
"""A name to its points, [x, y] each, oldest first."""

HEIGHT_IN = 3.4
LONGEST_Y = 30  # characters of the name of a y axis


class PlotReport(Extension):
    """Takes in what is reported in each iteration, and draws a curve of the means whenever `trigger` fires.

    One figure holds all names, with a gap wherever a mean is no finite number. Its y axis is logarithmic where every
    value is positive and the largest is a thousand times the smallest. At iteration 0 (with `call_before_training`) it
    draws whatever `trigger` says.

    Args:
        y_keys: the names to draw, or a single one. A name that is reported only now and then has fewer points.
        x_key: what they are drawn over: "iteration" or "epoch" (finished ones), or the name of a reported value.
        trigger: when to make a point: a trigger, or a pair such as (1, "epoch"). It is not the one that `extend` takes,
            by which values are taken in.
        postprocess: called with the figure, its axes (matplotlib's) and the DictSummary of this interval, before the
            legend is made and the file is written. It may change figure and axes; pyplot knows neither.
        filename: the file in the trainer's `out`, whose ending says the format; "plot.png" by default. It may hold
            the fields {iteration} and {epoch}: "loss_{epoch}.pdf" makes a file of its own for each epoch.
        marker: matplotlib's name for the mark at a point; None: no marks. A curve of more than 50 points has none, nor
            have more than seven curves, which are told apart by dashes.
        grid: draw a grid behind the curves.
        file_name: deprecated; means `filename`.

    Where matplotlib is not installed, nothing is drawn, as with Chainer. The points are kept all the same, and a
    resumed run that has it draws them.

    Raises:
        TypeError: a name is none, `trigger` is none, or both `filename` and `file_name` were given.
        ValueError: the trigger's period or unit is not one, or `filename` is no name.

    Warns:
        UserWarning: matplotlib is not installed.
    """

    def __init__(
        self,
        y_keys: Iterable[str] | str,
        x_key: str = "iteration",
        trigger: Any = (1, "epoch"),
        postprocess: Callable[[Any, Any, DictSummary], None] | None = None,
        filename: str | None = None,
        marker: Any = "x",
        grid: bool = True,
        *,
        file_name: str | None = None,
    ) -> None:
        self._y_keys = _names(y_keys)
        if not isinstance(x_key, str):
            raise TypeError(f"PlotReport: x_key must be a name such as 'iteration', not {x_key!r}")
        self._x_key = x_key
        self._postprocess = postprocess
        self._filename = figure_name("PlotReport", filename, file_name, "plot.png", COUNTED)
        self._marker = marker
        self._grid = grid
        self._data: Points = {key: [] for key in self._y_keys}
        self._means = Means("PlotReport", trigger, kept_by_chainer=False)
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
        self._means.initialize(trainer)
        if self._draws:
            figures.prepare("PlotReport", self._filename, self._marker)

    def __call__(self, trainer: Trainer) -> None:
        """Take in the values of this iteration; make a point and draw if it is time.

        Raises:
            KeyError: there is a point to make, and nothing was reported under `x_key`; says what was.
        """
        observation = trainer.observation
        wanted = [*self._y_keys, self._x_key]
        self._means.add({key: observation[key] for key in wanted if key in observation})
        if trainer.updater.iteration == 0 or self._means.ends(trainer):
            summary = self._means.take()
            means = {**summary.compute_mean(), **counts(trainer)}
            self._add_point(means, observation)
            if self._draws and any(self._data.values()):
                self._draw(trainer, summary, self._filename.format(**counts(trainer)))

    def serialize(self, serializer: Any) -> None:
        """Save or restore the points, under Chainer's key, and what was taken in since the last one. Chainer does not
        keep that: from a file of its own, the next mean begins here. Where `filename` was another one, the curves begin
        here, too, and the log says so."""
        try:
            found = json.loads(serializer(f"_plot_{self._filename}", json.dumps(self._data)))
        except KeyError:
            _log.info("PlotReport: the snapshot holds no points of a figure %r; the curves begin anew", self._filename)
            found = {}
        self._data = {key: [list(point) for point in found.get(key, [])] for key in self._y_keys}
        self._means.serialize(serializer)

    def _add_point(self, means: dict[str, float], observation: dict[str, Any]) -> None:
        found = [key for key in self._y_keys if key in means]
        if found and self._x_key not in means:
            seen = ", ".join(map(repr, sorted(observation))) or "nothing"
            raise KeyError(
                f"PlotReport draws over {self._x_key!r}, which was not reported in this interval as a number; reported "
                f"in this iteration: {seen}; 'iteration' is always there"
            )
        for key in found:
            self._data[key].append([means[self._x_key], means[key]])

    def _draw(self, trainer: Trainer, summary: DictSummary, filename: str) -> None:
        figure, axes = draw(self._data, self._x_key, self._marker, self._grid)
        size = tuple(figure.get_size_inches())
        if self._postprocess is not None:
            self._postprocess(figure, axes, summary)
        add_legend(figure, axes, grows=tuple(figure.get_size_inches()) == size)
        figures.write(figure, trainer.out, filename)


def draw(data: Points, x_key: str, marker: Any, grid: bool) -> tuple[Any, Any]:
    """A figure of all names that have points, without a legend; returns it and its axes."""
    shown = {key: np.array(points, dtype=np.float64) for key, points in data.items() if points}
    figure = figures.new_figure((figures.WIDTH_IN, HEIGHT_IN))
    axes = figure.add_subplot()
    figures.trim(axes, grid)
    if len(shown) > len(figures.COLOURS):
        marker = None  # it would hide the dashes
    for position, (key, points) in enumerate(shown.items()):
        rounds, colour = divmod(position, len(figures.COLOURS))
        style = figures.STYLES[rounds % len(figures.STYLES)]
        is_lost = len(shown) > 1 and not np.isfinite(points[:, 1]).any()
        label = f"{key} (no finite values)" if is_lost else key
        figures.draw_line(axes, points[:, 0], points[:, 1], label, marker, figures.COLOURS[colour], style)
    x, y = np.concatenate(list(shown.values())).T
    figures.scale_x(axes, x[np.isfinite(x)], whole=x_key in COUNTED)
    figures.scale_y(axes, y)
    axes.set_xlabel(x_key, fontsize=figures.TEXT_PT, parse_math=False)
    axes.set_ylabel(common_name(list(shown)), fontsize=figures.TEXT_PT, parse_math=False)
    return figure, axes


def add_legend(figure: Any, axes: Any, grows: bool) -> None:
    """A legend, unless there is one, or it would only repeat the name of the y axis."""
    everywhere = figure.get_axes()
    if figure.legends or any(one.get_legend() is not None for one in everywhere):
        return
    handles, labels = [], []
    for one in everywhere:
        more_handles, more_labels = one.get_legend_handles_labels()
        handles += more_handles
        labels += more_labels
    if labels and labels != [axes.get_ylabel()]:
        figures.add_legend(figure, handles, labels, grows=grows)


def common_name(keys: list[str]) -> str:
    """What a y axis of these names is called: the name, or its last part if all have it in common, if it is short."""
    found = {key if len(keys) == 1 and len(key) <= LONGEST_Y else key.rpartition("/")[2] for key in keys}
    name = found.pop()
    return name if not found and len(name) <= LONGEST_Y else "value"


def _names(y_keys: Iterable[str] | str) -> list[str]:
    names = [y_keys] if isinstance(y_keys, str) else y_keys
    if not isinstance(names, Iterable):
        raise TypeError(f"PlotReport: y_keys must be a list of names such as ['main/loss'], not {y_keys!r}")
    names = list(dict.fromkeys(names))
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"PlotReport: y_keys must be names, and {name!r} is none")
    return names
