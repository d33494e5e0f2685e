"""StandardUpdater: what it gives the loss, what it tells of its place, and its arguments."""

from __future__ import annotations

import chainer
import chainer.functions as F
import numpy as np

from compat.side_by_side.support import MLP, Training, examples, parameters


class Noting(chainer.Chain):
    """Notes what it is called with; its loss is that of the points alone."""

    def __init__(self):
        super().__init__()
        self.calls = []
        with self.init_scope():
            self.mlp = MLP()

    def forward(self, *arguments, **named):
        self.calls.append([[one.shape for one in arguments], sorted(named)])
        return F.sum(self.mlp((*arguments, *named.values())[0]) ** 2)


def main(api, out):
    np.random.seed(0)
    updater_class = api.training.StandardUpdater

    def made(converter=None, data=None, **options):
        model = Noting()
        optimizer = chainer.optimizers.SGD(0.01).setup(model)
        iterator = chainer.iterators.SerialIterator(examples(10) if data is None else data, 4, shuffle=False)
        if converter is not None:
            options["converter"] = converter
        return updater_class(iterator, optimizer, **options), model, optimizer, iterator

    def by_name(batch, device):
        points, labels = chainer.dataset.concat_examples(batch, device)
        return {"x": points, "labels": labels}

    devices = []

    def noting(batch, device):
        devices.append(device)
        return chainer.dataset.concat_examples(batch, device)

    updater, model, optimizer, iterator = made()
    places = []
    for _ in range(6):
        updater.update()
        places.append(
            [
                updater.iteration,
                updater.epoch,
                updater.epoch_detail,
                updater.previous_epoch_detail,
                updater.is_new_epoch,
            ]
        )
    named, named_model, _, _ = made(by_name)
    single, single_model, _, _ = made(data=np.ones((10, 2), "f"))
    lossy, lossy_model, _, _ = made(loss_func=lambda x, t: F.sum(lossy_model.mlp(x)))
    for one in (named, single, lossy):
        one.update()
    on_cpu, _, _, _ = made(noting, device=-1, input_device="@numpy")
    on_cpu.update()
    plain, _, plain_optimizer, _ = made(auto_new_epoch=False)
    scaled, _, scaled_optimizer, _ = made(loss_scale=128)
    for one in (*[plain] * 6, scaled):
        one.update()
    training = Training(api, out, (2, "epoch"))
    finalized = []
    training.iterator.finalize = lambda: finalized.append(True)
    training.run()
    return {
        "places": places,
        "epochs of the optimizer": [optimizer.epoch, plain_optimizer.epoch, optimizer.use_auto_new_epoch],
        "a tuple": model.calls[0],
        "a dict": named_model.calls[0],
        "one array": single_model.calls[0],
        "a loss of its own": [len(lossy_model.calls), parameters(lossy_model.mlp)],
        "devices": [devices, updater.device, str(on_cpu.device), str(on_cpu.input_device)],
        "parts": [
            updater.get_iterator("main") is iterator,
            updater.get_optimizer("main") is optimizer,
            sorted(updater.get_all_optimizers()),
        ],
        "loss scale": [scaled.loss_scale, scaled_optimizer._loss_scale],
        "attributes": [updater.auto_new_epoch, updater.loss_func, updater.converter is chainer.dataset.concat_examples],
        "finalized": finalized,
        "the same class": api.training.StandardUpdater is api.training.updaters.StandardUpdater,
    }
