"""The keys of a trainer's snapshot, and what stands under them: whoever reads Chainer's files relies on it."""

from __future__ import annotations

import chainer
import numpy as np

from compat.side_by_side.support import Training

ADDED = ["extensions/ExponentialShift/_shift"]  # which value it began with, and where

DIFFERS = {
    # What Chainer does not keep, under keys that it leaves alone.
    "added": [[], ADDED],
    # The global random generators belong to a run that is to go on exactly.
    "the generators are in it": [False, True],
    # Every trigger has been asked when a snapshot is taken; Chainer asks the stop trigger afterwards.
    "the stop trigger": [[5, 1.25], [6, 1.5]],
}


def main(api, out):
    extensions, triggers = api.training.extensions, api.training.triggers
    training = Training(api, out, (6, "iteration"), optimizer=chainer.optimizers.Adam())
    trainer = training.trainer
    trainer.extend(extensions.LogReport(trigger=(4, "iteration")))
    trainer.extend(extensions.PrintReport(["main/loss"]), trigger=(100, "iteration"))
    trainer.extend(lambda trainer: None, name="best", trigger=triggers.MaxValueTrigger("main/loss", (5, "iteration")))
    trainer.extend(lambda trainer: None, name="schedule", trigger=triggers.ManualScheduleTrigger([3, 9], "iteration"))
    trainer.extend(lambda trainer: None, name="once", trigger=triggers.OnceTrigger())
    trainer.extend(lambda trainer: None, name="time", trigger=triggers.TimeTrigger(1000))
    trainer.extend(extensions.ExponentialShift("alpha", 0.9), trigger=(2, "iteration"))
    trainer.extend(extensions.snapshot(filename="snapshot_{.updater.iteration}.npz"), trigger=(6, "iteration"))
    training.run()
    with np.load(out / "snapshot_6.npz", allow_pickle=True) as file:
        found = {name: file[name] for name in sorted(file.files)}
    generators = [found.pop(name) for name in list(found) if name.startswith("~run/")]
    added = {name: found.pop(name) for name in list(found) if name in ADDED}
    stop = [found.pop("stop_trigger/previous_iteration"), found.pop("stop_trigger/previous_epoch_detail")]
    timed = ("_snapshot_elapsed_time", "extensions/LogReport/_log")
    return {
        "keys": list(found),
        "the generators are in it": bool(generators),
        "added": sorted(added),
        "the stop trigger": stop,
        "shapes and kinds": {
            name: [value.shape, value.dtype.kind] for name, value in found.items() if name not in timed
        },
        "values": {name: value for name, value in found.items() if name not in timed},
    }
