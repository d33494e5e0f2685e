"""What is in a snapshot is the state at the moment of the call, whatever changes it then, and however it is written.

Everything is filled with the number of the step, saved, and changed in place as soon as the call returns: a snapshot
that holds anything else than its step was torn.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import savefuns
from engine.routes import ROUTES, Route, arrays_in, in_numpy
from faults.writing import IN_ANOTHER, WRITERS, name_of
from holdfast import files, keep
from holdfast.snapshot import Snapshot
from holdfast.store import SnapshotStore
from holdfast.training import Trainer
from holdfast.training.extensions import snapshot_object
from training.fakes import CountingUpdater

SNAPSHOTS = 11  # of each writer and each way: 506 in all


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A place for large files, which do not stay."""
    yield tmp_path
    shutil.rmtree(tmp_path)


def values_in(state: Any) -> set[float]:
    """Every number in the arrays of a nested state."""
    return {float(value) for array in arrays_in(state) for value in np.unique(array)}


@pytest.mark.parametrize("kind", WRITERS, ids=name_of)
@pytest.mark.parametrize("made", ROUTES, ids=name_of)
def test_a_state_that_changes_right_after_the_call_is_not_torn(folder, made: Callable[[], Route], kind):
    route = made()
    route.fill(0)
    route.mutate()
    assert all((array != 0).all() for array in arrays_in(route.target)), "this changes nothing, and proves nothing"

    def values_of(snapshot: Snapshot) -> set[float]:
        return values_in(files.load(snapshot, framework=route.framework))

    with SnapshotStore(folder, writer=kind(), keep=keep.last(3)) as store:
        saved = []
        for step in range(1, SNAPSHOTS + 1):
            route.fill(step)
            saved.append(store.save(step, route.target))
            route.mutate()
            if step > 1:  # the last one is still being written
                assert values_of(saved[-2].result()) == {step - 1}
        assert values_of(saved[-1].result()) == {SNAPSHOTS}


class Mutating(CountingUpdater):
    """Each update changes everything at once, and then fills it with its number."""

    def __init__(self, route: Route) -> None:
        super().__init__()
        self._route = route

    def update(self) -> None:
        self._route.mutate()
        super().update()
        self._route.fill(self.iteration)


def run(folder: Path, writer: Any) -> None:
    """A training with a snapshot after each iteration."""
    route = in_numpy()
    trainer = Trainer(Mutating(route), (SNAPSHOTS, "iteration"), out=folder)
    trainer.extend(snapshot_object(route.target, "w_{.updater.iteration}", writer=writer), trigger=(1, "iteration"))
    trainer.run()


def check_files(folder: Path) -> None:
    """Each has its own number, and nothing else."""
    for iteration in range(1, SNAPSHOTS + 1):
        with np.load(folder / f"w_{iteration}") as found:
            assert values_in(dict(found)) == {iteration}


class Keeping:
    """A writer as somebody else writes one: it keeps what it was given, and writes it when it comes to that."""

    def __init__(self) -> None:
        self.kept: dict[int, Mapping[str, Any]] = {}
        self._threads: list[threading.Thread] = []

    def __call__(self, filename: str, outdir: str, mapping: Mapping[str, Any]) -> None:
        self.kept[len(self.kept) + 1] = mapping
        self._threads.append(threading.Thread(target=self._write, args=(Path(outdir, filename), mapping)))
        self._threads[-1].start()

    def finalize(self) -> None:
        for thread in self._threads:
            thread.join()

    def _write(self, path: Path, mapping: Mapping[str, Any]) -> None:
        with path.open("wb") as file:
            np.savez(file, **mapping)


def test_what_a_writer_of_somebody_elses_keeps_does_not_change(folder):
    writer = Keeping()
    run(folder, writer)
    check_files(folder)
    for iteration, mapping in writer.kept.items():
        assert values_in(dict(mapping)) == {iteration}


@pytest.mark.parametrize("kind", WRITERS, ids=name_of)
def test_what_a_savefun_keeps_does_not_change(folder, kind):
    savefuns.kept.clear()
    run(folder, kind(savefuns.keeping))
    check_files(folder)
    assert len(savefuns.kept) == (0 if kind in IN_ANOTHER else SNAPSHOTS)
    savefuns.kept.clear()
