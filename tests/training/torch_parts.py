"""A small training with PyTorch, for the tests of TorchUpdater; imported only where torch is."""

from __future__ import annotations

import pytest
import torch

from holdfast.iterators import BatchIterator
from holdfast.training.updaters.torch_updater import TorchUpdater


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Layers as small as these are computed by one thread: on a busy machine, several would wait for each other."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


def batches_of(size=6, *, shuffle=True, seed=2):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(40, 5, generator=generator)
    return BatchIterator((x, x.sum(1, keepdim=True).tanh()), size, shuffle=shuffle, seed=seed)


def new_model(seed=0, *, dropout=0.0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Linear(5, 8),
        torch.nn.BatchNorm1d(8),
        torch.nn.ReLU(),
        torch.nn.Dropout(dropout),
        torch.nn.Linear(8, 1),
    )


def linear_model():
    torch.manual_seed(0)
    return torch.nn.Linear(5, 1)


def squared_error(model, batch):
    x, y = batch
    return (model(x) - y).square().mean()


def new_updater(model=None, *, lr=0.1, loss_fn=squared_error, iterator=None, schedule=None, **options):
    model = linear_model() if model is None else model
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    if schedule is not None:
        options["scheduler"] = schedule(optimizer)
    return TorchUpdater(batches_of() if iterator is None else iterator, model, optimizer, loss_fn, **options)


def updated(updater, count):
    for _ in range(count):
        updater.update()
    return updater


def by_hand(model, count, accumulate=1, scaler=None, clip=None):
    """The same training, in the words of PyTorch's documentation."""
    batches, optimizer = batches_of(), torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for number in range(1, count + 1):
        loss = squared_error(model, next(batches)) / accumulate
        (loss if scaler is None else scaler.scale(loss)).backward()
        if number % accumulate:
            continue
        if scaler is not None:
            scaler.unscale_(optimizer)
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        if scaler is None:
            optimizer.step()
        else:
            scaler.step(optimizer)
            scaler.update()
        optimizer.zero_grad()
    return model


def assert_same(model, other):
    for (name, one), two in zip(model.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(one, two), name


def rate_of(updater):
    return updater.optimizer.param_groups[0]["lr"]


def halving(optimizer):
    return torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
