"""Files of the one library in the other: Chainer's own load_npz reads what was written here, and the reverse."""

from __future__ import annotations

import chainer
import numpy as np

from compat.side_by_side.support import MLP, Training, parameters, rows


def main(api, out):
    def training(library, stop):
        made = Training(library, out, (stop, "iteration"), optimizer=chainer.optimizers.Adam(0.05))
        made.trainer.extend(library.training.extensions.LogReport(trigger=(4, "iteration")))
        made.trainer.extend(library.training.extensions.ExponentialShift("alpha", 0.5), trigger=(3, "iteration"))
        return made

    model = MLP()
    api.serializers.save_npz(str(out / "here"), model)
    chainer.serializers.save_npz(str(out / "there"), model)
    there, here = MLP(), MLP()
    chainer.serializers.load_npz(str(out / "here"), there)
    api.serializers.load_npz(str(out / "there"), here)

    first = training(api, 6)  # in the middle of an epoch, and of an interval of the log
    snapshot = api.training.extensions.snapshot(filename="at_6.npz")
    first.trainer.extend(snapshot, trigger=(6, "iteration"))
    first.run()
    back = training(chainer, 9)
    chainer.serializers.load_npz(str(out / "at_6.npz"), back.trainer)
    at = [back.updater.iteration, back.optimizer.t, back.updater.epoch_detail]
    np.random.seed(3)
    back.run()
    return {
        "a link": [parameters(there) == parameters(model), parameters(here) == parameters(model)],
        "a trainer": at,
        "goes on in Chainer": [back.updater.iteration, back.optimizer.alpha, parameters(back.model)],
        "rows": rows(back.trainer.get_extension("LogReport").log),
    }
