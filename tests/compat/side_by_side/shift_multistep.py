"""MultistepShift: an attribute of the optimizer times gamma at each of some calls."""

from __future__ import annotations

from compat.side_by_side.support import shifted

DIFFERS = {
    # Chainer's begins with the first value again when it is resumed.
    "resumed": [[False, False, False, True], [True, True, True, True]],
}


def main(api, out):
    shift = api.training.extensions.MultistepShift
    used = {
        "each iteration": shifted(api, out, lambda: shift("lr", 0.1, [3, 7, 8], 1.0)),
        "the value of the optimizer": shifted(api, out, lambda: shift("lr", 0.5, (2, 9), None)),
        "each epoch": shifted(api, out, lambda: shift("lr", 0.5, [1, 2], 8.0), trigger=(1, "epoch")),
        "none": shifted(api, out, lambda: shift("lr", 0.5, [], 8.0)),
    }
    return {**{name: one for name, (one, _) in used.items()}, "resumed": [resumed for _, resumed in used.values()]}
