"""One terminal for progress bars and for everybody who prints lines: the lines go above the bars, whole.

`import rich` happens only when a bar is drawn, and only on a terminal.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

BESIDE_A_BAR = 20  # characters of a label, a percentage and the gaps between

_bottoms: dict[int, _Bottom] = {}
"""Where bars are drawn now, by the identity of the stream. Process-wide, as terminals are."""


def standard_output(stream: Any) -> Any:
    """The stream itself; for None the standard output stream of this moment. Seen through what rich puts before it."""
    if stream is None:
        stream = sys.stdout
    return getattr(stream, "rich_proxied_file", stream)


def is_terminal(stream: Any) -> bool:
    """Whether lines on `stream` can be drawn over: rich's own answer heeds variables that are meant for colours."""
    isatty = getattr(stream, "isatty", None)
    if isatty is None or not isatty():
        return False
    return os.name == "nt" or os.environ.get("TERM", "") not in ("", "dumb", "unknown")


def write_line(stream: Any, line: str) -> None:
    """Write `line` and a newline: above the bars, if any are drawn on `stream`.

    Args:
        stream: anything with `write`; None: standard output.
        line: plain text, without a newline; longer than the terminal is wide, it goes on in the next row.
    """
    stream = standard_output(stream)
    bottom = _bottoms.get(id(stream))
    if bottom is not None:
        from rich.text import Text

        bottom.console.print(Text(line), soft_wrap=True)
        return
    stream.write(line + "\n")
    flush = getattr(stream, "flush", None)
    if flush is not None:
        flush()


class Bars:
    """A few lines at the bottom of a terminal that are drawn again and again, while others print above them.

    Where there are such lines already, these go below them. What is printed to the standard streams goes above all of
    them too, where they are terminals. Nothing is drawn in the background: it stays as it is until the next `draw`, and
    is gone after `close`.
    """

    def __init__(self, stream: Any) -> None:
        self._bottom = _bottoms.get(id(stream)) or _Bottom(stream)
        self._bottom.show(self, [])

    def draw(self, bars: Sequence[tuple[str, float]], length: int, lines: Sequence[str]) -> None:
        """Draw these instead of the last ones.

        Args:
            bars: labels, and how full each bar is, from 0 to 1.
            length: characters that a bar takes, where the terminal is wide enough.
            lines: plain text below the bars; cut where the terminal ends.
        """
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 1))
        length = max(1, min(length, self._bottom.console.width - BESIDE_A_BAR))
        for label, fraction in bars:
            bar = ProgressBar(total=1.0, completed=fraction, width=length)
            table.add_row(f"{label:>10}", bar, f"{fraction:7.2%}")
        below = [Text(line, no_wrap=True, overflow="crop") for line in lines]
        self._bottom.show(self, [table, *below])

    def close(self) -> None:
        """Remove it from the terminal; the last one also gives the standard streams back."""
        self._bottom.remove(self)


class _Bottom:
    """What all Bars of one stream have drawn, in the order in which they first did."""

    def __init__(self, stream: Any) -> None:
        from rich.console import Console
        from rich.live import Live

        self._key = id(stream)
        self._stream = stream  # held, so that no other can take its id
        self._parts: dict[Bars, list[Any]] = {}
        self.console = Console(file=stream, force_terminal=True)
        self._live = Live(
            console=self.console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=is_terminal(sys.stdout),
            redirect_stderr=is_terminal(sys.stderr),
        )
        self._live.start()
        self.console.show_cursor(True)  # rich hides it, and after a kill nothing would bring it back
        _bottoms[self._key] = self

    def show(self, bars: Bars, rows: list[Any]) -> None:
        self._parts[bars] = rows
        if rows:
            self._draw()

    def remove(self, bars: Bars) -> None:
        if self._parts.pop(bars, None) is None:
            return  # it is closed already
        if self._parts:
            self._draw()
        else:
            _bottoms.pop(self._key, None)
            self._live.stop()

    def _draw(self) -> None:
        from rich.console import Group

        self._live.update(Group(*[row for part in self._parts.values() for row in part]), refresh=True)
