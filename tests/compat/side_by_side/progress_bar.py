"""ProgressBar: what it says of the training; here on a stream that is no terminal."""

from __future__ import annotations

import io
import re

from compat.side_by_side.support import Training, clock, printed

DIFFERS = {
    # Chainer's takes `out` and `training_length`, and makes use of neither.
    "on its stream": [False, True],
    # It draws bars with a terminal's control characters wherever it writes; holdfast draws them on a terminal, and
    # prints a plain line now and then everywhere else.
    "control characters": [True, False],
    "percentages of the whole": [["50.00%", "100.00%"], ["50.00%", "87.50%", "100.00%"]],
    "the length is given": [["50.00%", "100.00%"], ["20.00%", "35.00%", "40.00%"]],
}


def main(api, out):
    def run(*arguments, stop, **options):
        stream = io.StringIO()

        def train():
            training = Training(api, out, stop)
            training.trainer.extend(lambda trainer: setattr(now, "now", now.now + 1.0), name="time", priority=1000)
            training.trainer.extend(api.training.extensions.ProgressBar(*arguments, out=stream, **options))
            training.run()

        with clock(api) as now:
            output, _ = printed(train)
        return stream.getvalue(), output

    stream, output = run(stop=(2, "epoch"), update_interval=4, bar_length=10)
    text = stream + output
    given = "".join(run((20, "iteration"), stop=(8, "iteration"), update_interval=4))
    return {
        "on its stream": bool(stream),
        "control characters": "\033[" in text,
        "percentages of the whole": percentages(text),
        "the length is given": percentages(given),
        "the place": re.findall(r" 8 iter, 2 epoch / 2 epochs", text)[-1:],
        "the pace": re.findall(r" 1 iters/sec\. Estimated time to finish: 0:00:00\.", text)[-1:],
    }


def percentages(text):
    """What it says of the whole, each time."""
    lines = [line for line in text.splitlines() if "this epoch" not in line]
    return [found for line in lines for found in re.findall(r"[0-9]+\.[0-9]{2}%", line)]
