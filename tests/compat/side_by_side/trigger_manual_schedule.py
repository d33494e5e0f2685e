"""ManualScheduleTrigger: fires at given points, in iterations or epochs, and knows when it is finished."""

from __future__ import annotations

from compat.side_by_side.support import At, Training, fired_at, kind_raised

DIFFERS = {
    # Chainer takes a tuple for one point, and fails when it is asked.
    "a tuple": ["TypeError", [2, 5]],
    # A schedule that never fires is a mistake.
    "no points": [None, "ValueError"],
}


def main(api, out):
    schedule = api.training.triggers.ManualScheduleTrigger
    training = Training(api, out, (12, "iteration"), batch=3)
    found = {
        "iterations": training.fired("iterations", schedule([2, 5, 11, 40], "iteration")),
        "one": training.fired("one", schedule(7, "iteration")),
        "epochs": training.fired("epochs", schedule([0.5, 1, 1.6], "epoch")),
        "unsorted": training.fired("unsorted", schedule([9, 1], "iteration")),
    }
    training.run()
    at, trigger, finished = At(), schedule([2, 4], "iteration"), []
    for at.iteration in range(1, 7):
        trigger(at)
        finished.append(trigger.finished)
    return {
        **found,
        "asked seldom": fired_at(schedule([2, 5, 6], "iteration"), [1, 4, 7, 8]),
        "finished": finished,
        "points": [schedule(3, "epoch").points, schedule([3, 1], "epoch").points],
        "a tuple": kind_raised(lambda: fired_at(schedule((2, 5), "iteration"), range(1, 9)))
        or fired_at(schedule((2, 5), "iteration"), range(1, 9)),
        "no points": kind_raised(schedule, [], "iteration"),
        "a unit that is none": kind_raised(schedule, 1, "batch"),
    }
