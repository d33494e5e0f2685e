"""One of several processes that want to write to the same store; forked by r13_two_writers.py, which may stop or kill
it at any moment.

It tells what it does in lines through a pipe. Each value that it saves is its own, so that a file with bytes of two
writers would show. Whether it is alone in the store, a record lock on another file tells: the witness.
"""

from __future__ import annotations

import ctypes
import fcntl
import itertools
import json
import os
import random
import re
import select
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from holdfast.errors import StoreLockedError
from holdfast.store import SnapshotStore
from holdfast.writers import ProcessWriter, SimpleWriter, ThreadWriter

TEMPLATES = ("a_{step}", "b_{step}")
WRITERS: dict[str, Callable[[], Any]] = {"simple": SimpleWriter, "thread": ThreadWriter, "process": ProcessWriter}
SAVES = 4  # while the store is open, at most
PAUSE_S = 0.002  # between two tries, at most


@dataclass(frozen=True)
class Place:
    """Where a round is fought out."""

    location: str  # the store
    witness: str  # a file
    notes: int  # descriptor of the pipe that lines go to
    stop: int  # and of one that ends when the round does


def state(value: float) -> dict[str, Any]:
    return {"w": np.full(2048, value), "value": value}


class Contender:
    """
    Args:
        number: of this process in its round.
        shape: "one": a store; "two": two stores of different templates, as two extensions in one folder have them;
            "threads": two stores of one template. Where there are two, each has a thread of its own.
        writer: one of WRITERS.
    """

    def __init__(self, place: Place, number: int, shape: str, writer: str, seed: int) -> None:
        self._place = place
        self._shape = shape
        self._writer = writer
        self._chance = random.Random(seed)
        self._values = (1000.0 * number + one for one in itertools.count(1))
        self._guard = threading.Lock()
        self._witness = os.open(place.witness, os.O_RDWR | os.O_CREAT)
        self._has_worker = False

    def run(self) -> None:
        """Until the round ends."""
        try:
            while not self._is_over(self._chance.uniform(0, PAUSE_S)):
                if self._chance.random() < 0.25:
                    self._read()
                self._try()
        except Exception as error:  # noqa: BLE001  whatever it is, the round is to hear of it
            self._fail(error)

    def _try(self) -> None:
        templates = {"one": TEMPLATES[:1], "two": TEMPLATES, "threads": 2 * TEMPLATES[:1]}[self._shape]
        with ExitStack() as opened:
            try:
                stores = [
                    opened.enter_context(
                        SnapshotStore(self._place.location, filename=template, writer=WRITERS[self._writer]())
                    )
                    for template in templates
                ]
            except StoreLockedError as error:
                self._note("locked", str(error))
                return
            self._note("open")
            try:
                fcntl.lockf(self._witness, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                self._note("error", "two processes have the store open")
            before = self._names()
            if not self._has_worker and self._chance.random() < 0.2:
                self._fork_worker()
            steps = {template: self._steps(template, before) for template in TEMPLATES}
            saves = [(store, steps[template]) for store, template in zip(stores, templates, strict=True)]
            threads = [threading.Thread(target=self._save, args=one) for one in saves[1:]]
            for thread in threads:
                thread.start()
            self._save(*saves[0])
            for thread in threads:
                thread.join()
            strange = self._names() - before - self._saved
            if strange:
                self._note("error", f"somebody else wrote {sorted(strange)}")
            fcntl.lockf(self._witness, fcntl.LOCK_UN)
        self._note("closed")

    def _save(self, store: SnapshotStore, steps: Iterator[int]) -> None:
        try:
            for _ in range(self._chance.randint(1, SAVES)):
                with self._guard:
                    step, value = next(steps), next(self._values)
                pending = store.save(step, state(value))
                name = os.path.basename(pending.name)
                with self._guard:
                    self._saved.add(name)
                self._note("saved", name, value, pending.result().sequence)
        except Exception as error:  # noqa: BLE001  as above; a thread's would be lost
            self._fail(error)

    def _steps(self, template: str, names: set[str]) -> Iterator[int]:
        """Those after the highest that is there."""
        self._saved: set[str] = set()
        prefix = template.partition("{")[0]
        return itertools.count(1 + max((int(name[2:]) for name in names if name.startswith(prefix)), default=0))

    def _names(self) -> set[str]:
        return {name for name in os.listdir(self._place.location) if re.fullmatch("[ab]_[0-9]+", name)}

    def _read(self) -> None:
        """Readers take no lock, and find what is there whole."""
        target = state(0.0)
        with SnapshotStore(self._place.location, filename=TEMPLATES[0], readonly=True) as store:
            _, snapshot = store.resume(target)
        if (snapshot is None) != (target["value"] == 0.0) or (target["w"] != target["value"]).any():
            self._note("error", f"read {target}")

    def _fork_worker(self) -> None:
        """A child that does nothing and lives on, forked with or without Python's knowledge."""
        self._has_worker = True
        behind = self._writer != "process" and self._chance.random() < 0.5  # then it has no descriptor of the lock
        if (ctypes.PyDLL(None).fork() if behind else os.fork()) == 0:
            select.select([self._place.stop], [], [])
            os._exit(0)

    def _is_over(self, pause_s: float) -> bool:
        return bool(select.select([self._place.stop], [], [], pause_s)[0])

    def _fail(self, error: Exception) -> None:
        where = " ".join(traceback.format_exc(chain=False)[-800:].split())
        self._note("error", f"{type(error).__name__}: {error} ({where})")

    def _note(self, what: str, *more: object) -> None:
        told = [one[:1000] if isinstance(one, str) else one for one in more]  # short enough to be written as one
        os.write(self._place.notes, json.dumps([os.getpid(), what, *told]).encode() + b"\n")
