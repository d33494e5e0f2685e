"""The runs of R15: what one life of a run does, from its start to its end or its death.

A life looks at what the last one has left, resumes, and trains on; it tells what it does, and what it finds wrong.
"""

from __future__ import annotations

import hashlib
import logging
import os
import random
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

import numpy as np

import holdfast
from faults.forks import Tell
from holdfast import files, iterators, keep, lock, training, writers
from holdfast.storage.base import TEMPORARY_SUFFIX
from holdfast.training import extensions, updaters

STEPS = 400  # of a run
EVERY = 3  # steps to a snapshot
KEPT = 2
NUMBERS = 5000
WRITERS = ("SimpleWriter", "ThreadWriter", "ThreadQueueWriter", "ProcessWriter", "ProcessQueueWriter")
YEAR_S = 365 * 86400.0


@dataclass(frozen=True)
class Life:
    """
    Attributes:
        place: of the run.
        writer: one of WRITERS.
        seed: of how the clock jumps; None: it does not.
    """

    place: str
    writer: str
    seed: int | None


def of_a_store(life: Life, tell: Tell) -> None:
    """A loop with a SnapshotStore. Tells "resumed", "saved" and "done", each with the step; and "full"."""
    _begin(life, tell)
    state: dict[str, Any] = {"weights": np.zeros(NUMBERS), "noise": np.random.default_rng(5), "step": 0}
    writer = getattr(writers, life.writer)()
    with holdfast.SnapshotStore(life.place, keep=keep.last(KEPT), writer=writer, on_failure="warn") as store:
        state, resumed = store.resume(state)
        _check_swept(life, tell)
        tell("resumed", 0 if resumed is None else resumed.step)
        while state["step"] < STEPS:
            state["weights"] = 0.9 * state["weights"] + state["noise"].random(NUMBERS)
            state["step"] += 1
            if state["step"] % EVERY == 0:
                pending = store.save(state["step"], state)
                pending.add_done_callback(_saved(tell, state["step"]))
    tell("done", state["step"], digest(state["weights"]))


def of_a_trainer(life: Life, tell: Tell) -> None:
    """A trainer with both extensions. Tells "resumed", "at" and "done", each with the iteration; and "full"."""
    _begin(life, tell)
    weights, noise = np.zeros(NUMBERS), np.random.default_rng(0)

    def step(batch: Any) -> None:
        weights[:] = 0.9 * weights + batch + noise.random(NUMBERS)

    batches = iterators.BatchIterator(np.arange(40.0), 1, shuffle=True, seed=1)
    updater = updaters.FunctionUpdater(batches, step, targets={"weights": weights, "noise": noise})
    trainer = training.Trainer(updater, (STEPS, "iteration"), out=life.place)
    told = False

    def say(given: Any) -> None:
        nonlocal told
        if not told:
            told = True
            _check_swept(life, tell)
            tell("resumed", updater.iteration - 1)
        tell("at", updater.iteration)

    trainer.extend(say, name="say", trigger=(1, "iteration"))
    for extension in (
        extensions.snapshot(n_retains=KEPT, autoload=True, writer=_writer(life), on_failure="warn"),
        extensions.snapshot_object(
            weights, "w_{.iteration}.npz", n_retains=KEPT, writer=_writer(life), on_failure="warn"
        ),
    ):
        trainer.extend(extension, trigger=(EVERY, "iteration"))
    trainer.run()
    tell("done", updater.iteration, digest(weights))


KINDS: dict[str, Callable[[Life, Tell], None]] = {"store": of_a_store, "trainer": of_a_trainer}


def digest(weights: Any) -> str:
    """Of every bit of an array."""
    return hashlib.sha256(np.ascontiguousarray(weights).tobytes()).hexdigest()


def _writer(life: Life) -> Any:
    return getattr(writers, life.writer)()


def _saved(tell: Tell, step: int) -> Callable[[Any], None]:
    def done(pending: Any) -> None:
        if Future.exception(pending) is None:  # Pending's own would count as having heard of it
            tell("saved", step)

    return done


def _begin(life: Life, tell: Tell) -> None:
    logger = logging.getLogger("holdfast")
    logger.addHandler(_Listening(tell))
    logger.propagate = False
    if life.seed is not None:
        _let_the_clock_jump(random.Random(life.seed))
    whole = sorted(_step_of(path) for path in Path(life.place).glob("snapshot_*"))
    for path in Path(life.place).glob("w_*"):
        holdfast.load(path)
    tell("found", whole)


def _step_of(path: Path) -> int:
    """Of a file under a final name, which must be whole."""
    return holdfast.verify(path).step or 0


def _check_swept(life: Life, tell: Tell) -> None:
    left = [name for name in os.listdir(life.place) if TEMPORARY_SUFFIX in name]
    if left:
        tell("wrong", f"not swept: {left}")


class _Listening(logging.Handler):
    """Takes a full disk for what it is, and any other warning for a mistake."""

    def __init__(self, tell: Tell) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        # Where several fail at the end, one is raised, and told as such; a writer logs the others.
        is_told = "training goes on" in text or "not kept, and nobody was told" in text
        if is_told and "No space left on device" in text and " are free in " in text:
            self._tell("full")
        else:
            self._tell("wrong", text[:1500])


def _let_the_clock_jump(chance: random.Random) -> None:
    """By years, forwards and back, whenever holdfast looks at it."""
    real, offset_s = time.time, 0.0

    def skewed() -> float:
        return real() + offset_s

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            nonlocal offset_s
            if chance.random() < 0.3:
                offset_s = chance.uniform(-20, 20) * YEAR_S
            return datetime.fromtimestamp(skewed(), tz)

    time.time = skewed
    files.datetime = Clock  # type: ignore[misc]
    lock.datetime = Clock  # type: ignore[misc]
