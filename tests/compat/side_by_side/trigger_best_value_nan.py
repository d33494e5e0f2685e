"""A NaN among the values of a MaxValueTrigger."""

from __future__ import annotations

import math

from compat.side_by_side.support import Planned, Training

DIFFERS = {
    # A first NaN is Chainer's best value for ever: nothing is greater, and nothing is saved.
    "fired": [[1], [2, 4]],
}


def main(api, out):
    training = Training(api, out, (4, "iteration"), model=Planned([math.nan, 1.0, math.nan, 2.0]))
    found = training.fired("best", api.training.triggers.MaxValueTrigger("main/loss", (1, "iteration")))
    training.run()
    return {"fired": found}
