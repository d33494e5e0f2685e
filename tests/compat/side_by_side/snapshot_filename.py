"""The names of snapshots: a format string applied to the trainer, or a function of it."""

from __future__ import annotations

from compat.side_by_side.support import Training, files, kind_raised

DIFFERS = {
    # A name may lead into a folder inside `out`, which is made; Chainer fails in the middle of the run.
    "a folder": ["FileNotFoundError", None],
    "files in it": [[], ["models/it_2.npz", "models/it_4.npz"]],
    # What cannot be a name is refused where it is given, and not in the middle of a run.
    "no format string": [["in the run", "ValueError"], ["at once", "ValueError"]],
    "a number": [["in the run", "AttributeError"], ["at once", "TypeError"]],
    "another argument": [["in the run", "KeyError"], ["at once", "ValueError"]],
}


def main(api, out):
    snapshot_object = api.training.extensions.snapshot_object

    def made(folder, filename):
        training = Training(api, out / folder, (4, "iteration"))
        training.trainer.extend(snapshot_object(training.model, filename), trigger=(2, "iteration"))
        failure = kind_raised(training.run)
        return failure, files(out / folder)

    def refused(folder, filename):
        at_once = kind_raised(snapshot_object, Training(api, out).model, filename)
        return ["at once", at_once] if at_once else ["in the run", made(folder, filename)[0]]

    folder, in_folder = made("folder", "models/it_{.updater.iteration}.npz")
    return {
        "a template": made("template", "model_{.updater.iteration:06d}.npz"),
        "by its position": made("position", "at_{0.updater.epoch}_{0.updater.iteration}"),
        "braces": made("braces", "{{literal}}_{.updater.iteration}"),
        "a fixed name": made("fixed", "newest"),
        "a function": made("function", lambda trainer: f"made_{trainer.updater.iteration * 10}"),
        "a folder": folder,
        "files in it": in_folder,
        "no format string": refused("broken", "model_{"),
        "a number": refused("number", 3),
        "another argument": refused("argument", "model_{iteration}"),
        "an attribute that is none": made("attribute", "model_{.updater.nothing}"),
    }
