"""MicroAverage: the quotient of two sums over an interval."""

from __future__ import annotations

from compat.side_by_side.support import Training, rows

CORRECT = [1, 3, 0, 5, 2, 2, 4, 1, 0]
TOTAL = [2, 4, 1, 8, 2, 3, 8, 1, 5]

DIFFERS = {
    # Chainer keeps the sums, but not when its trigger was asked last: the resumed one fires at once.
    "resumed": [False, True],
}


def main(api, out):
    extensions = api.training.extensions

    def training(stop):
        made = Training(api, out, (stop, "iteration"))

        def report(trainer):
            at = trainer.updater.iteration - 1
            if at != 4:
                api.reporter.report({"correct": CORRECT[at], "total": TOTAL[at]})

        made.trainer.extend(report, priority=300)
        made.trainer.extend(extensions.MicroAverage("correct", "total", "precision", trigger=(3, "iteration")))
        made.trainer.extend(extensions.MicroAverage("correct", "total", "an epoch"))
        made.trainer.extend(extensions.LogReport(["precision", "an epoch"], trigger=(1, "iteration")))
        return made

    whole = training(9).run()
    first = training(7)
    first.trainer.extend(extensions.snapshot(filename="at_7.npz"), trigger=(7, "iteration"))
    first.run()
    resumed = training(9)
    api.serializers.load_npz(str(out / "at_7.npz"), resumed.trainer)
    resumed.run()
    log = rows(whole.trainer.get_extension("LogReport").log)
    state = api.serializers.DictionarySerializer()
    whole.trainer.get_extension("MicroAverage").serialize(state)
    return {
        "priority": whole.trainer.get_extension("MicroAverage").priority,
        "rows": log,
        "resumed": rows(resumed.trainer.get_extension("LogReport").log) == log,
        "sums": [state.target["_numerator"].item(), state.target["_denominator"].item()],
    }
