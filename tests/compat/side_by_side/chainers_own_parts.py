"""Chainer's own updater, triggers and extensions in the trainer, beside those that came with it."""

from __future__ import annotations

import chainer
import chainer.links as L
import numpy as np
from chainer.training import extensions as chainers
from chainer.training import triggers

from compat.side_by_side.support import MLP, examples, files, parameters, rows


def trained(api, out, stop, resume=None):
    np.random.seed(0)
    model = L.Classifier(MLP())
    optimizer = chainer.optimizers.Adam(0.05).setup(model)
    iterator = chainer.iterators.SerialIterator(examples(), 5, shuffle=False)
    updater = chainer.training.updaters.StandardUpdater(iterator, optimizer)
    trainer = api.training.Trainer(updater, (stop, "iteration"), out=str(out))
    fired, unchained = [], []
    trainer.extend(chainers.LogReport(trigger=(3, "iteration")))
    trainer.extend(api.training.extensions.LogReport(trigger=(3, "iteration"), filename="own"), name="own")
    trainer.extend(chainers.ExponentialShift("alpha", 0.5), trigger=(2, "iteration"))
    validation = chainer.iterators.SerialIterator(examples(8, seed=1), 4, repeat=False, shuffle=False)
    trainer.extend(chainers.Evaluator(validation, model), trigger=(2, "iteration"))
    trainer.extend(chainers.DumpGraph("main/loss", filename="graph.dot"))
    trainer.extend(chainers.unchain_variables())
    trainer.extend(
        lambda trainer: fired.append(trainer.updater.iteration),
        name="best",
        trigger=triggers.MinValueTrigger("main/loss", (3, "iteration")),
    )
    trainer.extend(lambda trainer: unchained.append(trainer.observation["main/loss"].creator is None), name="look")
    snapshot = api.training.extensions.snapshot(filename="at_{.updater.iteration}.npz")
    trainer.extend(snapshot, trigger=(5, "iteration"))
    if resume is not None:
        api.serializers.load_npz(resume, trainer)
    trainer.run()
    log, own = (rows(trainer.get_extension(name).log) for name in ("LogReport", "own"))
    return {
        "rows": log,
        "own rows": own,
        "fired": fired,
        "alpha": optimizer.alpha,
        "parameters": parameters(model),
        "unchained": unchained,
    }


def main(api, out):
    whole = trained(api, out / "whole", 8)
    trained(api, out / "stopped", 5)
    resumed = trained(api, out / "resumed", 8, resume=str(out / "stopped" / "at_5.npz"))
    same = ("rows", "own rows", "alpha", "parameters")
    return {
        **whole,
        "files": files(out / "whole"),
        "a graph": "digraph" in (out / "whole" / "graph.dot").read_text(),
        "resumed": {name: resumed[name] == whole[name] for name in same},
        "resumed, fired": resumed["fired"],
    }
