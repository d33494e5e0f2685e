"""autoload of one object: before the run, and alone."""

from __future__ import annotations

from compat.side_by_side.support import Training, parameters


def main(api, out):
    snapshot_object = api.training.extensions.snapshot_object
    first = Training(api, out, (3, "iteration"), seed=1)
    extension = snapshot_object(first.model, "model_{.updater.iteration}", autoload=True)
    first.trainer.extend(extension, trigger=(1, "iteration"))
    first.run()
    second, before = Training(api, out, (1, "iteration"), seed=2), []
    fresh = parameters(second.model)
    extension = snapshot_object(second.model, "model_{.updater.iteration}", autoload=True)
    second.trainer.extend(extension, trigger=(100, "iteration"))
    second.trainer.extend(
        lambda trainer: before.append([trainer.updater.iteration, parameters(second.model)]),
        name="before",
        trigger=(100, "iteration"),
        call_before_training=True,
    )
    second.run()
    return {
        "restored": before[0][1] == parameters(first.model),
        "was another": fresh != before[0][1],
        "begins at": before[0][0],
        "parameters": before[0][1],
    }
