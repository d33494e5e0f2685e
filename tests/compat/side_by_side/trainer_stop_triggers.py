"""What ends a training: a pair, any callable, an exception."""

from __future__ import annotations

from compat.side_by_side.support import Training, kind_raised

DIFFERS = {
    # Chainer's trigger fires as it passes its length, and goes on for another one.
    "resumed beyond the end": [8, 5],
}


def main(api, out):
    def stopped_in(stop, size=20, batch=5):
        return Training(api, out, stop, size=size, batch=batch).run().updater.iteration

    def until_an_error(trainer):
        if trainer.updater.iteration == 7:
            raise StopIteration("enough")

    endless = Training(api, out, None)
    endless.trainer.extend(until_an_error)
    asked = []
    Training(api, out, lambda trainer: asked.append(trainer.updater.iteration) or trainer.updater.iteration >= 3).run()

    longer = Training(api, out, (5, "iteration"))
    longer.trainer.extend(lambda trainer: api.serializers.save_npz(str(out / "at_5"), trainer), name="save")
    longer.run()
    shorter = Training(api, out, (4, "iteration"))
    api.serializers.load_npz(str(out / "at_5"), shorter.trainer)
    further = Training(api, out, (9, "iteration"))
    api.serializers.load_npz(str(out / "at_5"), further.trainer)
    return {
        "iterations": stopped_in((6, "iteration")),
        "epochs": stopped_in((3, "epoch")),
        "epochs that no batch divides": stopped_in((2, "epoch"), batch=7),
        "a callable is asked before each": asked,
        "an error": [kind_raised(endless.run), endless.updater.iteration],
        "resumed to go on": further.run().updater.iteration,
        "resumed beyond the end": shorter.run().updater.iteration,
    }
