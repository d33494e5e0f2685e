"""What the figures of extensions have in common: they need no screen, leave pyplot's global state alone, can be read at
a width of 600 pixels and in print, and are written wholly or not at all.

matplotlib is loaded when the first figure is due.
"""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from holdfast.training.extensions.output_files import replacing

Array = np.ndarray[Any, Any]

WIDTH_IN = 6.0
PAD_IN = 0.08  # to the left and the right
DPI = 200  # 1200 pixels wide: sharp in print, and still clear at half the size
TEXT_PT = 10
SMALL_PT = 9
LONGEST_LINE = 64  # characters of a legend's label; one more does not fit WIDTH_IN
MOST_COLUMNS = 4  # of a legend
MARKED = 50  # points of a line, at most, that are marked: more marks are a smear
MARK_PT = 4.5
THICK = 500  # points of a line, at most, that is drawn thick

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Told apart with any kind of colour vision. Source: M. Okabe and K. Ito, "Color Universal Design", 2008; their yellow
is left out, since it is too faint for a line on white."""

STYLES = ("-", "--", ":", "-.")  # the next one each time that the colours begin anew

DECADES = 1000.0
"""From this ratio of the largest value to the smallest on, an axis of positive values is logarithmic: on a linear one
everything below a thousandth looks like zero."""


def check_available(stacklevel: int) -> bool:
    """Whether matplotlib is installed. Warns where it is not; `stacklevel` counts from the function that calls this, as
    in `warnings.warn`."""
    found = importlib.util.find_spec("matplotlib") is not None
    if not found:
        warnings.warn(
            'matplotlib is not installed, so nothing will be plotted: pip install "holdfast[plot]"',
            stacklevel=stacklevel + 1,
        )
    return found


def prepare(owner: str, filename: str, marker: Any) -> None:
    """Load matplotlib and see that it can write such a figure: before the run, and not when the first one is due.

    Raises:
        ImportError: it is installed, but cannot be loaded.
        ValueError: it knows no format of the file's ending, or no such marker.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.markers import MarkerStyle
    except ImportError as error:
        raise ImportError(
            f"{owner}: matplotlib is installed, but cannot be loaded ({error}); make a fresh environment and "
            'pip install "holdfast[plot]"'
        ) from error
    known = FigureCanvasAgg.get_supported_filetypes()
    if format_of(filename) not in known:
        raise ValueError(
            f"{owner}: matplotlib writes no figure named {filename!r}; it must end in one of "
            f"{', '.join('.' + one for one in sorted(known))}"
        )
    if marker is not None:
        try:
            MarkerStyle(marker)
        except ValueError as error:
            raise ValueError(f"{owner}: {marker!r} is no marker that matplotlib knows: {error}") from None


def new_figure(size_in: tuple[float, float]) -> Any:
    """An empty figure of (width, height) inches that arranges what it holds by itself."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=size_in, dpi=DPI, layout=ConstrainedLayoutEngine(w_pad=PAD_IN))
    FigureCanvasAgg(figure)
    return figure


def trim(axes: Any, grid: bool) -> None:
    """Take what shows no data off the axes; `grid` puts faint lines behind it."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=SMALL_PT)
    axes.margins(x=0.02)
    if grid:
        axes.grid(color="0.88", linewidth=0.6)
        axes.set_axisbelow(True)


def draw_line(axes: Any, x: Array, y: Array, label: str, marker: Any, colour: str, style: str = "-") -> None:
    """A line with a gap wherever a value is not finite; what stands between two gaps is marked in any case."""
    shown = np.where(np.isfinite(y), y, np.nan)
    marker = marker if len(x) <= MARKED else None
    axes.plot(
        *(x, shown), label=f" {label}" if label.startswith("_") else label,  # "_" would keep it out of the legend
        color=colour, linestyle=style, linewidth=1.5 if len(x) <= THICK else 1.0, marker=marker, markersize=MARK_PT,
    )  # fmt: skip
    alone = np.isfinite(shown)
    alone[1:] &= np.isnan(shown[:-1])
    alone[:-1] &= np.isnan(shown[1:])
    if marker is None and alone.any():
        axes.plot(x[alone], shown[alone], color=colour, linestyle="none", marker=".", markersize=MARK_PT)


def scale_x(axes: Any, x: Array, *, whole: bool, ticks: int = 8) -> None:
    """Limits that hold all of these positions, also those that have no finite value, and ticks; a single position, and
    nothing else, has a tick.

    Args:
        x: finite.
        whole: positions are whole numbers, and ticks too.
        ticks: at most.
    """
    from matplotlib.ticker import MaxNLocator, ScalarFormatter

    formatter = ScalarFormatter(useOffset=False, useMathText=True)
    formatter.set_powerlimits((-4, 6))
    axes.xaxis.set_major_formatter(formatter)
    axes.xaxis.get_offset_text().set_size(SMALL_PT)
    axes.update_datalim(np.column_stack([x, x]), updatey=False)
    if x.size and x.min() == x.max():
        axes.set_xlim(x[0] - 1, x[0] + 1)
        axes.set_xticks([x[0]])
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=ticks - 1, steps=[1, 2, 5, 10], integer=whole))


def scale_y(axes: Any, y: Array) -> None:
    """A logarithmic axis where the values ask for one, see DECADES; else one whose labels are the values themselves,
    and no differences from an offset. Says so where none is finite."""
    from matplotlib.ticker import ScalarFormatter

    finite = y[np.isfinite(y)]
    if not finite.size:
        axes.set_yticks([])
        middle = {"transform": axes.transAxes, "ha": "center", "va": "center"}
        axes.text(0.5, 0.5, "no finite values", color="0.4", size=TEXT_PT, **middle)
    elif finite.min() > 0 and finite.max() / DECADES >= finite.min():
        axes.set_yscale("log")
    else:
        formatter = ScalarFormatter(useOffset=False, useMathText=True)
        formatter.set_powerlimits((-3, 5))
        axes.yaxis.set_major_formatter(formatter)
        axes.yaxis.get_offset_text().set_size(SMALL_PT)


def add_legend(
    figure: Any, handles: Sequence[Any], labels: Sequence[str], *, grows: bool, by_row: bool = False
) -> None:
    """A legend above everything else, in as many columns as there is room for.

    Args:
        grows: the figure becomes so much higher; else what is below becomes lower.
        by_row: it is read row by row; else column by column.
    """
    wrapped = [wrap(label) for label in labels]
    renderer = figure.canvas.get_renderer()
    for columns in range(min(len(labels), MOST_COLUMNS), 0, -1):
        places = [place for start in range(columns) for place in range(start, len(labels), columns)]
        places = places if by_row else sorted(places)
        legend = figure.legend(
            *([handles[place] for place in places], [wrapped[place] for place in places]),
            loc="outside upper left", ncols=columns, frameon=False, fontsize=SMALL_PT,
            handlelength=1.6, columnspacing=1.2, borderaxespad=0.2, labelspacing=0.3,
        )  # fmt: skip
        for text in legend.get_texts():
            text.set_parse_math(False)  # a "$" in a name is a "$"
        extent = legend.get_window_extent(renderer)
        if columns == 1 or extent.width <= figure.bbox.width:
            break
        legend.remove()
    if grows:
        width, height = figure.get_size_inches()
        figure.set_size_inches(width, height + extent.height / figure.dpi)


def write(figure: Any, out: str | os.PathLike[str], filename: str) -> None:
    """Write the file, in the format of its ending; ".png" is appended where it has none."""
    name = filename if os.path.splitext(filename)[1] else f"{filename}.png"
    with replacing(out, name) as partial:
        figure.savefig(partial, format=format_of(name), dpi=figure.dpi)


def format_of(filename: str) -> str:
    """The format of a file of that name, as matplotlib calls it."""
    return os.path.splitext(filename)[1][1:].lower() or "png"


def wrap(label: str) -> str:
    """A label in lines of at most LONGEST_LINE characters, broken behind a "/" where there is one."""
    lines = []
    while len(label) > LONGEST_LINE:
        end = label.rfind("/", LONGEST_LINE // 2, LONGEST_LINE) + 1 or LONGEST_LINE
        lines.append(label[:end])
        label = label[end:]
    return "\n".join([*lines, label])
