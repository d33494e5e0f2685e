"""A subclass of StandardUpdater with two models and two optimizers, as in Chainer's example of a DCGAN."""

from __future__ import annotations

import chainer
import chainer.functions as F
import chainer.links as L
import numpy as np

from compat.side_by_side.support import parameters, rows

SIZE = 3


def build(api, out, stop):
    class DCGANUpdater(api.training.updaters.StandardUpdater):
        def __init__(self, *args, **kwargs):
            self.gen, self.dis = kwargs.pop("models")
            super().__init__(*args, **kwargs)

        def loss_dis(self, dis, y_fake, y_real):
            batchsize = len(y_fake)
            loss = F.sum(F.softplus(-y_real)) / batchsize + F.sum(F.softplus(y_fake)) / batchsize
            chainer.report({"loss": loss}, dis)
            return loss

        def loss_gen(self, gen, y_fake):
            loss = F.sum(F.softplus(-y_fake)) / len(y_fake)
            chainer.report({"loss": loss}, gen)
            return loss

        def update_core(self):
            gen_optimizer = self.get_optimizer("gen")
            dis_optimizer = self.get_optimizer("dis")
            batch = self.get_iterator("main").next()
            x_real = chainer.Variable(self.converter(batch, self.device))
            y_real = self.dis(x_real)
            noise = np.random.RandomState(self.iteration).uniform(-1, 1, (len(batch), SIZE)).astype("f")
            x_fake = self.gen(chainer.Variable(noise))
            y_fake = self.dis(x_fake)
            dis_optimizer.update(self.loss_dis, self.dis, y_fake, y_real)
            gen_optimizer.update(self.loss_gen, self.gen, y_fake)

    np.random.seed(0)
    gen, dis = L.Linear(SIZE, 2), L.Linear(2, 1)
    data = np.random.RandomState(1).randn(12, 2).astype("f")
    iterator = chainer.iterators.SerialIterator(data, 4, shuffle=False)
    optimizers = {
        "gen": chainer.optimizers.Adam(0.02, beta1=0.5).setup(gen),
        "dis": chainer.optimizers.Adam(0.02, beta1=0.5).setup(dis),
    }
    updater = DCGANUpdater(models=(gen, dis), iterator=iterator, optimizer=optimizers)
    trainer = api.training.Trainer(updater, (stop, "iteration"), out=str(out))
    extensions = api.training.extensions
    trainer.extend(extensions.LogReport(trigger=(2, "iteration")))
    trainer.extend(extensions.snapshot(filename="snapshot_{.updater.iteration}.npz"), trigger=(5, "iteration"))
    trainer.extend(extensions.snapshot_object(gen, "gen_iter_{.updater.iteration}"), trigger=(5, "iteration"))
    return trainer, gen, dis, optimizers


def main(api, out):
    trainer, gen, dis, optimizers = build(api, out, 7)
    trainer.run()
    again, second_gen, second_dis, second_optimizers = build(api, out / "again", 7)
    api.serializers.load_npz(str(out / "snapshot_5.npz"), again)
    at = again.updater.iteration
    again.run()
    loaded = L.Linear(SIZE, 2)
    api.serializers.load_npz(str(out / "gen_iter_5"), loaded)
    with np.load(out / "snapshot_5.npz", allow_pickle=True) as file:
        keys = sorted(name for name in file.files if name.startswith("updater/"))
    return {
        "parameters": [parameters(gen), parameters(dis)],
        "rows": rows(trainer.get_extension("LogReport").log),
        "keys": keys,
        "resumed at": at,
        "resumed": [parameters(second_gen) == parameters(gen), parameters(second_dis) == parameters(dis)],
        "rows, resumed": rows(again.get_extension("LogReport").log) == rows(trainer.get_extension("LogReport").log),
        "updates": [[one["gen"].t, one["dis"].t] for one in (optimizers, second_optimizers)],
        "the generator of iteration 5": parameters(loaded),
    }
