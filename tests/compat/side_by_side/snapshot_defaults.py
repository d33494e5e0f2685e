"""snapshot and snapshot_object by default: what they are called, when they are due, and what their files restore."""

from __future__ import annotations

import chainer

from compat.side_by_side.support import Training, files, parameters, rows


def main(api, out):
    extensions = api.training.extensions
    training = Training(api, out, (3, "epoch"), optimizer=chainer.optimizers.Adam(0.05))
    trainer = training.trainer
    both = [extensions.snapshot(), extensions.snapshot_object(training.model, "model_{.updater.iteration}")]
    attributes = [
        [one.trigger, one.priority, one.condition(), one.n_retains, one.autoload, callable(one.writer)] for one in both
    ]
    for one in both:
        trainer.extend(one)
    trainer.extend(extensions.LogReport())
    training.run()

    model = Training(api, out / "other", seed=5).model
    api.serializers.load_npz(str(out / "model_8"), model)
    other = Training(api, out / "third", (12, "iteration"), optimizer=chainer.optimizers.Adam(0.1), seed=6)
    for one in (extensions.snapshot(), extensions.snapshot_object(other.model, "x"), extensions.LogReport()):
        other.trainer.extend(one)
    api.serializers.load_npz(str(out / "snapshot_iter_12"), other.trainer)
    return {
        "attributes": attributes,
        "filename": [one.filename for one in both],
        "names": [one.name for one in both],
        "files": files(out),
        "the model of the second epoch": parameters(model),
        "the trainer": [other.updater.iteration, parameters(other.model) == parameters(training.model)],
        "the optimizer": [other.optimizer.t, parameters(other.optimizer.target)],
        "the rows": rows(other.trainer.get_extension("LogReport").log),
    }
