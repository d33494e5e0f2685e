"""ProgressBar: how far the training is, how fast, and when it will end.

On a terminal it is drawn below everything that is printed; anywhere else, such as in the log of a cluster, it is a
plain line now and then.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from holdfast.training.extension import Extension
from holdfast.training.extensions import terminal
from holdfast.training.triggers.interval import AnyTrigger, IntervalTrigger, position_of, whole_intervals

if TYPE_CHECKING:
    from holdfast.training.trainer import Trainer

SHORTEST_PAUSE_S = 0.1  # between two drawings, however fast the iterations
LONGEST_PAUSE_S = 0.5  # the same, however slow
LINES_PAUSE_S = 3.0  # between two plain lines, at least
UNKNOWN_PAUSE_S = 60.0  # between two plain lines where nobody knows when the training ends
SAMPLES = 50  # readings that the speed is measured over

_clock = time.perf_counter


class ProgressBar(Extension):
    """Shows the finished part of the training and of the running epoch, iterations a second, and the time left.

    On a terminal, it is drawn after `update_interval` iterations, though at least twice and at most ten times a second.
    Elsewhere it prints a line for each tenth of the training, at most one in three seconds, and one at the end; where
    the length of the training is not known, one a minute.

    Args:
        training_length: where the training ends, such as (20, "epoch"); the trainer's stop trigger tells by default.
            Where that does not either, there is no bar for the whole.
        update_interval: iterations.
        bar_length: characters, where the terminal is wide enough.
        out: a stream; None is standard output.

    Raises:
        TypeError: `training_length` is no pair of a number and a unit.
        ValueError: its number is not above zero, or its unit is not one.
    """

    def __init__(
        self,
        training_length: tuple[float, str] | None = None,
        update_interval: int = 100,
        bar_length: int = 50,
        out: Any = None,
    ) -> None:
        self._training_length = None if training_length is None else IntervalTrigger(*training_length)
        self._update_interval = update_interval
        self._bar_length = bar_length
        self._out = out
        self._display: _Drawn | _Printed | None = None  # from the first call to the end

    def __call__(self, trainer: Trainer) -> None:
        """Show where the training is, if it is time."""
        now = _clock()
        if self._display is None:
            meter = _Meter(trainer, self._training_length)
            stream = terminal.standard_output(self._out)
            if terminal.is_terminal(stream):
                self._display = _Drawn(meter, terminal.Bars(stream), self._update_interval, self._bar_length, now)
            else:
                self._display = _Printed(meter, self._out, now)
        else:
            self._display.show(now)

    def finalize(self) -> None:
        """Take the bar off the terminal; elsewhere print the last line."""
        if self._display is not None:
            self._display.close(_clock())
            self._display = None


@dataclass(frozen=True, slots=True)
class _Reading:
    """Where a training is at one moment."""

    at_s: float
    iteration: int
    part: float | None  # of the training; None where its length is not known
    epoch_part: float | None  # of the running epoch; None where none are counted
    place: str  # "123 iter, 5 epoch / 20 epochs"
    pace: str  # "22.3 iters/sec. Estimated time to finish: 0:00:12."; empty at first


class _Meter:
    """Reads a trainer, and keeps the last readings to measure the speed by."""

    def __init__(self, trainer: Trainer, length: IntervalTrigger | None) -> None:
        self._trainer = trainer
        self._length = length
        self._samples: deque[tuple[float, int, float]] = deque(maxlen=SAMPLES)  # seconds, iteration, part

    def iteration(self) -> int:
        iteration: int = self._trainer.updater.iteration
        return iteration

    def part(self) -> float | None:
        lengths = self._lengths()
        return max((min(position_of(self._trainer, unit) / length, 1.0) for length, unit in lengths), default=None)

    def read(self, now: float) -> _Reading:
        updater = self._trainer.updater
        lengths, part = self._lengths(), self.part()
        self._samples.append((now, updater.iteration, part or 0.0))
        place = f"{updater.iteration:10} iter"
        detail = getattr(updater, "epoch_detail", None)
        if detail is not None:
            place += f", {int(detail)} epoch"
        if lengths:
            place += " / " + " or ".join(f"{length:g} {unit}s" for length, unit in lengths)
        epoch_part = None if detail is None else detail - int(detail)
        return _Reading(now, updater.iteration, part, epoch_part, place, self._pace(part))

    def _lengths(self) -> list[tuple[float, str]]:
        return _lengths(self._length or self._trainer.stop_trigger)

    def _pace(self, part: float | None) -> str:
        (begun, first, part_then), (now, last, _) = self._samples[0], self._samples[-1]
        if last == first or now <= begun:
            return ""
        pace = f"{(last - first) / (now - begun):10.5g} iters/sec."
        if part is None or part <= part_then:
            return pace
        left_s = (1.0 - part) * (now - begun) / (part - part_then)
        return f"{pace} Estimated time to finish: {timedelta(seconds=round(left_s))}."


class _Drawn:
    """Bars at the bottom of a terminal."""

    def __init__(self, meter: _Meter, bars: terminal.Bars, update_interval: int, length: int, now: float) -> None:
        self._meter = meter
        self._bars = bars
        self._update_interval = update_interval
        self._length = length
        self._last = self._draw(now)

    def show(self, now: float) -> None:
        enough = self._meter.iteration() - self._last.iteration >= self._update_interval
        if now - self._last.at_s >= (SHORTEST_PAUSE_S if enough else LONGEST_PAUSE_S):
            self._last = self._draw(now)

    def close(self, now: float) -> None:
        self._bars.close()

    def _draw(self, now: float) -> _Reading:
        reading = self._meter.read(now)
        parts = [("total", reading.part), ("this epoch", reading.epoch_part)]
        bars = [(label, part) for label, part in parts if part is not None]
        self._bars.draw(bars, self._length, [line for line in (reading.place, reading.pace) if line])
        return reading


class _Printed:
    """A plain line now and then; the first is due when another tenth is done."""

    def __init__(self, meter: _Meter, out: Any, now: float) -> None:
        self._meter = meter
        self._out = out
        self._last = meter.read(now)
        self._last_line_at = -1  # iteration

    def show(self, now: float) -> None:
        if now - self._last.at_s < LINES_PAUSE_S:
            return
        part = self._meter.part()
        if part is None:
            due = now - self._last.at_s >= UNKNOWN_PAUSE_S
        else:
            due = whole_intervals(part, 0.1) > whole_intervals(self._last.part or 0.0, 0.1)
        if due:
            self._print(self._meter.read(now))

    def close(self, now: float) -> None:
        if self._meter.iteration() != self._last_line_at:
            self._print(self._meter.read(now))

    def _print(self, reading: _Reading) -> None:
        part = "" if reading.part is None else f"{reading.part:7.2%} "
        terminal.write_line(self._out, f"{part}{reading.place}  {reading.pace}".rstrip())
        self._last, self._last_line_at = reading, reading.iteration


def _lengths(trigger: Any) -> list[tuple[float, str]]:
    """Where a training with this stop trigger ends, at the latest: at whichever of these comes first."""
    if isinstance(trigger, AnyTrigger):
        return [length for one in trigger.triggers for length in _lengths(one)]
    tell = getattr(trigger, "get_training_length", None)
    return [] if tell is None else [tell()]
