"""PrintReport after a resume: the rows of before are printed again; and one that has a log of its own keeps it."""

from __future__ import annotations

import io

from compat.side_by_side.support import Training


def main(api, out):
    extensions = api.training.extensions

    def run(stop, resume=None):
        training, stream, own = Training(api, out, (stop, "iteration")), io.StringIO(), io.StringIO()
        training.trainer.extend(extensions.LogReport(trigger=(2, "iteration")))
        training.trainer.extend(extensions.PrintReport(["iteration", "main/loss"], out=stream))
        log = extensions.LogReport(trigger=(2, "iteration"), filename="own")
        training.trainer.extend(extensions.PrintReport(["iteration"], log, out=own))
        if resume is not None:
            api.serializers.load_npz(resume, training.trainer)
        training.trainer.extend(extensions.snapshot(filename="at_{.updater.iteration}.npz"), trigger=(5, "iteration"))
        training.run()
        return [[line.rstrip() for line in one.getvalue().replace("\033[J", "").splitlines()] for one in (stream, own)]

    return {"first": run(5), "resumed": run(8, resume=str(out / "at_5.npz"))}
