"""Snapshots of Chainer's trainer whose triggers are in the middle of an interval, or have nothing in the file."""

from __future__ import annotations

import chainer
import numpy as np

from compat.side_by_side.support import Planned, Training, raised, warned

LOSSES = [5.0, 4.0, 3.0, 3.5, 3.25, 3.5, 3.75, 3.5, 3.5, 3.5, 3.5, 3.5]
WITHOUT = ("previous_iteration", "previous_epoch_detail", "finished", "_flag_first")

DIFFERS = {
    # What holdfast keeps of it is not in Chainer's file: it counts anew, as Chainer's own does, and says so.
    "early stopping, warnings": [[], ["UserWarning"] * 7],
    # A trigger of which the file has nothing at all is new to the training, and says nothing; Chainer's say so for each
    # value.
    "an old file, warnings": [["UserWarning"] * 10, ["UserWarning"] * 4],
}


def main(api, out):
    def training(library, stop, losses=LOSSES):
        triggers = library.training.triggers
        made = Training(library, out, stop(triggers), model=Planned(losses))
        fired = {
            "best": made.fired("best", triggers.MinValueTrigger("main/loss", (3, "iteration"))),
            "schedule": made.fired("schedule", triggers.ManualScheduleTrigger([2, 7], "iteration")),
            "once": made.fired("once", triggers.OnceTrigger()),
            "interval": made.fired("interval", triggers.IntervalTrigger(3, "iteration")),
        }
        return made, fired

    def stopping(triggers):
        return triggers.EarlyStoppingTrigger((1, "iteration"), "main/loss", patience=4, max_trigger=(12, "iteration"))

    def iterations(number):
        return lambda triggers: triggers.IntervalTrigger(number, "iteration")

    def saved(name, stop):
        first, _ = training(chainer, stop)
        extension = chainer.training.extensions.snapshot(filename=name, condition=lambda: first.updater.iteration == 5)
        first.trainer.extend(extension, trigger=(1, "iteration"))
        first.run()
        return str(out / name)

    def resumed(path, stop):
        second, fired = training(api, stop, [*LOSSES[5:], *LOSSES])
        failure, warnings = warned(raised, api.serializers.load_npz, path, second.trainer)
        second.run()
        return [failure, second.updater.iteration, fired], [kind for kind, _ in warnings]

    whole, _ = resumed(saved("whole", iterations(6)), iterations(12))
    early, early_warnings = resumed(saved("early", stopping), stopping)
    with np.load(out / "whole", allow_pickle=True) as file:
        old = {name: file[name] for name in file.files if not name.endswith(WITHOUT) or "iterator" in name}
    np.savez(out / "old.npz", **old)
    without, old_warnings = resumed(str(out / "old.npz"), iterations(12))
    return {
        "in the middle": whole,
        "early stopping": early,
        "early stopping, warnings": early_warnings,
        "an old file": without,
        "an old file, warnings": old_warnings,
    }
