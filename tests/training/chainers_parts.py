"""Objects with the methods of Chainer's, for the tests of StandardUpdater."""

from __future__ import annotations

import numpy as np

import holdfast
from holdfast.iterators import BatchIterator
from holdfast.training.updaters.standard_updater import StandardUpdater


class Link:
    """A linear model; calling it computes a loss, as a Classifier of Chainer's does, and leaves the gradients."""

    def __init__(self):
        self.arrays = {"W": np.zeros(2), "b": np.zeros(1)}
        self.gradients = {}
        self.device = None

    def __call__(self, x, y):
        error = x @ self.arrays["W"] + self.arrays["b"] - y
        self.gradients = {"W": x.T @ error / len(y), "b": np.full(1, error.mean())}
        holdfast.report({"loss": (error**2).mean()}, self)

    def to_device(self, device):
        self.device = device

    def serialize(self, serializer):
        for name, array in self.arrays.items():
            serializer(name, array)


class Momentum:
    """An optimizer whose state, as in Chainer, is not there before the first update."""

    target = None
    use_auto_new_epoch = False
    loss_scale = None

    def __init__(self):
        self.t = self.epoch = 0
        self.calls = []
        self.velocities = {}

    def setup(self, link):
        self.target = link
        return self

    def set_loss_scale(self, loss_scale):
        self.loss_scale = loss_scale

    def update(self, loss_func, *args, **kwargs):
        self.calls.append((loss_func, args, kwargs))
        loss_func(*args, **kwargs)
        for name, gradient in self.target.gradients.items():
            velocity = self.velocities.setdefault(name, np.zeros_like(gradient))
            velocity *= 0.9
            velocity += gradient
            self.target.arrays[name] -= 0.05 * velocity
        self.t += 1

    def new_epoch(self, auto=False):
        assert auto is self.use_auto_new_epoch is True
        self.epoch += 1

    def serialize(self, serializer):
        self.t = serializer("t", self.t)
        self.epoch = serializer("epoch", self.epoch)
        for name in self.target.arrays:
            part = serializer["/" + name]  # as Chainer names parameters
            velocity = self.velocities.get(name)
            if velocity is not None or self.t > 0:
                self.velocities[name] = part("v", velocity)


class Delegate:
    """Hands everything on to another object, as the optimizers and iterators of ChainerMN do."""

    def __init__(self, actual):
        self.__dict__["actual"] = actual

    def __getattr__(self, name):
        return getattr(self.actual, name)

    def __setattr__(self, name, value):
        setattr(self.actual, name, value)


def as_it_is(batch, device):
    return batch


def batches_of(count=14, size=4, **options):
    x = np.random.default_rng(0).standard_normal((count, 2))
    return BatchIterator((x, x @ [1.0, -2.0] + 0.5), size, **options)


def new_optimizer():
    return Momentum().setup(Link())


def new_updater(**options):
    return StandardUpdater(batches_of(shuffle=True, seed=1), new_optimizer(), as_it_is, **options)
