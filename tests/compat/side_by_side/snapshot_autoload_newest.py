"""autoload: which of several snapshots is the newest, and what becomes of damaged ones."""

from __future__ import annotations

import os

from compat.side_by_side.support import Training, kind_raised

DIFFERS = {
    # Copying files, or touching them, changes their times, and nothing else.
    "the first was touched": [2, 6],
    # Names of the same time are compared as texts by Chainer: s_8 comes after s_10.
    "all have the same time": [8, 10],
    # A damaged file is passed over, and named in the log.
    "the newest is damaged": ["an error", 4],
    # Chainer's prefix and suffix are those of every snapshot here.
    "another template": ["an error", 6],
}


def main(api, out):
    extensions = api.training.extensions

    def training(folder, stop, **options):
        made = Training(api, out / folder, (stop, "iteration"))
        extension = extensions.snapshot(filename="s_{.updater.iteration}", autoload=True, **options)
        made.trainer.extend(extension, trigger=(2, "iteration"))
        return made

    def resumed(folder, stop, change):
        training(folder, stop).run()
        change(out / folder)
        second, at = training(folder, stop + 1), []
        second.trainer.extend(lambda trainer: at.append(trainer.updater.iteration - 1), name="note")
        return "an error" if kind_raised(second.run) else at[0]

    def touch(folder):
        os.utime(folder / "s_2", (4e9, 4e9))

    def level(folder):
        for path in folder.glob("s_*"):
            os.utime(path, (1e9, 1e9))

    def damage(folder):
        path = folder / "s_6"
        path.write_bytes(path.read_bytes()[:-100])

    def add(folder):
        other = Training(api, folder, (1, "iteration"))
        other.trainer.extend(extensions.snapshot_object(other.model, "s_best"), trigger=(1, "iteration"))
        other.run()

    return {
        "nothing there": resumed("nothing", 1, lambda folder: None),
        "the last": resumed("last", 6, lambda folder: None),
        "the first was touched": resumed("touched", 6, touch),
        "all have the same time": resumed("level", 10, level),
        "the newest is damaged": resumed("damaged", 6, damage),
        "another template": resumed("other", 6, add),
    }
