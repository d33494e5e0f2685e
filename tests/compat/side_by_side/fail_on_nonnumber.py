"""FailOnNonNumber: ends the run when a parameter is no number any more."""

from __future__ import annotations

import numpy as np

from compat.side_by_side.support import Training, raised


def main(api, out):
    def run(value, at=3):
        training = Training(api, out, (6, "iteration"))
        training.trainer.extend(api.training.extensions.FailOnNonNumber())

        def spoil(trainer):
            if trainer.updater.iteration == at:
                training.model.predictor.l2.W.array[0, 1] = value

        training.trainer.extend(spoil, priority=1000)
        failure = raised(training.run)
        return failure and failure[0], training.updater.iteration, failure and "main" in failure[1]

    return {
        "a number": run(3.0),
        "not a number": run(np.nan),
        "infinite": run(np.inf),
        "minus infinite": run(-np.inf, at=6),
    }
