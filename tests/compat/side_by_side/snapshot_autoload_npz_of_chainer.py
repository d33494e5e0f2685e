"""autoload in a folder with snapshots that Chainer has written under the default name, which has no suffix."""

from __future__ import annotations

import chainer

from compat.side_by_side.support import Training, files


def main(api, out):
    def training(library, stop):
        made = Training(library, out, (stop, "iteration"))
        made.trainer.extend(library.training.extensions.snapshot(autoload=True), trigger=(2, "iteration"))
        return made

    training(chainer, 5).run()
    second, at = training(api, 8), []
    second.trainer.extend(lambda trainer: at.append(trainer.updater.iteration), name="note")
    second.run()
    third = training(api, 9)
    third.run()
    return {"went on with": at[0], "files": files(out), "again": third.updater.iteration}
