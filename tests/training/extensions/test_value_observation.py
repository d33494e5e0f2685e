"""observe_value and observe_lr report at intervals, before those that read."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from holdfast.training import Trainer, extensions
from training.extensions.shifting import Tuning, groups, plain
from training.fakes import CountingUpdater


def rows(out, updater, *observers, keys):
    log = extensions.LogReport(trigger=(1, "iteration"), filename=None)
    trainer = Trainer(updater, (2, "epoch"), out=out, extensions=[*observers, log])
    trainer.run()
    return [tuple(row.get(key) for key in keys) for row in log.log if any(key in row for key in keys)]


def test_a_value_is_reported_once_an_epoch(tmp_path):
    observer = extensions.observe_value("twice", lambda trainer: 2 * trainer.updater.iteration)
    assert (observer.trigger, observer.priority, observer.default_name) == ((1, "epoch"), 300, "_observe_value")
    assert rows(tmp_path, CountingUpdater(5), observer, keys=["twice"]) == [(10,), (20,)]


def test_the_rates_of_all_groups_are_reported(tmp_path):
    updater = Tuning(main=groups(2.0, 0.25))
    updater.iterations_an_epoch = 3
    found = rows(tmp_path, updater, extensions.observe_lr(), keys=["lr", "lr/1"])
    assert found == [(2.0, 0.25)] * 2


def test_names_are_the_callers(tmp_path):
    updater = Tuning(gen=plain(3.0), dis=torch.optim.Adam([torch.zeros(1)], lr=0.5))
    updater.iterations_an_epoch = 3
    observers = [extensions.observe_lr("gen", "gen/lr"), extensions.observe_lr("dis", "dis/lr")]
    assert rows(tmp_path, updater, *observers, keys=["gen/lr", "dis/lr"]) == [(3.0, 0.5)] * 2


def test_what_cannot_be_observed_is_refused():
    with pytest.raises(TypeError, match="target_func must be a function of the trainer, not 3"):
        extensions.observe_value("x", 3)
    with pytest.raises(KeyError, match="has no optimizer 'other'; it has 'main'"):
        extensions.observe_lr("other")(SimpleNamespace(updater=Tuning(main=plain()), observation={}))
