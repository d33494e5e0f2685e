"""observe_value and observe_lr: values of a program's own, reported once an epoch."""

from __future__ import annotations

import chainer

from compat.side_by_side.support import Training, rows


def main(api, out):
    extensions = api.training.extensions
    training = Training(api, out, (2, "epoch"), optimizer=chainer.optimizers.MomentumSGD(0.25))
    trainer = training.trainer
    trainer.extend(extensions.observe_lr())
    trainer.extend(extensions.observe_lr("main", "rate"), trigger=(3, "iteration"))
    trainer.extend(extensions.observe_value("momentum", lambda trainer: trainer.updater.get_optimizer("main").momentum))
    trainer.extend(extensions.LogReport(["lr", "rate", "momentum"], trigger=(1, "iteration")))
    training.run()
    observe = extensions.observe_value("x", lambda trainer: 1)
    adam = Training(api, out, (1, "epoch"), optimizer=chainer.optimizers.Adam(0.1))
    adam.trainer.extend(extensions.observe_lr())
    seen = []
    adam.trainer.extend(
        lambda trainer: seen.append(float(trainer.observation["lr"])), name="look", trigger=(1, "epoch")
    )
    adam.run()
    return {
        "defaults": [observe.trigger, observe.priority, observe.default_name],
        "rows": rows(trainer.get_extension("LogReport").log),
        "the rate of Adam": seen,
    }
