"""A savefun that fails: which snapshots are there, and who hears of it."""

from __future__ import annotations

import threading

from compat.side_by_side.support import Training, files, kind_raised

DIFFERS = {
    # Chainer's thread prints the error and forgets it: nobody hears that a snapshot is missing.
    "ThreadWriter": [[None, ["m_2", "m_6"]], ["OSError", ["m_2", "m_6"]]],
}


def main(api, out):
    extensions = api.training.extensions

    def save(path, mapping):
        if path.endswith("m_4"):
            raise OSError(28, "no space left")
        api.serializers.save_npz(path, mapping)

    def run(name):
        training = Training(api, out / name, (6, "iteration"))
        writer = getattr(extensions.snapshot_writers, name)(savefun=save)
        extension = extensions.snapshot_object(training.model, "m_{.updater.iteration}", writer=writer)
        training.trainer.extend(extension, trigger=(2, "iteration"))
        return [kind_raised(training.run), files(out / name)]

    hook, threading.excepthook = threading.excepthook, lambda failed: None
    try:
        return {name: run(name) for name in ("SimpleWriter", "ThreadWriter")}
    finally:
        threading.excepthook = hook
