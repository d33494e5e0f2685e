"""MaxValueTrigger, MinValueTrigger and BestValueTrigger: fire after an interval whose mean is the best so far."""

from __future__ import annotations

from compat.side_by_side.support import Planned, Training, kind_raised

LOSSES = [3.0, 1.0, 2.0, 2.0, 5.0, 0.5, 0.25, 0.25, 9.0, 1.0, 4.0, 4.0]


def main(api, out):
    triggers = api.training.triggers
    training = Training(api, out, (12, "iteration"), model=Planned(LOSSES))
    lowest = triggers.MinValueTrigger("main/loss", (2, "iteration"))
    found = {
        "max": training.fired("max", triggers.MaxValueTrigger("main/loss", trigger=(2, "iteration"))),
        "min": training.fired("min", lowest),
        "an epoch by default": training.fired("epoch", triggers.MaxValueTrigger("main/loss")),
        "closest to 2": training.fired(
            "closest",
            triggers.BestValueTrigger("main/loss", lambda best, new: abs(new - 2) < abs(best - 2), (1, "iteration")),
        ),
    }
    training.run()
    lacking = Training(api, out, (4, "iteration"))
    lacking.fired("lacking", triggers.MaxValueTrigger("validation/main/accuracy", (2, "iteration")))
    now_and_then = Training(api, out, (6, "iteration"), model=Planned([None, 1.0, None, 2.0, 1.5, None]))
    rare = now_and_then.fired("rare", triggers.MaxValueTrigger("main/loss", (2, "iteration")))
    now_and_then.run()
    return {
        **found,
        "reported now and then": rare,
        "never reported": kind_raised(lacking.run),
        "stopped in": lacking.updater.iteration,
    }
