"""A file that was restored is let go of at once: its map would keep the disk space of a snapshot that is removed."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest

import holdfast


@pytest.fixture
def no_collection():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def is_mapped(path: Path) -> bool:
    return str(path) in Path("/proc/self/maps").read_text()


def nested(value):
    return {"a": np.full(4, value), "list": [np.full(2, value)], "tuple": (int(value), np.full(3, value)), "n": value}


def module(value):
    torch = pytest.importorskip("torch")
    layer = torch.nn.Linear(2, 2)
    layer.weight.data.fill_(value)
    return {"layer": layer, "optimizer": torch.optim.Adam(layer.parameters())}


def generators(value):
    return {"generator": np.random.default_rng(int(value))}


@pytest.mark.parametrize("make", [nested, module, generators])
def test_after_a_restore_nothing_looks_into_the_file(tmp_path, no_collection, make):
    path = tmp_path / "snapshot"
    holdfast.save(path, make(1.0))
    holdfast.restore(path, make(2.0))
    assert not is_mapped(path)


def test_after_a_misfit_nothing_looks_into_the_file(tmp_path, no_collection):
    path = tmp_path / "snapshot"
    holdfast.save(path, nested(1.0))
    target = {**nested(2.0), "a": np.zeros(5)}
    try:
        holdfast.restore(path, target)
    except holdfast.MismatchError:
        missed = True
    assert missed
    assert not is_mapped(path)


def test_what_load_returns_keeps_the_file_for_as_long_as_it_is_used(tmp_path, no_collection):
    path = tmp_path / "snapshot"
    holdfast.save(path, nested(1.0))
    loaded = holdfast.load(path)
    assert is_mapped(path)
    del loaded
    assert not is_mapped(path)
