"""VariableStatisticsPlot: statistics of parameters over the run, as a picture."""

from __future__ import annotations

import matplotlib

from compat.side_by_side.support import Training, files, kind_raised

matplotlib.use("Agg")


def main(api, out):
    plot = api.training.extensions.VariableStatisticsPlot

    def run(folder, stop=(5, "iteration"), **options):
        training = Training(api, out / folder, stop)
        training.trainer.extend(plot(training.model, trigger=(2, "iteration"), **options))
        training.run()
        return files(out / folder)

    return {
        "by default": run("default"),
        "a name": run("named", filename="data.png", report_grad=False),
        "the old name": run("old", file_name="old.png", plot_std=False, percentile_sigmas=(0, 50, 100)),
        "few samples": run("few", max_sample_size=2, plot_mean=False, plot_std=False),
        "nothing yet": run("nothing", stop=(1, "iteration")),
        "is a png": (out / "default" / "statistics.png").read_bytes()[:4].hex(),
        "no variables": kind_raised(plot, []),
        "nothing to plot": kind_raised(
            plot, Training(api, out).model, plot_mean=False, plot_std=False, percentile_sigmas=()
        ),
        "available": plot.available(),
    }
