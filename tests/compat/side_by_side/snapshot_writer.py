"""writer: any callable is one; what it is called with, and that it is finalized."""

from __future__ import annotations

import os

import numpy as np

from compat.side_by_side.support import Training, kind_raised, raised

DIFFERS = {
    # Chainer hands out the live arrays, which the next update changes: what was kept is of another iteration.
    "kept as they were": [False, True],
    # Refused where it is given, and not at the first snapshot.
    "a writer that is none": [None, "TypeError"],
}


class Keeping:
    def __init__(self):
        self.calls = []
        self.kept = []
        self.then = []
        self.finalized = 0

    def __call__(self, filename, outdir, mapping):
        self.calls.append([filename, os.path.basename(outdir), sorted(mapping)])
        self.kept.append(mapping["predictor/l1/W"])
        self.then.append(mapping["predictor/l1/W"].copy())

    def finalize(self):
        self.finalized += 1


def main(api, out):
    extensions = api.training.extensions
    writer = Keeping()
    training = Training(api, out / "result", (4, "iteration"))
    extension = extensions.snapshot_object(training.model, "model_{.updater.iteration}", writer=writer)
    training.trainer.extend(extension, trigger=(2, "iteration"))
    training.run()
    plain = Training(api, out, (2, "iteration"))
    names = []
    plain.trainer.extend(
        extensions.snapshot(writer=lambda filename, outdir, mapping: names.append(filename)), trigger=(1, "iteration")
    )
    plain.run()
    both = raised(extensions.snapshot, savefun=api.serializers.save_npz, writer=writer)
    return {
        "calls": writer.calls,
        "the very writer": extension.writer is writer,
        "finalized": writer.finalized,
        "values": [array.tolist() for array in writer.then],
        "kept as they were": all(
            np.array_equal(one, other) for one, other in zip(writer.kept, writer.then, strict=True)
        ),
        "a function": names,
        "with a savefun": both,
        "a writer that is none": kind_raised(extensions.snapshot, writer="thread"),
    }
