"""The picture of a run: how long each contestant stands still, and how long until its snapshot is fsynced."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from contestants import ALL, WRITERS
from goals import Samples, chosen
from report import STATES

OURS, THEIRS = ("#0b6e4f", "#8fd3b6"), ("#37474f", "#b0bec5")  # stall, the rest of the time until fsynced


def draw(samples: Samples, path: Path) -> None:
    """One panel a state, one bar a contestant, sorted by stall; the bar's dark part is the stall."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.patches import Patch

    shown = [state for state in STATES if any(chosen(samples, "save", state=state))]
    if not shown:
        return
    torn = {one["contestant"] for one in chosen(samples, "moment") if not one["kept"]}
    bars = {state: medians(samples, state) for state in shown}
    heights = [0.32 * len(found) + 0.9 for found in bars.values()]
    figure, axes = pyplot.subplots(
        len(shown), 1, figsize=(9, sum(heights) + 0.6), height_ratios=heights, squeeze=False, layout="constrained"
    )
    for axis, (state, found) in zip(axes[:, 0], bars.items(), strict=True):
        longest = [fsynced for _, fsynced in found.values()]
        end = min(max(longest), 4 * median(longest))  # one that takes a minute must not flatten the others
        for at, (name, (stall, fsynced)) in enumerate(found.items()):
            dark, light = OURS if name in WRITERS else THEIRS
            axis.barh(at, min(fsynced, end), color=light, height=0.7)
            axis.barh(at, min(stall, end), color=dark, height=0.7)
            words = f"{seconds(stall)} / {seconds(fsynced)}" + (" \N{RIGHTWARDS ARROW}" if fsynced > end else "")
            axis.text(min(fsynced, end) + end * 0.01, at, words, va="center", fontsize=8)
        axis.set_yticks(range(len(found)), [f"{name} *" if name in torn else name for name in found])
        axis.set_xlim(0, end * 1.2)
        axis.set_ylim(len(found) - 0.4, -0.6)
        axis.set_title(f"({state}) {STATES[state]}", loc="left", fontsize=10, fontweight="bold")
        axis.tick_params(labelsize=9)
        axis.spines[["top", "right"]].set_visible(False)
    note = "   * saves what training has changed since the call" if torn else ""
    axes[-1, 0].set_xlabel(f"seconds, medians: stall / until fsynced{note}")
    axes[0, 0].legend(
        handles=[
            Patch(color=OURS[0], label="holdfast: stall"),
            Patch(color=OURS[1], label="until fsynced"),
            Patch(color=THEIRS[0], label="others: stall"),
            Patch(color=THEIRS[1], label="until fsynced"),
        ],
        ncols=2, fontsize=8, frameon=False, loc="lower right", bbox_to_anchor=(1, 1),
    )  # fmt: skip
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def medians(samples: Samples, state: str) -> dict[str, tuple[float, float]]:
    """Contestant -> stall and seconds until fsynced, the shortest stall first."""
    found = {}
    for name in ALL:
        saves = list(chosen(samples, "save", state=state, contestant=name))
        if saves:
            found[name] = (median(s["stall_s"] for s in saves), median(s["fsynced_s"] for s in saves))
    return dict(sorted(found.items(), key=lambda one: one[1]))


def seconds(value: float) -> str:
    """As short as it can be read."""
    return f"{value * 1000:.0f} ms" if value < 0.1 else f"{value:.2f} s"
