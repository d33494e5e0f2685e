"""PlotReport: a curve of means, drawn anew with each point."""

from __future__ import annotations

import json

import matplotlib

from compat.side_by_side.support import Training, files

matplotlib.use("Agg")


def main(api, out):
    plot_report = api.training.extensions.PlotReport
    drawn = []

    def look(figure, axes, summary):
        lines = [line for line in axes.get_lines() if not line.get_label().startswith("_")]
        drawn.append([[line.get_label(), line.get_xydata().tolist()] for line in lines])

    def run(folder, report, stop=(8, "iteration"), **options):
        training = Training(api, out / folder, stop)
        training.trainer.extend(report, **options)
        training.run()
        return files(out / folder)

    report = plot_report(["main/loss", "main/accuracy", "absent"], "epoch", postprocess=look, filename="loss.png")
    state = api.serializers.DictionarySerializer()
    made = run("curves", report)
    report.serialize(state)
    return {
        "files": made,
        "is a png": (out / "curves" / "loss.png").read_bytes()[:4].hex(),
        "curves": drawn,
        "by default": run("default", plot_report(["main/loss"], trigger=(3, "iteration"))),
        "one name": run("one", plot_report("main/loss", file_name="old.png")),
        "nothing to draw": run("nothing", plot_report(["absent"])),
        "before training": run("before", plot_report(["main/loss"], trigger=(100, "epoch")), call_before_training=True),
        "the points": json.loads(state.target["_plot_loss.png"].item()),
        "available": plot_report.available(),
    }
