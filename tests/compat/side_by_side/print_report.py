"""PrintReport: the rows of a log as a table."""

from __future__ import annotations

import io

from compat.side_by_side.support import Training, kind_raised, printed

ERASE = "\033[J"  # Chainer erases what a progress bar has drawn below, whether there is one or not
COLUMNS = ["epoch", "iteration", "main/loss", "main/accuracy", "validation/main/accuracy"]


def main(api, out):
    extensions = api.training.extensions

    def run(*reports, **options):
        training = Training(api, out, (8, "iteration"))
        for report in reports:
            training.trainer.extend(report)
        return printed(training.trainer.run, show_loop_exception_msg=False)[0].replace(ERASE, "")

    stream, own = io.StringIO(), io.StringIO()
    log = extensions.LogReport(trigger=(3, "iteration"))
    to_output = run(extensions.LogReport(), extensions.PrintReport(COLUMNS, out=stream))
    run(extensions.PrintReport(COLUMNS[1:3], log_report=log, out=own))
    named = Training(api, out, (4, "iteration"))
    other = io.StringIO()
    named.trainer.extend(extensions.LogReport(), name="other")
    named.trainer.extend(extensions.PrintReport(["epoch"], "other", out=other))
    named.run()
    return {
        "printed": [line.rstrip() for line in stream.getvalue().replace(ERASE, "").splitlines()],
        "widths": [len(line) for line in stream.getvalue().replace(ERASE, "").splitlines()],
        "nothing else": to_output,
        "its own log": [line.rstrip() for line in own.getvalue().replace(ERASE, "").splitlines()],
        "another's name": [line.rstrip() for line in other.getvalue().replace(ERASE, "").splitlines()],
        "no such log": kind_raised(lambda: run(extensions.PrintReport(["epoch"], "absent", out=io.StringIO()))),
    }
