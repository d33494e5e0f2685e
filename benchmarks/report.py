"""The tables of a run, in Markdown. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

from contestants import ALL, NONE
from goals import MIB, Samples, chosen
from ratios import Row

STATES = {
    "a": "GPT-2 small with the state of Adam",
    "b": "50,000 leaves of 1 KiB",
    "c": "one leaf of 1 GiB",
}


def markdown(rows: Sequence[Row], samples: Samples, machine: dict[str, str], remarks: Sequence[str] = ()) -> str:
    """The whole report."""
    parts = ["# Benchmark run", "", *(f"- {what}: {found}" for what, found in machine.items())]
    parts += [f"- {remark}" for remark in remarks]
    parts += ["", "## Goals", "", *goals_table(rows)]
    for state, words in STATES.items():
        if any(True for _ in chosen(samples, "save", state=state)):
            parts += ["", f"## State ({state}): {words}", "", *state_table(samples, state)]
    if any(True for _ in chosen(samples, "loop")):
        parts += ["", "## Training loop, 60 steps of GPT-2 small, a snapshot every 20", "", *loop_table(samples)]
    absent = absences(samples)
    if absent:
        parts += ["", "## Not measured", "", *(f"- {name}: {why}" for name, why in absent.items())]
    return "\n".join(parts) + "\n"


def goals_table(rows: Iterable[Row]) -> list[str]:
    """A line a goal: what, median, least, most, how many, the most allowed, the verdict."""
    lines = []
    for row in rows:
        if row.found is None:
            figures = ["", "", "", "0"]
        else:
            figures = [*(number(x) for x in (row.found.median, row.found.least, row.found.most)), str(len(row.found))]
        what = f"{row.what} [{row.unit}]" if row.unit else row.what
        limit = "" if row.limit is None else number(row.limit)
        verdict = f"{row.verdict} ({row.note})" if row.note else row.verdict
        lines.append([what, *figures, limit, verdict])
    return table(["what", "median", "min", "max", "n", "at most", "verdict"], lines, left=(0, 6))


def state_table(samples: Samples, state: str) -> list[str]:
    """A line a contestant: medians in seconds, and the peak memory."""
    lines = []
    torn = {one["contestant"] for one in chosen(samples, "moment") if not one["kept"]}
    absent = absences(samples)
    for name in ALL:
        saves = list(chosen(samples, "save", state=state, contestant=name))
        if not saves:
            if name in absent:
                lines.append([name, "not measured, see below", *[""] * 7])
            continue
        warm, cold = (
            [s["seconds"] for s in chosen(samples, f"restore {heat}", state=state, contestant=name, into="touched")]
            for heat in ("warm", "cold")
        )
        peaks = [s["peak_bytes"] / MIB for s in chosen(samples, "memory", state=state, contestant=name, after=1)]
        lines.append([
            name, mid(s["stall_s"] for s in saves), mid(s["stall_s"] / s["memcpy_s"] for s in saves),
            mid(s["fsynced_s"] for s in saves), mid(warm), mid(cold), f"{max(peaks):,.0f}" if peaks else "",
            "no" if name in torn else "yes" if any(chosen(samples, "moment", contestant=name)) else "", str(len(saves)),
        ])  # fmt: skip
    head = [
        "",
        "stall s",
        "/ memcpy",
        "until fsynced s",
        "restore warm s",
        "cold s",
        "peak memory MiB",
        "one moment",
        "n",
    ]
    return table(head, lines, left=(0,))


def loop_table(samples: Samples) -> list[str]:
    """A line a contestant: seconds of 20 steps and their snapshot, beside those without one of the same slice."""
    base = {s["slice"]: s["seconds"] for s in chosen(samples, "loop", contestant=NONE)}
    lines = []
    for name in (NONE, *ALL):
        found = list(chosen(samples, "loop", contestant=name))
        if found:
            ratios = [s["seconds"] / base[s["slice"]] for s in found if s["slice"] in base]
            lines.append([
                name, mid(s["seconds"] for s in found), mid(ratios), mid(s["stall_s"] for s in found), str(len(found))
            ])  # fmt: skip
    return table(["", "20 steps s", "/ no snapshots", "stall s", "n"], lines, left=(0,))


def absences(samples: Samples) -> dict[str, str]:
    """Who or what is missing, and why."""
    found: dict[str, str] = {}
    for sample in samples:
        if sample["what"] == "absent":
            found.setdefault(sample["contestant"], sample["why"])
    return found


def table(head: Sequence[str], lines: Iterable[Sequence[str]], left: Sequence[int]) -> list[str]:
    """A Markdown table; columns not in `left` are aligned to the right."""
    rule = ["---" if at in left else "---:" for at in range(len(head))]
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *lines)]


def number(value: float) -> str:
    """Three digits that matter, without an exponent."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def mid(values: Iterable[Any]) -> str:
    """The median, or nothing."""
    found = list(values)
    return number(median(found)) if found else ""
