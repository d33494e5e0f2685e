"""What a run of the campaigns found: a table for the terminal, rows for docs/reliability.md, and a JSON file.

The page keeps the row of a campaign that was not run this time.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from rich.table import Table

from faults.promises import Promise

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reliability.md"

_TITLES = ("", "to stand", "run", "bad", "seconds", "when", "notes")
_ALIGNED = ("---", "---:", "---:", "---:", "---:", "---", "---")
_UNFIT = re.compile(r"[|`\s]+")  # for a cell of a table; a name in backticks would have to be a file


@dataclass(frozen=True)
class Row:
    """What came of one campaign."""

    id: str
    state: Literal["done", "unavailable", "failed", "hung"]
    wanted: int  # cases that were asked for
    tried: int = 0
    bad: int = 0
    seconds: float = 0.0
    notes: str = ""
    sentences: tuple[str, ...] = ()  # of the bad cases

    @property
    def is_good(self) -> bool:
        """Whether the promise stood."""
        return self.state == "done" and self.bad == 0

    @property
    def verdict(self) -> str:
        """The number of bad cases, or why there is none."""
        return f"{self.bad:,}" if self.state == "done" else self.state


def table(rows: Iterable[Row], promises: Sequence[Promise]) -> Table:
    """For the terminal."""
    words = {promise.id: promise for promise in promises}
    found = Table(title="make faults")
    for title, justify in (("promise", "left"), ("to stand", "right"), ("run", "right"), ("bad", "right"),
                           ("seconds", "right"), ("notes", "left")):  # fmt: skip
        found.add_column(title, justify=justify)  # type: ignore[arg-type]
    for row in rows:
        promise = words[row.id]
        style = "" if row.is_good else "yellow" if row.state == "unavailable" else "bold red"
        found.add_row(f"{row.id} {promise.words}", to_stand(promise), f"{row.tried:,} {promise.unit}", row.verdict,
                      f"{row.seconds:,.0f}", row.notes, style=style)  # fmt: skip
    return found


def to_stand(promise: Promise) -> str:
    """The count that a promise is to stand, in words."""
    return "all" if promise.whole else f"{promise.long:,}"


def lines(rows: Iterable[Row], promises: Sequence[Promise], page: str, when: str) -> list[str]:
    """The table of the page: the rows of this run, and those that stand there already for the other promises."""
    by_id = {row.id: row for row in rows}
    there = {found[1]: found[0] for found in re.finditer(r"^\| (R\d+) \|.*$", between(page, "results"), re.MULTILINE)}
    found = [_line(_TITLES), _line(_ALIGNED)]
    for promise in promises:
        row = by_id.get(promise.id)
        if row is not None:
            cells = (row.id, to_stand(promise), f"{row.tried:,} {promise.unit}", row.verdict, f"{row.seconds:,.0f}")
            found.append(_line((*cells, when, row.notes)))
        else:
            found.append(there.get(promise.id, _line((promise.id, to_stand(promise), "", "not run", "", "", ""))))
    return found


def _line(cells: Iterable[str]) -> str:
    shown = [_UNFIT.sub(" ", cell).strip() for cell in cells]
    return f"| {' | '.join(shown)} |"


def between(page: str, name: str) -> str:
    """What stands between the two markers of a name."""
    begin, end = _markers(name)
    return page[page.index(begin) + len(begin) : page.index(end)]


def replaced(page: str, name: str, found: Iterable[str]) -> str:
    """The page with other lines between the markers of a name.

    Raises:
        ValueError: the page lacks a marker.
    """
    begin, end = _markers(name)
    text = "\n".join(found)
    return f"{page[: page.index(begin) + len(begin)]}\n\n{text}\n\n{page[page.index(end) :]}"


def _markers(name: str) -> tuple[str, str]:
    return f"<!-- {name}: made by tests/faults/run.py -->", f"<!-- end of {name} -->"


def as_json(rows: Iterable[Row], about: Mapping[str, Any]) -> str:
    """All that was found."""
    return json.dumps({**about, "rows": [asdict(row) for row in rows]}, indent=1) + "\n"


def machine(folder: Path) -> str:
    """Where a run was made, in words."""
    return (
        f"{platform.system()} {platform.release()}, {len(os.sched_getaffinity(0))} processors, {_file_system(folder)}, "
        f"Python {sys.version.split()[0]}"
    )


def _file_system(folder: Path) -> str:
    best = ("", "an unknown file system")
    place = str(folder.resolve())
    with suppress(OSError):  # there is no /proc
        for line in Path("/proc/mounts").read_text().splitlines():
            _, at, kind, *_ = line.split()
            if (place == at or place.startswith(at.rstrip("/") + "/")) and len(at) >= len(best[0]):
                best = (at, kind)
    return best[1]


def when() -> str:
    """Today, and the commit that is checked out; "+" where files have changed since."""
    today = f"{datetime.now(timezone.utc):%Y-%m-%d}"
    commit = _git("rev-parse", "--short", "HEAD")
    changed = "+" if commit and _git("status", "--porcelain", "--untracked-files=no", "--", "src") else ""
    return f"{today}, {commit}{changed}" if commit else today


def _git(*arguments: str) -> str:
    with suppress(OSError):
        ended = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
        return ended.stdout.strip() if ended.returncode == 0 else ""
    return ""


def mutants() -> list[str]:
    """The seeded faults of R16, each with the test that noticed it."""
    from faults.r16_table import MUTANTS

    found = [_line(("fault", "in", "the test that notices it")), _line(("---", "---", "---"))]
    return found + [_line((one.name, one.file, one.caught_by.replace("::", ", "))) for one in MUTANTS]


def promises(found: Sequence[Promise]) -> list[str]:
    """The table of what is promised."""
    rows = [f"| {one.id} | {one.words} | {one.how} | `{one.test}` |" for one in found]
    return [_line(("", "promise", "how it is tried", "in")), _line(("---",) * 4), *rows]
