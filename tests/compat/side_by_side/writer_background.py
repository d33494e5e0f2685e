"""ThreadWriter, ProcessWriter, ThreadQueueWriter and ProcessQueueWriter: every snapshot is there at the end."""

from __future__ import annotations

import chainer
import numpy as np

from compat.side_by_side.support import Training, files, parameters


def main(api, out):
    extensions = api.training.extensions

    def run(name):
        folder = out / name
        training = Training(api, folder, (4, "iteration"))
        writer = getattr(extensions.snapshot_writers, name)(savefun=api.serializers.save_npz)
        extension = extensions.snapshot_object(training.model, "m_{.updater.iteration}", writer=writer)
        training.trainer.extend(extension, trigger=(2, "iteration"))
        training.run()
        other = Training(api, folder, seed=3).model
        chainer.serializers.load_npz(str(folder / "m_4"), other)
        with np.load(folder / "m_2") as file:
            names = sorted(file.files)
        return [files(folder), names, parameters(other) == parameters(training.model)]

    kinds = "ThreadWriter ProcessWriter ThreadQueueWriter ProcessQueueWriter"
    return {name: run(name) for name in kinds.split()}
