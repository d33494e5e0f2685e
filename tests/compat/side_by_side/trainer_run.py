"""Trainer.run: once, with a folder that it makes, and the time that it takes."""

from __future__ import annotations

import os

from compat.side_by_side.support import Training, clock, raised

DIFFERS = {
    # Chainer's has no time to save before the run; holdfast's is zero.
    "saved before the run": ["RuntimeError", None],
}


def main(api, out):
    with clock(api) as now:
        training = Training(api, out / "deep" / "below", (3, "iteration"))
        trainer, times = training.trainer, []
        before = raised(lambda: trainer.elapsed_time)
        saved = raised(api.serializers.save_npz, out / "trainer.npz", trainer)

        def pass_time(trainer):
            now.now += 1.5
            times.append(trainer.elapsed_time)

        trainer.extend(pass_time)
        existed = os.path.isdir(out / "deep" / "below")
        training.run()
        now.now += 100
        after = trainer.elapsed_time
    return {
        "before the run": [before[0], before[1].partition(":")[0]],
        "saved before the run": saved and saved[0],
        "the folder": [existed, os.path.isdir(out / "deep" / "below")],
        "times": [times, after],
        "again": [raised(trainer.run)[0], raised(trainer.run)[1].partition(":")[0]],
        "attributes": [
            trainer.updater is training.updater,
            str(trainer.stop_trigger),
            trainer.out == str(out / "deep" / "below"),
            sorted(trainer.observation),
        ],
    }
