"""EarlyStoppingTrigger: stops when a value has not become better for some checks."""

from __future__ import annotations

from compat.side_by_side.support import Planned, Training, kind_raised, printed, warned

FALLING = [5.0, 4.0, 3.0, 3.5, 3.25, 3.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]

DIFFERS = {
    # Chainer takes whatever is no mode for "auto".
    "a mode that is none": [None, "ValueError"],
    # Chainer throws a program's own mean away where the last iteration of an interval has not reported.
    "reported, but not in the last": [8, 4],
}


def main(api, out):
    stopping = api.training.triggers.EarlyStoppingTrigger

    def stopped_in(values, **options):
        trigger = stopping(check_trigger=(1, "iteration"), **options)
        training = Training(api, out, trigger, model=Planned(values))
        return training.run().updater.iteration

    chatty = printed(lambda: stopped_in(FALLING, patience=2, verbose=True))
    lacking = Training(api, out, stopping((2, "iteration"), "validation/main/accuracy", max_trigger=(4, "iteration")))
    _, warnings = warned(lacking.run)
    values = [1.0, None, 2.0, None, 3.0, None, 4.0, None]
    options = {"patience": 1, "max_trigger": (8, "iteration")}
    sparse = Training(api, out, stopping((2, "iteration"), "main/loss", **options), model=Planned(values))
    return {
        "patience 2": stopped_in(FALLING, patience=2),
        "patience 3, the default": stopped_in(FALLING),
        "max": stopped_in(FALLING, patience=2, mode="max"),
        "accuracy is to grow": stopping(monitor="validation/main/accuracy").best,
        "loss is to fall": stopping(monitor="main/loss").best,
        "max_trigger": stopped_in([1.0 / n for n in range(1, 30)], max_trigger=(9, "iteration")),
        "length": stopping(max_trigger=(30, "epoch")).get_training_length(),
        "verbose": chatty,
        "patients": warned(lambda: stopping(patients=7).patience)[0],
        "both": kind_raised(stopping, patience=1, patients=1),
        "a mode that is none": kind_raised(stopping, mode="least"),
        "never reported": [warnings[0][0], warnings[0][1].partition(":")[0]],
        "reported, but not in the last": warned(sparse.run)[0].updater.iteration,
    }
