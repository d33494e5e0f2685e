"""LogReport under the name that its argument had before, and called before the first iteration."""

from __future__ import annotations

from compat.side_by_side.support import Training, files, rows


def main(api, out):
    def run(folder, report, **options):
        training = Training(api, out / folder, (4, "iteration"))
        training.trainer.extend(report, **options)
        training.run()
        return rows(report.log), files(out / folder)

    log_report = api.training.extensions.LogReport
    return {
        "log_name": run("named", log_report(log_name="old"))[1],
        "before training": run("before", log_report(trigger=(2, "iteration")), call_before_training=True)[0],
    }
