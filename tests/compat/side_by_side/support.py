"""What the programs share: a small training made of Chainer's own objects, and outcomes as JSON values."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import warnings
from pathlib import Path
from unittest import mock

import chainer
import chainer.functions as F
import chainer.links as L
import numpy as np


class MLP(chainer.Chain):
    """Two layers; their parameters are `l1/W`, `l1/b`, `l2/W` and `l2/b`."""

    def __init__(self):
        super().__init__()
        with self.init_scope():
            self.l1 = L.Linear(2, 3)
            self.l2 = L.Linear(3, 2)

    def forward(self, x):
        return self.l2(F.tanh(self.l1(x)))


class Planned(chainer.Link):
    """A model that reports the next of some planned values as its `loss`; None: it reports nothing."""

    def __init__(self, values):
        super().__init__()
        self.values = list(values)
        self.calls = 0
        with self.init_scope():
            self.W = chainer.Parameter(np.zeros(1, "f"))

    def forward(self, x, t=None):
        value = self.values[self.calls]
        self.calls += 1
        if value is not None:
            chainer.report({"loss": value}, self)
        return F.sum(self.W * 0)


def examples(size=20, seed=0):
    """A dataset of points and their classes."""
    points = np.random.RandomState(seed).randn(size, 2).astype("f")
    return chainer.datasets.TupleDataset(points, (points[:, 0] * points[:, 1] > 0).astype("i"))


class Training:
    """20 examples in batches of 5, so four iterations an epoch, unless other things are asked for.

    Args:
        api: chainer or holdfast.
        out: the trainer's folder.
        stop: its stop trigger.
        model: reports its loss; by default a Classifier of an MLP.
        optimizer: not set up yet; by default SGD.
    """

    def __init__(self, api, out, stop=(3, "epoch"), *, model=None, optimizer=None, size=20, batch=5, seed=0):
        np.random.seed(seed)  # Chainer draws first weights and shuffled orders from the global generator
        self.model = L.Classifier(MLP()) if model is None else model
        self.optimizer = chainer.optimizers.SGD(0.5) if optimizer is None else optimizer
        self.optimizer.setup(self.model)
        self.iterator = chainer.iterators.SerialIterator(examples(size), batch)
        self.updater = api.training.updaters.StandardUpdater(self.iterator, self.optimizer)
        self.trainer = api.training.Trainer(self.updater, stop, out=str(out))

    def fired(self, name, trigger):
        """The iterations in which an extension of this name is called, once the trainer has run."""
        found = []
        self.trainer.extend(lambda trainer: found.append(trainer.updater.iteration), name=name, trigger=trigger)
        return found

    def run(self):
        self.trainer.run(show_loop_exception_msg=False)
        return self


class At:
    """As much of a trainer as triggers read, wherever a program puts it."""

    def __init__(self, an_epoch=10):
        self.updater = self
        self.an_epoch = an_epoch
        self.iteration = 0
        self.observation = {}
        self.elapsed_time = 0.0

    @property
    def epoch(self):
        return self.iteration // self.an_epoch

    @property
    def epoch_detail(self):
        return self.iteration / self.an_epoch

    @property
    def previous_epoch_detail(self):
        return (self.iteration - 1) / self.an_epoch


def fired_at(trigger, iterations, an_epoch=10):
    """In which of these iterations a trigger fires that is asked in them alone."""
    at = At(an_epoch)
    found = []
    for at.iteration in iterations:
        if trigger(at):
            found.append(at.iteration)
    return found


def parameters(link):
    """The parameters of a link by their paths."""
    return {name: param.array.tolist() for name, param in sorted(link.namedparams())}


def rows(log):
    """The rows of a log but for the time that they took."""
    return [{name: value for name, value in row.items() if name != "elapsed_time"} for row in log]


def files(folder):
    """Every file in a folder and those below, but for hidden ones."""
    found = [path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file()]
    return sorted(name for name in found if not os.path.basename(name).startswith("."))


def raised(call, *arguments, **named):
    """The kind and the message of what a call raises; the kind is the built-in that an `except` would name. None: it
    raises nothing."""
    try:
        call(*arguments, **named)
    except Exception as error:  # noqa: BLE001  whatever it is, it is the outcome
        kind = next(one for one in type(error).__mro__ if one.__module__ == "builtins")
        return [kind.__name__, str(error)]
    return None


def kind_raised(call, *arguments, **named):
    """The kind alone, where the message is nobody's contract."""
    found = raised(call, *arguments, **named)
    return found and found[0]


def warned(call, *arguments, **named):
    """What a call returns, and the kind and the message of each warning on the way."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        returned = call(*arguments, **named)
    return returned, [[one.category.__name__, str(one.message)] for one in seen]


def printed(call, *arguments, **named):
    """What a call writes to the standard streams: (output, errors)."""
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        call(*arguments, **named)
    return output.getvalue(), errors.getvalue()


class Clock:
    """Seconds that pass only when a program says so."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@contextlib.contextmanager
def clock(api):
    """The clock of the trainers and progress bars of a library."""
    moved = Clock()
    places = {
        "chainer": [("chainer.training.trainer", "_get_time"), ("time", "time")],
        "holdfast": [("holdfast.training.trainer", "_clock"), ("holdfast.training.extensions.progress_bar", "_clock")],
    }
    with contextlib.ExitStack() as patched:
        for module, name in places[api.__name__]:
            patched.enter_context(mock.patch.object(importlib.import_module(module), name, moved))
        yield moved


def shifted(api, out, make, attr="lr", *, optimizer=None, trigger=None, stop=12, stopped_at=5):
    """What a shift does to an attribute of the optimizer.

    Args:
        make: makes the shift; it is called for each run.
        optimizer: makes the optimizer, by default SGD(0.5).
    Returns:
        The value in each of `stop` updates; and whether a run that was stopped in between has the same.
    """

    def run(stop, at, resume):
        training = Training(
            api, out, (stop, "iteration"), optimizer=(optimizer or (lambda: chainer.optimizers.SGD(0.5)))()
        )
        used = []
        training.trainer.extend(
            lambda trainer: used.append(float(getattr(training.optimizer, attr))), name="note", priority=1000
        )
        training.trainer.extend(make(), name="shift", trigger=trigger)
        if resume:
            api.serializers.load_npz(str(out / f"at_{stopped_at}.npz"), training.trainer)
        snapshot = api.training.extensions.snapshot(filename="at_{.updater.iteration}.npz")
        training.trainer.extend(snapshot, trigger=(at, "iteration"))
        training.run()
        return used

    whole = run(stop, stop, False)
    first = run(stopped_at, stopped_at, False)
    return [whole, first + run(stop, stop, True) == whole]
