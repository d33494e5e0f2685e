"""SimpleWriter, and the base class: what a subclass may do with it."""

from __future__ import annotations

import json

from compat.side_by_side.support import Training, files, kind_raised

DIFFERS = {
    # Chainer's documentation says that they are for the savefun, which is called without them.
    "keyword arguments": [[None], [2]],
}


def main(api, out):
    extensions = api.training.extensions
    writers = extensions.snapshot_writers
    indents, events = [], []

    def save_json(path, mapping, indent=None):
        indents.append(indent)
        with open(path, "w") as file:
            json.dump(sorted(mapping), file, indent=indent)

    class Counting(writers.Writer):
        def __call__(self, filename, outdir, target):
            events.append(filename)
            self.save(filename, outdir, target, api.serializers.save_npz)

        def finalize(self):
            events.append("finalize")

    def run(folder, writer):
        training = Training(api, out / folder, (4, "iteration"))
        extension = extensions.snapshot_object(training.model, "m_{.updater.iteration}", writer=writer)
        training.trainer.extend(extension, trigger=(2, "iteration"))
        training.run()
        return files(out / folder)

    counting = Counting()
    counting._add_cleanup_hook(lambda: events.append("hook"))
    by_hand = writers.SimpleWriter(savefun=save_json)
    by_hand("by_hand.json", str(out), {"a": 1, "b": 2})
    return {
        "by default": run("default", writers.SimpleWriter()),
        "a savefun": run("savefun", writers.SimpleWriter(savefun=save_json)),
        "keyword arguments": indents_of(indents, lambda: run("kwds", writers.SimpleWriter(save_json, indent=2))),
        "by hand": json.loads((out / "by_hand.json").read_text()),
        "a subclass": [run("subclass", counting), list(events)],
        "the base": kind_raised(writers.Writer(), "m", str(out), {}),
        "classes": [issubclass(getattr(writers, name), writers.Writer) for name in ("SimpleWriter", "ThreadWriter")],
    }


def indents_of(indents, call):
    del indents[:]
    call()
    return indents[:1]
