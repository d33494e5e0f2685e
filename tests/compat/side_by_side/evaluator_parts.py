"""Evaluator with several iterators and targets, a converter, another evaluate(), and at the end of the run."""

from __future__ import annotations

import chainer
import numpy as np

from compat.side_by_side.support import MLP, Training, examples, warned


class Doubling(chainer.iterators.SerialIterator):
    """Notes when it is finalized."""

    finalized = 0

    def finalize(self):
        self.finalized += 1


def iterator(repeat=False, size=8):
    return Doubling(examples(size, seed=2), 4, repeat=repeat, shuffle=False)


def main(api, out):
    extensions = api.training.extensions
    training = Training(api, out, (2, "epoch"))
    parts = {"main": iterator(), "other": iterator()}
    targets = {"main": training.model, "teacher": MLP()}
    evaluator = extensions.Evaluator(parts, targets)
    training.trainer.extend(evaluator)
    training.run()
    devices = []

    def convert(batch, device):
        devices.append(device)
        points, labels = zip(*batch, strict=True)
        return {"x": np.stack(points), "t": np.array(labels, "i")}

    def measure(x, t):
        api.reporter.report({"examples": len(x), "sum": float(x.sum())}, targets["teacher"])

    converted = extensions.Evaluator(iterator(), targets, converter=convert, device=-1, eval_func=measure)()

    class Own(extensions.Evaluator):
        default_name = "own"

        def evaluate(self):
            observation = {}
            with api.reporter.report_scope(observation):
                for batch in self.get_iterator("main"):
                    api.reporter.report({"last": float(len(batch))}, self.get_target("teacher"))
            return observation

    own = Training(api, out, (1, "epoch"))
    own.trainer.extend(Own(iterator(), targets), trigger=(1, "epoch"))
    seen = []
    own.trainer.extend(lambda trainer: seen.append(dict(trainer.observation)), name="look", trigger=(1, "epoch"))
    own.run()
    _, warnings = warned(extensions.Evaluator, iterator(repeat=True), training.model)
    return {
        "iterators": [evaluator.get_iterator("other") is parts["other"], sorted(evaluator.get_all_iterators())],
        "targets": [evaluator.get_target("teacher") is targets["teacher"], sorted(evaluator.get_all_targets())],
        "finalized": [one.finalized for one in parts.values()],
        "a converter": {name: float(value) for name, value in converted.items()},
        "devices": devices,
        "another evaluate": {name: value for name, value in seen[0].items() if "own" in name},
        "an endless iterator": [kind for kind, _ in warnings],
    }
