"""What links report in a training, and under which names."""

from __future__ import annotations

import chainer
import chainer.functions as F
import chainer.links as L

from compat.side_by_side.support import MLP, Training


class Reporting(chainer.Chain):
    """A model that reports with Chainer's own function, and so does a link inside it."""

    def __init__(self):
        super().__init__()
        with self.init_scope():
            self.body = MLP()
            self.head = Head()

    def forward(self, x, t):
        loss = F.softmax_cross_entropy(self.head(self.body(x)), t)
        chainer.report({"loss": loss, "examples": len(x)}, self)
        chainer.reporter.report({"everywhere": 1.5})
        return loss


class Head(L.Linear):
    def __init__(self):
        super().__init__(2, 2)

    def forward(self, x):
        y = super().forward(x)
        chainer.report({"norm": F.sum(y**2)}, self)
        return y


def main(api, out):
    training = Training(api, out, (2, "iteration"), model=Reporting())
    kept, names, held = [], [], []

    def look(trainer):
        api.reporter.report({"looked": trainer.updater.iteration})
        names.append(sorted(trainer.observation))
        kept.append(trainer.observation)
        loss = trainer.observation["main/loss"]
        held.append([isinstance(loss, chainer.Variable), loss.creator is None, loss.array.dtype.name])

    training.trainer.extend(look)
    training.trainer.reporter.add_observer("extra", training)
    training.trainer.extend(lambda trainer: api.reporter.report({"here": 3}, training), name="observer", priority=200)
    training.run()
    return {
        "names": names,
        "a fresh one each": kept[0] is not kept[1],
        "cut from the graph": held,
        "values": [{name: float(getattr(one, "array", one)) for name, one in values.items()} for values in kept],
    }
