"""WarmupShift: an attribute of the optimizer that comes evenly to its value at the beginning."""

from __future__ import annotations

from compat.side_by_side.support import shifted

DIFFERS = {
    # Chainer's begins with the first value again when it is resumed, also when the warm-up was over.
    "resumed": [[False, False, False, False], [True, True, True, True]],
}


def main(api, out):
    shift = api.training.extensions.WarmupShift
    used = {
        "each iteration": shifted(api, out, lambda: shift("lr", 0.0, 8, 1.0)),
        "over before the stop": shifted(api, out, lambda: shift("lr", 0.1, 3, 0.4)),
        "the value of the optimizer": shifted(api, out, lambda: shift("lr", None, 6, 2.0)),
        "each epoch": shifted(api, out, lambda: shift("lr", 0.0, 2, 1.0), trigger=(1, "epoch")),
    }
    return {**{name: one for name, (one, _) in used.items()}, "resumed": [resumed for _, resumed in used.values()]}
