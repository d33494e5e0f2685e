"""get_trigger: a callable is itself, None never fires, and a pair makes an IntervalTrigger."""

from __future__ import annotations

from compat.side_by_side.support import fired_at, raised


def main(api, out):
    get_trigger = api.training.get_trigger

    def odd(trainer):
        return trainer.updater.iteration % 2 == 1

    made = get_trigger((3, "iteration"))
    return {
        "a callable": get_trigger(odd) is odd,
        "None": fired_at(get_trigger(None), range(1, 20)),
        "a pair": [type(made).__name__, str(made), fired_at(made, range(1, 10))],
        "is an IntervalTrigger": isinstance(made, api.training.IntervalTrigger),
        "the same class": api.training.IntervalTrigger is api.training.triggers.IntervalTrigger,
        "a number": raised(get_trigger, 5)[0],
        "a unit that is none": raised(get_trigger, (1, "batch"))[0],
    }
