"""A shift and a snapshot of the trainer that is loaded at the start: which rate the first update has."""

from __future__ import annotations

from compat.side_by_side.support import Training

DIFFERS = {
    # Chainer loads after the extensions of higher priority have begun, and the shift has set its first rate by then.
    "used": [[0.5, 0.05, 0.005, 0.5, 5e-05], [0.5, 0.05, 0.005, 0.0005, 5e-05]],
}


def main(api, out):
    used = []

    def run(stop):
        training = Training(api, out, (stop, "iteration"))
        trainer = training.trainer
        trainer.extend(lambda trainer: used.append(round(training.optimizer.lr, 12)), name="note", priority=1000)
        trainer.extend(api.training.extensions.ExponentialShift("lr", 0.1))
        trainer.extend(api.training.extensions.snapshot(autoload=True), trigger=(3, "iteration"))
        training.run()
        return training.updater.iteration

    return {"iterations": [run(3), run(5)], "used": used}
