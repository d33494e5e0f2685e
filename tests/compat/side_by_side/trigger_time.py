"""TimeTrigger: fires every so many seconds of training."""

from __future__ import annotations

from compat.side_by_side.support import At, Training, clock

DIFFERS = {
    # Chainer makes up for each period that it missed, in the iterations that follow.
    "late by three periods": [[5, 6, 7, 8], [5, 8]],
}


def main(api, out):
    with clock(api) as now:
        training = Training(api, out, (12, "iteration"))

        def pass_time(trainer):
            now.now += 2.5

        training.trainer.extend(pass_time, priority=1000)
        found = training.fired("time", api.training.triggers.TimeTrigger(6))
        training.run()
        elapsed = training.trainer.elapsed_time
    at, late = At(), []
    trigger = api.training.triggers.TimeTrigger(10)
    for at.iteration, at.elapsed_time in enumerate([1.0, 4.0, 9.0, 10.0, 35.0, 36.0, 37.0, 44.0, 45.0], start=1):
        if trigger(at):
            late.append(at.iteration)
    state = api.serializers.DictionarySerializer()
    trigger.serialize(state)
    return {
        "fired": found,
        "elapsed": elapsed,
        "late by three periods": late,
        "state": {name: float(value) for name, value in state.target.items()},
    }
