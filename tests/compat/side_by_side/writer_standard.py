"""A subclass of StandardWriter with workers of its own: they are started, and joined before the next one."""

from __future__ import annotations

from compat.side_by_side.support import Training, files, kind_raised


def main(api, out):
    extensions = api.training.extensions
    standard = extensions.snapshot_writers.StandardWriter
    events = []

    class Worker:
        def __init__(self, write, name):
            self.write, self.name = write, name

        def start(self):
            events.append(f"start {self.name}")
            self.write()

        def join(self):
            events.append(f"join {self.name}")

    class Noting(standard):
        def create_worker(self, filename, outdir, target, **kwds):
            events.append(f"create {filename} {sorted(kwds)}")
            return Worker(lambda: self.save(filename, outdir, target, api.serializers.save_npz), filename)

    training = Training(api, out, (3, "iteration"))
    writer = Noting(savefun=api.serializers.save_npz, tag="given")
    extension = extensions.snapshot_object(training.model, "m_{.updater.iteration}", writer=writer)
    training.trainer.extend(extension, trigger=(1, "iteration"))
    training.run()
    writer.finalize()
    return {
        "events": events,
        "files": files(out),
        "the base": kind_raised(standard(), "m", str(out), {}),
    }
