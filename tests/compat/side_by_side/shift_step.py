"""StepShift: an attribute of the optimizer times gamma every so many calls."""

from __future__ import annotations

from compat.side_by_side.support import shifted


def main(api, out):
    shift = api.training.extensions.StepShift
    return {
        "each iteration": shifted(api, out, lambda: shift("lr", 0.5, 3)),
        "from a value": shifted(api, out, lambda: shift("lr", 0.1, 4, init=2.0)),
        "to a target": shifted(api, out, lambda: shift("lr", 0.5, 2, init=8.0, target=3.0)),
        "growing, to a target": shifted(api, out, lambda: shift("lr", 2, 2, init=1.0, target=6.0)),
        "each epoch": shifted(api, out, lambda: shift("lr", 0.5, 2), trigger=(1, "epoch")),
    }
