"""PolynomialShift: an attribute of the optimizer that falls to zero within some calls."""

from __future__ import annotations

from compat.side_by_side.support import kind_raised, shifted

DIFFERS = {
    # Chainer divides by the value, which is zero at the end.
    "to a target, and beyond the end": ["ZeroDivisionError", None],
}


def main(api, out):
    shift = api.training.extensions.PolynomialShift
    return {
        "each iteration": shifted(api, out, lambda: shift("lr", 2, 20)),
        "beyond the end": shifted(api, out, lambda: shift("lr", 0.5, 8)),
        "from a value": shifted(api, out, lambda: shift("lr", 1, 20, init=4.0)),
        "to a target": shifted(api, out, lambda: shift("lr", 1, 20, init=4.0, target=3.0)),
        "to a target, and beyond the end": kind_raised(
            shifted, api, out, lambda: shift("lr", 1, 8, init=4.0, target=1.0)
        ),
        "each epoch": shifted(api, out, lambda: shift("lr", 1.5, 4), trigger=(1, "epoch")),
    }
