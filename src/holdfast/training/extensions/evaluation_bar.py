"""The bar of an Evaluator: how much of the data it has seen, how fast, and when it will be through.

As that of a whole training: drawn on a terminal, and elsewhere a plain line now and then.
"""

from __future__ import annotations

import time
from datetime import timedelta
from types import TracebackType
from typing import Any

from holdfast.training.extensions import terminal
from holdfast.training.extensions.progress_bar import LINES_PAUSE_S, SHORTEST_PAUSE_S, UNKNOWN_PAUSE_S
from holdfast.training.triggers.interval import whole_intervals

BAR_LENGTH = 50  # characters, where the terminal is wide enough

_clock = time.perf_counter


class EvaluationBar:
    """Shows one evaluation from `with` to its end; nothing of it stays on a terminal.

    On a terminal it is drawn at most ten times a second. Elsewhere it prints a line for each tenth, at most one in
    three seconds; where the length is not known, one a minute. So an evaluation of a moment prints none.

    Args:
        label: what is evaluated.
        iterator: tells by `epoch_detail`, or by its length, how much of it is done; where it has neither, no part and
            no time is shown.
        out: a stream; None is standard output.
    """

    def __init__(self, label: str, iterator: Any, out: Any = None) -> None:
        self._label = label
        self._iterator = iterator
        self._out = out
        self._batches = 0
        self._bars: terminal.Bars | None = None

    def __enter__(self) -> EvaluationBar:
        self._begun_s = self._last_s = _clock()
        self._last_part = 0.0
        stream = terminal.standard_output(self._out)
        if terminal.is_terminal(stream):
            self._bars = terminal.Bars(stream)
            self._draw(self._bars, self._last_s)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.close()
            self._bars = None

    def update(self) -> None:
        """One more batch is done."""
        self._batches += 1
        now = _clock()
        if self._bars is not None:
            if now - self._last_s >= SHORTEST_PAUSE_S:
                self._draw(self._bars, now)
        elif now - self._last_s >= LINES_PAUSE_S:
            part = self._part()
            if part is None:
                due = now - self._last_s >= UNKNOWN_PAUSE_S
            else:
                due = whole_intervals(part, 0.1) > whole_intervals(self._last_part, 0.1)
            if due:
                text = "" if part is None else f"{part:7.2%} "
                terminal.write_line(self._out, f"{text}{self._label} {self._place()}  {self._pace(now)}".rstrip())
                self._last_s, self._last_part = now, part or 0.0

    def _draw(self, bars: terminal.Bars, now: float) -> None:
        part = self._part()
        lines = [line for line in (self._place(), self._pace(now)) if line]
        bars.draw([] if part is None else [(self._label, part)], BAR_LENGTH, lines)
        self._last_s = now

    def _part(self) -> float | None:
        detail = getattr(self._iterator, "epoch_detail", None)
        if detail is not None:
            return min(max(float(detail), 0.0), 1.0)
        length = self._length()
        return min(self._batches / length, 1.0) if length else None

    def _length(self) -> int | None:
        """Batches; None where nobody knows, or the iterator counts its epochs and its length means something else."""
        if hasattr(self._iterator, "epoch_detail"):
            return None
        try:
            return len(self._iterator)
        except TypeError:  # it has none, or, as a DataLoader of a stream, cannot tell it
            return None

    def _place(self) -> str:
        length = self._length()
        return f"{self._batches:10} batches" if length is None else f"{self._batches:10} / {length} batches"

    def _pace(self, now: float) -> str:
        seconds = now - self._begun_s
        if not self._batches or seconds <= 0:
            return ""
        pace = f"{self._batches / seconds:10.5g} batches/sec."
        part = self._part()
        if not part:
            return pace
        return f"{pace} Estimated time to finish: {timedelta(seconds=round(seconds * (1 - part) / part))}."
