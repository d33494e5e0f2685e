"""A training loop with snapshots beneath it: GPT-2 small, batch 1 x 128 tokens, AdamW, on the CPU.

A run has 60 steps and a snapshot every 20, taken at the start of steps 1, 21 and 41, so that each has 20 steps to be
written beneath. It is measured in slices of 20 steps, whose clock ends when their snapshot, too, is fsynced: slices
without snapshots and with those of each contestant take turns in one process, in a new random order each time, since a
processor's speed changes more from minute to minute than snapshots slow a loop down.
"""

from __future__ import annotations

import gc
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import contestants
import yardsticks
from contestants import NONE, Absent, Contestant
from saving import remove
from states import VOCABULARY, State, make

Emit = Callable[[dict[str, Any]], None]


def run(args: dict[str, Any], emit: Emit) -> None:
    """Args: names; folder; seed; repetitions; steps; every: a snapshot; tokens."""
    state, folder, chance = make("a"), Path(args["folder"]), random.Random(args["seed"])
    there: dict[str, Contestant | None] = {NONE: None}
    for name in args["names"]:
        try:
            there[name] = made = contestants.make(name, folder)
            if hasattr(made, "ready"):
                made.ready(state)
        except Absent as error:
            emit({"what": "absent", "contestant": name, "why": str(error)})
    for contestant in there.values():  # what is made for the first snapshot of a process is not the subject
        if contestant is not None:
            path = contestants.path_for(contestant, folder, 0)
            contestant.save(state, path)()
            remove(path)
    train(state, 3, args["tokens"])
    for number in range(args["repetitions"] * args["steps"] // args["every"]):
        for name in chance.sample(sorted(there), len(there)):
            emit({"what": "begin", "contestant": name, "state": "loop"})
            gc.collect()
            yardsticks.settle(folder)
            loop = Loop(there[name], state, folder, 1 + number)
            began = time.perf_counter()
            loop.snapshot()
            train(state, args["every"], args["tokens"])
            steps_s = time.perf_counter() - began
            loop.wait()
            seconds = time.perf_counter() - began
            emit({"what": "loop", "contestant": name, "slice": number, "seconds": seconds, "steps_s": steps_s,
                  "stall_s": loop.stall_s})  # fmt: skip
            if loop.path is not None:
                remove(loop.path)


def train(state: State, steps: int, tokens: int) -> None:
    """So many steps: forward, backward, AdamW."""
    assert state.model is not None
    assert state.optimizer is not None
    for _ in range(steps):
        batch = torch.randint(VOCABULARY, (1, tokens))
        state.model(batch).backward()
        state.optimizer.step()
        state.optimizer.zero_grad()


class Loop:
    """The snapshot of one slice. What a contestant does not fsync itself is fsynced beneath the loop, too."""

    def __init__(self, contestant: Contestant | None, state: State, folder: Path, step: int) -> None:
        self._contestant, self._state, self._folder, self._step = contestant, state, folder, step
        self._syncing: threading.Thread | None = None
        self.path: Path | None = None
        self.stall_s = 0.0

    def snapshot(self) -> None:
        """Take it."""
        if self._contestant is None:
            return
        began = time.perf_counter()
        path = contestants.path_for(self._contestant, self._folder, self._step)
        finish = self._contestant.save(self._state, path)
        self.path = path
        durable = self._contestant.durable

        def end() -> None:
            finish()
            if not durable:
                yardsticks.sync_tree(path)

        self._syncing = threading.Thread(target=end)
        self._syncing.start()
        self.stall_s = time.perf_counter() - began

    def wait(self) -> None:
        """Until it is fsynced."""
        if self._syncing is not None:
            self._syncing.join()
            self._syncing = None
