"""LinearShift: an attribute of the optimizer from one value to another within a range of calls."""

from __future__ import annotations

import chainer

from compat.side_by_side.support import shifted


def main(api, out):
    shift = api.training.extensions.LinearShift
    return {
        "each iteration": shifted(api, out, lambda: shift("lr", (1.0, 0.1), (3, 9))),
        "from the start": shifted(api, out, lambda: shift("lr", (0, 1), (0, 10))),
        "each epoch": shifted(api, out, lambda: shift("lr", (4, 2), (1, 3)), trigger=(1, "epoch")),
        "at once": shifted(api, out, lambda: shift("lr", (4, 2), (4, 4))),
        "another attribute": shifted(
            api,
            out,
            lambda: shift("momentum", (0.5, 0.9), (2, 8)),
            "momentum",
            optimizer=lambda: chainer.optimizers.MomentumSGD(0.1),
        ),
    }
