"""A file that has nothing of extensions of which Chainer keeps nothing: its strict loading asks for nothing there."""

from __future__ import annotations

import matplotlib

from compat.side_by_side.support import Training, kind_raised

matplotlib.use("Agg")


def main(api, out):
    extensions = api.training.extensions
    path = str(out / "file")

    def training(stop, plots):
        made = Training(api, out, (stop, "iteration"))
        made.trainer.extend(extensions.LogReport(trigger=(2, "iteration")))
        if plots:
            made.trainer.extend(extensions.ParameterStatistics(made.model, trigger=(2, "iteration")))
            made.trainer.extend(extensions.VariableStatisticsPlot(made.model, trigger=(2, "iteration")))
        return made

    made = training(3, False)
    made.trainer.extend(lambda trainer: api.serializers.save_npz(path, trainer), name="save", priority=0)
    made.run()
    more = training(6, True)
    failure = kind_raised(api.serializers.load_npz, path, more.trainer)
    begun = more.updater.iteration
    more.run()
    rows = more.trainer.get_extension("LogReport").log
    return {
        "strict": failure,
        "begun": begun,
        "rows": [row["iteration"] for row in rows],
        "statistics": [sorted(name for name in row if "l1/W/grad" in name) for row in rows],
        "the picture": (out / "statistics.png").exists(),
    }
