"""Evaluator: the means over a validation set, reported under its name."""

from __future__ import annotations

import chainer
import chainer.functions as F

from compat.side_by_side.support import Training, examples, rows


def validation(size=11, batch=4):
    return chainer.iterators.SerialIterator(examples(size, seed=1), batch, repeat=False, shuffle=False)


def main(api, out):
    extensions = api.training.extensions
    training = Training(api, out, (2, "epoch"))
    evaluator = extensions.Evaluator(validation(), training.model)
    training.trainer.extend(evaluator)
    training.trainer.extend(extensions.Evaluator(validation(6), training.model), name="test")
    training.trainer.extend(extensions.LogReport())
    seen = []
    training.trainer.extend(lambda trainer: seen.append(sorted(trainer.observation)), name="look", trigger=(1, "epoch"))
    training.run()

    by_hand = extensions.Evaluator(validation(), training.model)
    returned = by_hand()
    reporter, observation = api.reporter.Reporter(), {}
    with reporter.scope(observation):
        by_hand()

    modes, hooked = [], []

    def measure(x, t):
        modes.append([chainer.config.train, chainer.config.enable_backprop])
        api.reporter.report({"measured": F.sum(x**2), "size": len(x)})

    by_function = extensions.Evaluator(
        validation(), training.model, eval_func=measure, eval_hook=lambda one: hooked.append(one is by_function)
    )
    measured = by_function()
    return {
        "attributes": [evaluator.trigger, type(evaluator).default_name, evaluator.priority, evaluator.name],
        "observed": seen,
        "rows": rows(training.trainer.get_extension("LogReport").log),
        "returned": plainly(returned),
        "reported": plainly(observation),
        "a function of its own": plainly(measured),
        "modes": [modes[0], len(modes), chainer.config.train],
        "hook": hooked,
        "registered": [training.trainer.get_extension(name).name for name in ("validation", "test")],
    }


def plainly(values):
    return {name: float(getattr(value, "array", value)) for name, value in values.items()}
