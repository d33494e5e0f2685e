"""What the sweeps try: a store, a file and a trainer, each used in a process that may end at any call.

A use is prepared by one process, carried out by a second, which tells what was begun and what was acknowledged, and
looked at by a third.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from faults import sweeps
from faults.sweeps import Seen
from faults.writing import IN_ANOTHER
from holdfast import files, iterators, lock
from holdfast.store import SnapshotStore
from holdfast.training import Trainer, extensions, updaters
from holdfast.writers import SimpleWriter


@dataclass(frozen=True)
class Use:
    """One thing that holdfast is used for.

    Attributes:
        act: what the process does that may end; it opens what it uses itself.
    """

    name: str
    prepare: Callable[[Path, Callable[..., Any], int], Any]  # the place, a kind of writer, floats of a state
    act: Callable[[Path, Any], None]
    check: Callable[[Path, Any], None]
    takes_writers: bool = True


New = Callable[[Path], Any]
"""Makes a place that is prepared, and gives what the process that prepared it was told."""


def _store_use(scenario: sweeps.Scenario) -> Use:
    must_be_left = 1 if scenario is sweeps.pruning_of_what_another_process_wrote else 2

    def prepare(location: Path, kind: Callable[..., Any], size: int) -> Seen:
        location.mkdir()
        return sweeps.prepare(location, scenario, kind, size)

    def check(location: Path, seen: Seen) -> None:
        sweeps.forget_everything()
        sweeps.check(sweeps.place_of(location, scenario), seen, must_be_left)

    return Use(scenario.__name__, prepare, scenario, check)


class OneFile:
    """holdfast.save over a path."""

    @staticmethod
    def prepare(location: Path, kind: Callable[..., Any], size: int) -> Seen:
        location.mkdir()
        seen = Seen(size=size)
        files.save(location / "model", sweeps.state(1.0, size))
        seen.begin(1, 1.0)
        seen.acknowledge(1, 1.0)
        return seen

    @staticmethod
    def act(location: Path, seen: Seen) -> None:
        for value in (2.0, 3.0):
            seen.begin(1, value)
            files.save(location / "model", sweeps.state(value, seen.size))
            seen.acknowledge(1, value)

    @staticmethod
    def check(location: Path, seen: Seen) -> None:
        SnapshotStore(location).close()  # who opens it sweeps
        assert sweeps.temporary_files(location) == []
        files.verify(location / "model")
        found = files.restore(location / "model", sweeps.state(0.0, seen.size))
        assert found["value"] in seen.possible[1], f"{found['value']} of {seen.possible[1]}"
        assert np.all(found["w"] == found["value"]), "a torn array"
        files.save(location / "model", sweeps.state(9.0, seen.size))
        assert files.load(location / "model")["value"] == 9.0


@dataclass
class Run:
    """What a trainer was told; every snapshot's value is the number of its iteration."""

    kind: Callable[..., Any]
    size: int
    tell: Callable[..., object] = sweeps.nothing
    acknowledged: dict[str, float] = field(default_factory=dict)  # by the names of the files, in order

    def acknowledge(self, name: str, value: float) -> None:
        self.acknowledged.pop(name, None)
        self.acknowledged[name] = value
        self.tell("acknowledge", name, value)

    def hear(self, words: Any) -> None:
        """What another process has told."""
        for what, *more in words:
            if what == "acknowledge":
                self.acknowledge(more[0], float(more[1]))


class Training:
    """A trainer with snapshots of all of it, of an object, and of an object under one name."""

    SERIES = ("snapshot_iter_", "model_")
    KEPT = 2

    @classmethod
    def prepare(cls, location: Path, kind: Callable[..., Any], size: int) -> Run:
        run = Run(SimpleWriter, size)
        cls._train(location, run, 2)
        run.kind = kind
        return run

    @classmethod
    def act(cls, location: Path, run: Run) -> None:
        cls._train(location, run, 4)

    @classmethod
    def check(cls, location: Path, run: Run) -> None:
        sweeps.forget_everything()
        before = dict(run.acknowledged)
        run.kind = SimpleWriter
        newest = max((value for name, value in before.items() if name.startswith(cls.SERIES[0])), default=0.0)
        lock.acquire(str(location)).release()  # what a writer process has left to do is done then
        for series in cls.SERIES:
            there = {name for name in os.listdir(location) if name.startswith(series)}
            told = [name for name in before if name.startswith(series)]
            must = set(told[len(told) - cls.KEPT + len(there - set(told)) :]) if len(told) > 1 else set(told)
            assert must <= there, f"{sorted(must - there)} were acknowledged"
        for name in os.listdir(location):
            if not name.startswith(".") and name != "log":
                assert files.verify(location / name).name == name
                if name.startswith("model"):
                    value = files.load(location / name).flat[0]
                    assert np.all(files.load(location / name) == value), "a torn array"
                    assert name == f"model_{value:.0f}" or (name == "model" and value >= before.get(name, 0.0))
        began = cls._train(location, run, 6)
        assert began >= newest, f"resumed from {began}, though {newest} was acknowledged"
        assert sweeps.temporary_files(location) == []
        assert {"snapshot_iter_5", "snapshot_iter_6", "model_5", "model_6", "model"} <= set(os.listdir(location))
        assert len(os.listdir(location)) == 6, os.listdir(location)  # with the lock

    @classmethod
    def _train(cls, location: Path, run: Run, until: int) -> float:
        """Run a trainer; returns from which iteration on."""
        weights = np.zeros(run.size)
        began = list[float]()

        def step(batch: object) -> None:
            began.append(weights[0])
            weights[:] += 1

        def writer() -> Any:
            made = run.kind()
            submit = made.submit

            def noting(job: Any) -> Any:
                value = float(weights[0])
                job.pending.add_done_callback(
                    lambda pending: None if pending.unseen_failure() else run.acknowledge(job.name, value)
                )
                return submit(job)

            made.submit = noting
            return made

        batches = iterators.BatchIterator(np.arange(4.0), 1)
        updater = updaters.FunctionUpdater(batches, step, targets={"weights": weights})
        trainer = Trainer(updater, (until, "iteration"), out=str(location))
        every = (1, "iteration")
        for name, series in (("kept", "model_{.updater.iteration}"), ("one", "model")):
            kept = cls.KEPT if name == "kept" else -1
            one = extensions.snapshot_object(weights, series, n_retains=kept, writer=writer())
            trainer.extend(one, name=name, trigger=every)
        trainer.extend(extensions.snapshot(n_retains=cls.KEPT, autoload=True, writer=writer()), trigger=every)
        with redirect_stderr(io.StringIO()):  # why a run ended
            trainer.run()
        return began[0] if began else float(until)


FILE = Use("a file", OneFile.prepare, OneFile.act, OneFile.check, takes_writers=False)
TRAINER = Use("a trainer", Training.prepare, Training.act, Training.check)
USES = {use.name: use for use in (*map(_store_use, sweeps.SCENARIOS), FILE, TRAINER)}


@contextmanager
def prepared(use: Use, kind: Callable[..., Any], size: int, folder: Path) -> Iterator[New]:
    """Prepares one place, of which the others are copies."""
    first = folder / f"prepared {use.name} {size}"
    seen = use.prepare(first, kind, size)

    def make(location: Path) -> Any:
        shutil.copytree(first, location)
        return deepcopy(seen)

    try:
        yield make
    finally:
        shutil.rmtree(first)


def warmed(kind: Callable[..., Any], folder: Path, count: int) -> tuple[Callable[..., Any], list[int]]:
    """A way to make `count` writers at most, whose threads and processes have been started already, and their ids."""
    if kind is SimpleWriter:
        return kind, []
    made, ids = [], []
    for number in range(count):
        writer = kind()
        SnapshotStore(folder / str(number), writer=writer).save(1, sweeps.state(1.0)).result()
        made.append(writer)
        ids.append(writer._carrier._helper.pid if kind in IN_ANOTHER else writer._carrier._thread.native_id)
    return made.pop, ids
