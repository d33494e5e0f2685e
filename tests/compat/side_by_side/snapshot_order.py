"""When a snapshot is taken in its iteration, beside extensions of a lower priority."""

from __future__ import annotations

import numpy as np

from compat.side_by_side.support import Training

DIFFERS = {
    # Chainer's holds what an extension of lower priority is still to change, and its trigger before it has fired.
    "the order": [["reader", "snapshot", "last"], ["reader", "last", "snapshot"]],
    "fires again after a resume": [[2, 4, 5, 6], [2, 4, 6]],
}


def main(api, out):
    order, fired = [], []

    def run(stop, resume=None):
        training = Training(api, out, (stop, "iteration"))

        def writer(filename, outdir, mapping):
            order.append("snapshot")
            with open(f"{outdir}/{filename}", "wb") as file:
                np.savez(file, **mapping)

        training.trainer.extend(api.training.extensions.snapshot(writer=writer), trigger=(4, "iteration"))
        training.trainer.extend(lambda trainer: order.append("reader"), name="reader", trigger=(4, "iteration"))
        training.trainer.extend(
            lambda trainer: (order.append("last"), fired.append(trainer.updater.iteration)),
            name="last",
            trigger=(2, "iteration"),
            priority=-200,
        )
        if resume:
            api.serializers.load_npz(resume, training.trainer)
        training.run()

    run(4)
    first = list(order)[1:]
    run(6, resume=str(out / "snapshot_iter_4"))
    return {"the order": first, "fires again after a resume": fired}
