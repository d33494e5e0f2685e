"""Several bars on one terminal."""

from __future__ import annotations

import pytest

from holdfast.training.extensions import terminal
from training.extensions.test_progress_bar import Terminal


@pytest.fixture
def screen(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    return Terminal()


def texts(screen):
    return [line.split()[0] for line in screen.shown()]


def test_bars_stand_below_each_other_and_each_goes_by_itself(screen):
    first = terminal.Bars(screen)
    first.draw([("training", 0.5)], 20, ["7 iter"])
    second = terminal.Bars(screen)
    second.draw([("validation", 0.25)], 20, [])
    assert texts(screen) == ["training", "7", "validation"]
    first.draw([("training", 0.75)], 20, ["8 iter"])
    assert texts(screen) == ["training", "8", "validation"]
    terminal.write_line(screen, "a row")
    assert texts(screen) == ["a", "training", "8", "validation"]
    second.close()
    assert texts(screen) == ["a", "training", "8"]
    terminal.write_line(screen, "b row")
    assert texts(screen) == ["a", "b", "training", "8"]
    first.close()
    first.close()
    assert texts(screen) == ["a", "b"]


def test_the_first_may_go_before_the_second(screen):
    first = terminal.Bars(screen)
    first.draw([("training", 0.5)], 20, [])
    second = terminal.Bars(screen)
    first.close()
    second.draw([("validation", 0.25)], 20, [])
    terminal.write_line(screen, "a row")
    assert texts(screen) == ["a", "validation"]
    second.close()
    third = terminal.Bars(screen)
    third.draw([("third", 0.25)], 20, [])
    assert texts(screen) == ["a", "third"]
    third.close()
    assert texts(screen) == ["a"]
