"""IntervalTrigger: fires when another interval is over, and catches up where it is asked seldom."""

from __future__ import annotations

from compat.side_by_side.support import Training, fired_at, kind_raised, raised

DIFFERS = {
    # The quotients of floats fall short of whole numbers: Chainer is late at three tenths of ten.
    "a tenth of an epoch": [
        [1, 2, 4, 6, 7, 8, 10, 11, 13, 14, 15, 16, 18, 19, 20],
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20],
    ],
    # Refused where it is made, and not in the middle of the run.
    "no period": [None, "ValueError"],
    "no period, asked": ["ZeroDivisionError", "ValueError"],
    "a unit that is none": [
        ["ValueError", "Trigger unit must be either 'epoch' or 'iteration'."],
        ["ValueError", "the unit of a trigger must be one of iteration, epoch, second, not 'batch'"],
    ],
}


def main(api, out):
    interval = api.training.triggers.IntervalTrigger
    training = Training(api, out, (17, "iteration"), batch=3)
    by_period = {period: training.fired(f"every {period}", (period, "iteration")) for period in (1, 3, 20)}
    by_epoch = {period: training.fired(f"every {period} epochs", (period, "epoch")) for period in (1, 2, 0.5)}
    training.run()
    return {
        "iterations": by_period,
        "epochs": by_epoch,
        "asked seldom": fired_at(interval(5, "iteration"), [3, 4, 11, 12, 14, 15, 31]),
        "asked seldom for epochs": fired_at(interval(1, "epoch"), [3, 9, 12, 19, 45]),
        "a tenth of an epoch": fired_at(interval(0.1, "epoch"), range(1, 21)),
        "as text": [str(interval(3, "epoch")), str(interval(0.5, "epoch")), str(interval(100, "iteration"))],
        "length": interval(20, "epoch").get_training_length(),
        "attributes": [interval(20, "epoch").period, interval(20, "epoch").unit],
        "no period": kind_raised(interval, 0, "iteration"),
        "no period, asked": kind_raised(lambda: fired_at(interval(0, "iteration"), [1])),
        "a unit that is none": raised(interval, 1, "batch"),
    }
