"""condition: asked without arguments each time that a snapshot is due; where it is false, nothing happens."""

from __future__ import annotations

from compat.side_by_side.support import Training, files, kind_raised

DIFFERS = {
    # Refused where it is given, and not at the first snapshot.
    "a condition that is none": [None, "TypeError"],
}


def main(api, out):
    extensions = api.training.extensions
    asked, written = [], []
    training = Training(api, out, (6, "iteration"))

    def condition():
        asked.append(training.updater.iteration)
        return len(asked) % 2 == 0

    def writer(filename, outdir, mapping):
        written.append(filename)

    options = {"condition": condition, "writer": writer}
    training.trainer.extend(
        extensions.snapshot_object(training.model, "m_{.updater.iteration}", **options), trigger=(1, "iteration")
    )
    training.trainer.extend(extensions.snapshot(condition=lambda: False), trigger=(1, "iteration"))
    training.trainer.extend(extensions.snapshot(filename="kept", condition=lambda: 1), trigger=(5, "iteration"))
    training.run()
    return {
        "asked": asked,
        "written": written,
        "files": files(out),
        "a condition that is none": kind_raised(extensions.snapshot, condition=True),
    }
