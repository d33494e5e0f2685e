"""autoload of the trainer: a run that is started again goes on from its newest snapshot."""

from __future__ import annotations

import chainer

from compat.side_by_side.support import Training, files, parameters, rows


def main(api, out):
    extensions = api.training.extensions

    def training(folder, stop, seed=0, **options):
        made = Training(api, out / folder, (stop, "iteration"), optimizer=chainer.optimizers.Adam(0.05), seed=seed)
        made.iterator.order_sampler = lambda order, position: (order * 7 + 3) % len(order)
        made.trainer.extend(extensions.LogReport(trigger=(4, "iteration")))
        made.trainer.extend(extensions.snapshot(autoload=True, **options), trigger=(3, "iteration"))
        return made

    whole = training("whole", 12).run()
    log = rows(whole.trainer.get_extension("LogReport").log)
    outcome = {"rows": log}
    for folder, options in (("template", {}), ("npz", {"filename": "s_{.updater.iteration}.npz"})):
        begun = training(folder, 7, **options).run()
        second, at = training(folder, 12, seed=1, **options), []
        second.trainer.extend(lambda trainer, at=at: at.append(trainer.updater.iteration), name="note")
        second.run()
        outcome[folder] = {
            "stopped after": begun.updater.iteration,
            "went on with": at[0],
            "parameters, as of the whole run": parameters(second.model) == parameters(whole.model),
            "rows, as of the whole run": rows(second.trainer.get_extension("LogReport").log) == log,
            "files": files(out / folder),
        }
    return outcome
