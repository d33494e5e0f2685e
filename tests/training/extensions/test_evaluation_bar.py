from __future__ import annotations

import io
import sys

import numpy as np
import pytest

from holdfast.iterators import BatchIterator
from holdfast.training.extensions import evaluation_bar, terminal
from holdfast.training.extensions.evaluation_bar import EvaluationBar
from holdfast.training.extensions.evaluator import Evaluator


class Screen(io.StringIO):
    def isatty(self):
        return True


class TestEvaluationBar:
    @pytest.fixture
    def now(self, monkeypatch):
        """Seconds; a test moves them."""
        clock = [100.0]
        monkeypatch.setattr(evaluation_bar, "_clock", lambda: clock[0])
        return clock

    @pytest.fixture
    def screen(self, monkeypatch):
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.setenv("COLUMNS", "100")
        return Screen()

    @pytest.fixture
    def drawn(self, monkeypatch):
        """What every bar was made to show."""
        shown = []
        real = terminal.Bars.draw

        def draw(self, bars, length, lines):
            shown.append((list(bars), list(lines)))
            real(self, bars, length, lines)

        monkeypatch.setattr(terminal.Bars, "draw", draw)
        return shown

    def go(self, now, screen, iterator, batches, seconds):
        with EvaluationBar("validation", iterator, screen) as bar:
            for _ in range(batches):
                now[0] += seconds
                bar.update()

    def test_it_shows_the_part_the_batches_and_the_time_left(self, now, screen, drawn):
        self.go(now, screen, [0] * 8, 2, 0.5)
        assert drawn[0] == ([("validation", 0.0)], ["         0 / 8 batches"])
        assert drawn[2] == (
            [("validation", 0.25)],
            ["         2 / 8 batches", "         2 batches/sec. Estimated time to finish: 0:00:03."],
        )
        assert "validation" in screen.getvalue()

    def test_it_is_drawn_ten_times_a_second_at_most(self, now, screen, drawn):
        self.go(now, screen, [0] * 32, 32, 1 / 32)
        assert [lines[0].split()[0] for _, lines in drawn] == ["0", "4", "8", "12", "16", "20", "24", "28", "32"]

    def test_an_iterator_may_tell_its_place(self, now, screen, drawn):
        iterator = BatchIterator(np.arange(8), 2, repeat=False)
        with EvaluationBar("validation", iterator, screen) as bar:
            for _ in iterator:
                now[0] += 1
                bar.update()
        assert [bars[0][1] for bars, _ in drawn] == [0, 0.25, 0.5, 0.75, 1]
        assert drawn[1][1][0] == "         1 batches"

    def test_one_that_cannot_tell_has_no_bar(self, now, screen, drawn):
        self.go(now, screen, iter(()), 2, 1)
        assert drawn[2] == ([], ["         2 batches", "         1 batches/sec."])

    def test_elsewhere_a_line_is_printed_for_each_tenth_and_at_most_one_in_three_seconds(self, now):
        out = io.StringIO()
        self.go(now, out, [0] * 40, 40, 1)
        lines = out.getvalue().splitlines()
        assert [line.split()[0] for line in lines] == [f"{tenth}0.00%" for tenth in range(1, 11)]
        assert lines[0] == (
            " 10.00% validation          4 / 40 batches           1 batches/sec. Estimated time to finish: 0:00:36."
        )
        self.go(now, out, [0] * 40, 40, 0.01)
        assert out.getvalue().splitlines() == lines

    def test_elsewhere_one_of_unknown_length_prints_a_line_a_minute(self, now):
        out = io.StringIO()
        self.go(now, out, iter(()), 10, 25)
        assert [line.split()[1] for line in out.getvalue().splitlines()] == ["3", "6", "9"]

    @pytest.mark.parametrize("fails", [False, True])
    def test_an_evaluator_shows_it_while_it_runs_and_no_longer(self, now, screen, monkeypatch, fails):
        monkeypatch.setattr(sys, "stdout", screen)
        closed = []
        real = terminal.Bars.close
        monkeypatch.setattr(terminal.Bars, "close", lambda self: closed.append(self) or real(self))

        def measure(batch):
            assert closed == []
            if fails:
                raise OSError("no data")
            now[0] += 1

        evaluator = Evaluator([1, 2], measure, progress_bar=True)
        if fails:
            with pytest.raises(OSError, match="no data"):
                evaluator()
        else:
            evaluator()
        assert len(closed) == 1
        assert "validation" in screen.getvalue()
        assert sys.stdout is screen

    def test_without_it_nothing_is_drawn_or_printed(self, drawn, capsys):
        Evaluator([1, 2], lambda batch: {"value": batch})()
        assert drawn == []
        assert capsys.readouterr() == ("", "")
