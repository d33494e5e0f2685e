from __future__ import annotations

import io
import re
import sys

import pytest

from holdfast.training import Trainer
from holdfast.training.extensions import LogReport, PrintReport, ProgressBar, terminal
from holdfast.training.triggers import every
from training.fakes import CountingUpdater


class Terminal(io.StringIO):
    """A terminal that shows what was written to it, as lines of text."""

    def __init__(self):
        super().__init__()
        self.lines = [""]
        self.row = self.column = 0
        self.cursor_is_hidden = False
        self.seen = []  # what was shown whenever `look` was called, as an extension

    def look(self, trainer):
        self.seen.append(self.shown())

    def isatty(self):
        return True

    def write(self, text):
        for part in re.findall(r"\033\[\??[\d;]*[A-Za-z]|[\r\n]|[^\033\r\n]+", text):
            self._take(part)
        return super().write(text)

    def _take(self, part):
        if part == "\n":
            self.row, self.column = self.row + 1, 0
            while len(self.lines) <= self.row:
                self.lines.append("")
        elif part == "\r":
            self.column = 0
        elif re.fullmatch(r"\033\[\d*A", part):
            self.row -= int(part[2:-1] or 1)
        elif part == "\033[2K":
            self.lines[self.row] = ""
        elif part in ("\033[?25l", "\033[?25h"):
            self.cursor_is_hidden = part.endswith("l")
        elif not part.startswith("\033"):
            line = self.lines[self.row].ljust(self.column)
            self.lines[self.row] = line[: self.column] + part + line[self.column + len(part) :]
            self.column += len(part)
        else:
            assert part.endswith("m"), f"this terminal does not know {part!r}"

    def shown(self):
        return [line.rstrip() for line in self.lines if line.strip()]


@pytest.fixture
def screen(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    return Terminal()


class Timed(CountingUpdater):
    """Iterations that take a time."""

    def __init__(self, clock, seconds, iterations_an_epoch=10):
        super().__init__(iterations_an_epoch)
        self.clock, self.seconds = clock, seconds

    def update(self):
        self.clock.now += self.seconds
        super().update()


class TimedWithoutEpochs(Timed):
    @property
    def epoch_detail(self):
        raise AttributeError("no epochs")


@pytest.fixture
def run(tmp_path):
    def run(updater, *extensions, stop=(40, "iteration")):
        trainer = Trainer(updater, stop, out=tmp_path, extensions=extensions)
        trainer.run()
        return trainer

    return run


def ending(after):
    """A stop trigger that does not tell where the training ends."""
    return lambda trainer: trainer.updater.iteration >= after


class TestWithoutATerminal:
    def test_a_line_is_printed_for_each_tenth(self, run, clock):
        out = io.StringIO()
        run(Timed(clock, 1.0), ProgressBar(out=out))
        lines = out.getvalue().splitlines()
        assert [line.split()[0] for line in lines] == [f"{tenth}0.00%" for tenth in range(1, 11)]
        assert lines[0] == (
            " 10.00%          4 iter, 0 epoch / 40 iterations           1 iters/sec. Estimated time to finish: 0:00:36."
        )
        assert lines[-1].endswith(
            "40 iter, 4 epoch / 40 iterations           1 iters/sec. Estimated time to finish: 0:00:00."
        )

    def test_lines_are_three_seconds_apart(self, run, clock):
        out = io.StringIO()
        run(Timed(clock, 0.25), ProgressBar(out=out))
        assert [line.split()[1] for line in out.getvalue().splitlines()] == ["13", "25", "37", "40"]

    def test_a_run_of_a_moment_prints_its_end_alone(self, run, clock):
        out = io.StringIO()
        run(Timed(clock, 0.001), ProgressBar(out=out))
        assert [line.split()[:2] for line in out.getvalue().splitlines()] == [["100.00%", "40"]]

    def test_a_run_that_fails_says_how_far_it_came(self, run, clock):
        out = io.StringIO()

        def fail(trainer):
            if trainer.updater.iteration == 7:
                raise OSError("no data")

        with pytest.raises(OSError, match="no data"):
            run(Timed(clock, 0.001), ProgressBar(out=out), fail)
        assert out.getvalue().split()[:3] == ["17.50%", "7", "iter,"]

    def test_a_training_of_unknown_length_prints_a_line_a_minute(self, run, clock):
        out = io.StringIO()
        run(Timed(clock, 25.0), ProgressBar(out=out), stop=ending(10))
        lines = out.getvalue().splitlines()
        assert [line.split()[0] for line in lines] == ["4", "7", "10"]
        assert lines[0] == "         4 iter, 0 epoch        0.04 iters/sec."

    def test_one_that_is_resumed_begins_with_the_next_tenth_and_its_own_speed(self, run, clock):
        out = io.StringIO()
        updater = Timed(clock, 4.0)
        updater.iteration = 30
        run(updater, ProgressBar(out=out))
        lines = out.getvalue().splitlines()
        assert [line.split()[1] for line in lines] == ["32", "36", "40"]
        assert "0.25 iters/sec. Estimated time to finish: 0:00:32." in lines[0]

    def test_no_control_characters_are_written_even_where_colours_are_forced(self, run, clock, monkeypatch):
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("TTY_COMPATIBLE", "1")
        out = io.StringIO()
        run(Timed(clock, 1.0), ProgressBar(out=out))
        assert "\033" not in out.getvalue()

    @pytest.mark.parametrize("kind", ["dumb", ""])
    def test_a_terminal_that_cannot_be_drawn_on_gets_plain_lines(self, run, clock, screen, monkeypatch, kind):
        monkeypatch.setenv("TERM", kind)
        run(Timed(clock, 1.0), ProgressBar(out=screen))
        assert "\033" not in screen.getvalue()
        assert len(screen.shown()) == 10

    def test_rich_is_not_loaded(self, run, clock, monkeypatch):
        for name in [name for name in sys.modules if name.split(".")[0] == "rich"]:
            monkeypatch.delitem(sys.modules, name)
        run(Timed(clock, 1.0), ProgressBar(out=io.StringIO()))
        assert "rich" not in sys.modules


class TestLength:
    @pytest.mark.parametrize(
        ("stop", "given", "said", "part"),
        [
            ((3, "epoch"), None, "/ 3 epochs", "16.67%"),
            (every(seconds=20), None, "/ 20 seconds", "25.00%"),
            (every(seconds=20) | (3, "epoch"), None, "/ 20 seconds or 3 epochs", "25.00%"),
            (ending(40), (50, "iteration"), "/ 50 iterations", "10.00%"),
            ((3, "epoch"), (2.5, "epoch"), "/ 2.5 epochs", "20.00%"),
        ],
    )
    def test_it_is_given_or_the_stop_trigger_tells_it(self, run, clock, screen, stop, given, said, part):
        run(Timed(clock, 1.0), ProgressBar(given, out=screen), screen.look, stop=stop)
        total, _, place, _ = screen.seen[4]
        assert total.endswith(part)
        assert place.endswith(said)

    @pytest.mark.parametrize(
        ("wrong", "error"), [((0, "epoch"), ValueError), ((3, "day"), ValueError), ((3,), TypeError)]
    )
    def test_a_wrong_one_is_refused(self, wrong, error):
        with pytest.raises(error):
            ProgressBar(wrong)


class TestOnATerminal:
    def test_two_bars_and_two_lines_are_drawn(self, run, clock, screen):
        run(
            Timed(clock, 1.0),
            ProgressBar(out=screen, bar_length=20),
            screen.look,
            stop=(3, "epoch"),
        )
        total, epoch, place, pace = screen.seen[16]
        assert re.fullmatch(r"     total [━╸╺ ]{20}  56.67%", total)
        assert re.fullmatch(r"this epoch [━╸╺ ]{20}  70.00%", epoch)
        assert place == "        17 iter, 1 epoch / 3 epochs"
        assert pace == "         1 iters/sec. Estimated time to finish: 0:00:13."

    def test_nothing_stays_of_it_and_the_cursor_was_never_hidden(self, run, clock, screen):
        hidden = []
        run(Timed(clock, 1.0), ProgressBar(out=screen), lambda trainer: hidden.append(screen.cursor_is_hidden))
        assert screen.shown() == []
        assert hidden == [False] * 40

    def test_nothing_stays_of_it_when_the_run_fails(self, run, clock, screen):
        def fail(trainer):
            raise OSError("no data")

        with pytest.raises(OSError, match="no data"):
            run(Timed(clock, 1.0), ProgressBar(out=screen), fail)
        assert screen.shown() == []

    def test_rows_of_a_table_stay_whole_above_it(self, run, clock, screen, monkeypatch):
        monkeypatch.setattr(sys, "stdout", screen)
        table = PrintReport(["epoch", "iteration"])
        run(Timed(clock, 1.0), LogReport(), table, ProgressBar(), screen.look)
        rows = ["epoch       iteration", *[f"{epoch}           {epoch}0" for epoch in range(1, 5)]]
        assert screen.shown() == rows
        assert [line[:10].strip() for line in screen.seen[25]] == ["epoch", "1", "2", "total", "this epoch", "26", "1"]
        assert sys.stdout is screen

    def test_a_table_on_the_same_stream_by_name_stays_whole_too(self, run, clock, screen):
        run(Timed(clock, 1.0), ProgressBar(out=screen), LogReport(), PrintReport(["epoch"], out=screen))
        assert screen.shown() == ["epoch", "1", "2", "3", "4"]

    def test_a_line_longer_than_the_terminal_is_not_broken_up(self, run, clock, screen):
        report = LogReport(postprocess=lambda row: row.update(note="word " * 30))
        run(Timed(clock, 1.0), ProgressBar(out=screen), report, PrintReport(["note"], out=screen))
        assert screen.shown()[1] == ("word " * 30).rstrip()

    def test_what_anybody_prints_goes_above_it_in_whole_lines(self, run, clock, screen, monkeypatch):
        monkeypatch.setattr(sys, "stdout", screen)
        talk = lambda trainer: print("iteration", trainer.updater.iteration, "[bold]", ":smile:")  # noqa: E731
        run(Timed(clock, 1.0), ProgressBar(), talk, stop=(3, "iteration"))
        assert screen.shown() == [f"iteration {i} [bold] :smile:" for i in (1, 2, 3)]

    def test_an_error_stream_that_is_a_file_stays_one(self, run, clock, screen, monkeypatch):
        errors = io.StringIO()
        monkeypatch.setattr(sys, "stdout", screen)
        monkeypatch.setattr(sys, "stderr", errors)
        run(Timed(clock, 1.0), ProgressBar(), lambda trainer: print("careful", file=sys.stderr), stop=(2, "iteration"))
        assert errors.getvalue() == "careful\ncareful\n"

    @pytest.mark.parametrize(
        ("seconds", "update_interval", "drawn"),
        [
            (1 / 64, 1, [1, 8, 15, 22, 29, 36]),  # ten times a second at most
            (1 / 64, 25, [1, 26]),
            (1 / 8, 1000, list(range(1, 41, 4))),  # twice a second at least
            (2.0, 1000, list(range(1, 41))),
        ],
    )
    def test_it_is_drawn_as_often_as_it_is_worth(
        self, run, clock, screen, monkeypatch, seconds, update_interval, drawn
    ):
        places = []
        real = terminal.Bars.draw

        def draw(self, bars, length, lines):
            places.append(int(lines[0].split()[0]))
            real(self, bars, length, lines)

        monkeypatch.setattr(terminal.Bars, "draw", draw)
        run(Timed(clock, seconds), ProgressBar(out=screen, update_interval=update_interval))
        assert places == drawn

    def test_a_training_without_epochs_and_of_unknown_length_has_no_bars(self, run, clock, screen):
        run(
            TimedWithoutEpochs(clock, 1.0),
            ProgressBar(out=screen),
            screen.look,
            stop=ending(3),
        )
        assert screen.seen[2] == ["         3 iter", "         1 iters/sec."]

    def test_a_narrow_terminal_has_a_shorter_bar(self, run, clock, screen, monkeypatch):
        monkeypatch.setenv("COLUMNS", "40")
        run(Timed(clock, 1.0), ProgressBar(out=screen), screen.look)
        assert all(len(line) <= 40 for lines in screen.seen for line in lines)
        assert len(screen.seen[5][0]) > 30
