"""LogReport: the rows of means, and the file that holds them."""

from __future__ import annotations

import json

from compat.side_by_side.support import Training, clock, files, rows

DIFFERS = {
    # By Chainer's own documentation None is for no file; there it means the default name.
    "no file": [["log"], []],
}


def main(api, out):
    log_report = api.training.extensions.LogReport

    def run(folder, report, stop=(3, "epoch")):
        training = Training(api, out / folder, stop)
        training.trainer.extend(report)
        training.run()
        return report.log, files(out / folder)

    with clock(api) as now:
        training = Training(api, out / "plain", (10, "iteration"))
        report = log_report()

        def pass_time(trainer):
            now.now += 2

        training.trainer.extend(pass_time, priority=1000)
        training.trainer.extend(report)
        training.run()

    def shorten(row):
        row["loss"] = round(row.pop("main/loss"), 3)

    by_iteration, in_files = run("many", log_report(filename="log_{iteration}_{epoch}", trigger=(4, "iteration")))
    return {
        "rows": report.log,
        "the file": json.loads((out / "plain" / "log").read_text()) == report.log,
        "files": files(out / "plain"),
        "keys": rows(run("keys", log_report(keys=["main/accuracy", "absent"], trigger=(5, "iteration")))[0]),
        "postprocess": rows(run("postprocess", log_report(postprocess=shorten))[0]),
        "a name of its own": run("named", log_report(filename="report.json"))[1],
        "a name with fields": [rows(by_iteration), in_files],
        "one of the files": rows(json.loads((out / "many" / in_files[-1]).read_text())),
        "no file": run("none", log_report(filename=None))[1],
        "longer than the run": run("rare", log_report(trigger=(100, "epoch"))),
    }
