"""ParameterStatistics: reports statistics of parameters and gradients."""

from __future__ import annotations

import numpy as np

from compat.side_by_side.support import Training, rows


def main(api, out):
    statistics = api.training.extensions.ParameterStatistics

    def run(*arguments, spoil=None, **options):
        training = Training(api, out, (4, "iteration"))
        links = training.model if not arguments else [getattr(training.model.predictor, name) for name in arguments]
        extension = statistics(links, **options)
        training.trainer.extend(extension)
        training.trainer.extend(api.training.extensions.LogReport(trigger=(2, "iteration")))
        if spoil is not None:
            training.trainer.extend(lambda trainer: spoil(training.model.predictor), name="spoil", priority=1000)
        training.run()
        found = rows(training.trainer.get_extension("LogReport").log)
        return [{name: value for name, value in row.items() if "/data/" in name or "/grad/" in name} for row in found]

    def spoil(predictor):
        predictor.l1.b.array[0] = np.nan

    extra = statistics([], statistics={})
    extra.register_statistics("last", lambda x: x[-1])
    every = (1, "iteration")
    default = run(trigger=every)
    return {
        "attributes": [extra.default_name, extra.priority, sorted(statistics.default_statistics)],
        "names": sorted(default[0]),
        "values": default[-1],
        "some": run(
            "l1", "l2", statistics={"sum": lambda x: x.sum(), "two": lambda x: x[:2]}, trigger=every, prefix="p"
        ),
        "data": sorted(run("l2", report_grads=False, trigger=every)[0]),
        "gradients": sorted(run("l2", report_params=False, trigger=every)[0]),
        "an epoch by default": run("l2", statistics={"sum": lambda x: x.sum()}),
        "NaN passed over": run(
            "l1", statistics={"max": lambda x: x.max()}, trigger=every, skip_nan_params=True, spoil=spoil
        ),
    }
