"""A snapshot that Chainer's own trainer has written, and a run that goes on from it."""

from __future__ import annotations

import chainer

from compat.side_by_side.support import Training, parameters, rows


def extended(library, out, stop):
    """A training whose every part has a state, in an order that depends on nothing but the iteration."""
    extensions, triggers = library.training.extensions, library.training.triggers
    training = Training(library, out, (stop, "iteration"), optimizer=chainer.optimizers.Adam(0.05), batch=3)
    training.iterator.order_sampler = lambda order, position: (order * 7 + 3) % len(order)
    trainer = training.trainer
    trainer.extend(extensions.LogReport(trigger=(4, "iteration")))
    trainer.extend(extensions.ExponentialShift("alpha", 0.9), trigger=(3, "iteration"))
    trainer.extend(extensions.LinearShift("beta1", (0.9, 0.5), (5, 20)))
    fired = {
        "best": training.fired("best", triggers.MinValueTrigger("main/loss", (3, "iteration"))),
        "schedule": training.fired("schedule", triggers.ManualScheduleTrigger([5, 11, 19], "iteration")),
        "once": training.fired("once", triggers.OnceTrigger()),
        "epoch": training.fired("epoch", (1, "epoch")),
    }
    return training, fired


def main(api, out):
    first, _ = extended(chainer, out, 10)
    first.trainer.extend(chainer.training.extensions.snapshot(), trigger=(10, "iteration"))
    first.run()
    whole, _ = extended(chainer, out, 25)
    whole.run()
    training, fired = extended(api, out, 25)
    api.serializers.load_npz(str(out / "snapshot_iter_10"), training.trainer)
    at = [training.updater.iteration, training.updater.epoch_detail, training.optimizer.t]
    training.run()
    log = training.trainer.get_extension("LogReport").log
    return {
        "loaded": at,
        "parameters": parameters(training.model),
        "as the whole run": parameters(training.model) == parameters(whole.model),
        "hyperparameters": [training.optimizer.alpha, training.optimizer.beta1],
        "rows": rows(log),
        "rows as the whole run": rows(log) == rows(whole.trainer.get_extension("LogReport").log),
        "fired": fired,
        "place": [training.updater.epoch, training.updater.epoch_detail, training.updater.previous_epoch_detail],
    }
