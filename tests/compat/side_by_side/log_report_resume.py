"""LogReport resumed in the middle of an interval: the row holds the means of all of it."""

from __future__ import annotations

import json

from compat.side_by_side.support import Training, rows


def main(api, out):
    def training(stop):
        made = Training(api, out, (stop, "iteration"))
        made.trainer.extend(api.training.extensions.LogReport(trigger=(4, "iteration")))
        return made

    whole = training(9).run()
    first = training(6)
    first.trainer.extend(api.training.extensions.snapshot(filename="at_6.npz"), trigger=(6, "iteration"))
    first.run()
    second = training(9)
    api.serializers.load_npz(str(out / "at_6.npz"), second.trainer)
    loaded = rows(second.trainer.get_extension("LogReport").log)
    second.run()
    found, wanted = (rows(one.trainer.get_extension("LogReport").log) for one in (second, whole))
    return {
        "loaded": loaded,
        "rows": found,
        "as without the stop": found == wanted,
        "the file": rows(json.loads((out / "log").read_text())) == found,
    }
