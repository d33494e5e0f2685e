"""Snapshots of an old Chainer, which lack what triggers keep today: a warning, and they go on."""

from __future__ import annotations

from compat.side_by_side.support import At, warned

DIFFERS = {
    # The sentences are the same; a blank between two of them was forgotten.
    "once": [
        "The flag is not saved.OnceTrigger guess it is not first when resumed. If this trigger is resumed before "
        "first called, it may not work correctly.",
        "The flag is not saved. OnceTrigger guess it is not first when resumed. If this trigger is resumed before "
        "first called, it may not work correctly.",
    ],
    "schedule, the flag": [
        "The flag of finished is not saved. ManualScheduleTrigger set the flag to `False` to force initialization and "
        "reset in next `__call__`.",
        "The flag of finished is not saved. ManualScheduleTrigger finds out at its next call.",
    ],
}


def main(api, out):
    triggers, deserializer = api.training.triggers, api.serializers.NpzDeserializer({})

    def resumed(trigger):
        _, warnings = warned(trigger.serialize, deserializer)
        at, fired = At(), []
        for at.iteration in range(6, 13):
            if trigger(at):
                fired.append(at.iteration)
        return warnings, fired

    interval, interval_fired = resumed(triggers.IntervalTrigger(5, "iteration"))
    epochs, epochs_fired = resumed(triggers.IntervalTrigger(1, "epoch"))
    schedule, schedule_fired = resumed(triggers.ManualScheduleTrigger([3, 8], "iteration"))
    once, once_fired = resumed(triggers.OnceTrigger())
    return {
        "interval": [interval, interval_fired],
        "epochs": [epochs, epochs_fired],
        "schedule": [schedule[:2], schedule_fired],
        "schedule, the flag": schedule[2][1],
        "once": once[0][1],
        "once, kind": once[0][0],
        "once, fired": once_fired,
    }
