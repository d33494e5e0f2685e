"""InverseShift: an attribute of the optimizer that falls as Caffe's "inv" policy has it."""

from __future__ import annotations

from compat.side_by_side.support import kind_raised, shifted


def main(api, out):
    shift = api.training.extensions.InverseShift
    return {
        "each iteration": shifted(api, out, lambda: shift("lr", 0.25, 0.75)),
        "each epoch": shifted(api, out, lambda: shift("lr", 1, 1), trigger=(1, "epoch")),
        "from a value": shifted(api, out, lambda: shift("lr", 0.5, 2, init=4.0)),
        "to a target": shifted(api, out, lambda: shift("lr", 1, 1, init=4.0, target=0.75)),
        "growing, to a target": shifted(api, out, lambda: shift("lr", 1, -1, init=1.0, target=6.0)),
        "a negative gamma": kind_raised(shift, "lr", -0.5, 1),
    }
