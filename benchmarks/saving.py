"""Saving and restoring one state, by several contestants, in one process and in random order in every round.

Just before each snapshot the yardsticks are measured in the same process, so that ratios are made of pairs. Files are
removed, and the disk is idle again, before the next one begins.
"""

from __future__ import annotations

import gc
import math
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import contestants
import yardsticks
from contestants import Absent, Contestant, Holdfast
from floor import Floor
from states import State, make

Emit = Callable[[dict[str, Any]], None]


def run(args: dict[str, Any], emit: Emit) -> None:
    """Args: state; names; folder; seed; rounds and restores: how many, of each name; whole: these have them all, others
    none that begins after they have taken allowance_s."""
    state = make(args["state"])
    emit({"what": "state", "state": state.name, "size_bytes": state.size_bytes, "leaves": len(state.tensors)})
    session = Session(state, Path(args["folder"]), emit, random.Random(args["seed"]))
    session.enter(args["names"])
    wanted, spent = args["rounds"], dict.fromkeys(args["names"], 0.0)
    for number in range(1 + max(wanted.values())):  # the first one warms everything up
        for name in session.shuffled():
            if number <= wanted[name] and (spent[name] < args["allowance_s"] or name in args["whole"]):
                began = time.perf_counter()
                session.save(name, number, math.inf if name in args["whole"] else args["allowance_s"])
                spent[name] += time.perf_counter() - began
    session.keep_flat()
    for number in range(1, 1 + max(args["restores"].values())):
        for name in session.shuffled():
            if number > args["restores"][name]:
                continue
            if spent[name] >= args["allowance_s"] and name not in args["whole"]:
                emit({"what": "no restore", "contestant": name, "state": state.name, "spent_s": spent[name]})
                continue
            session.restore(name, number)
    session.leave()


class Session:
    """The contestants of one process, and the file that each has written last."""

    def __init__(self, state: State, folder: Path, emit: Emit, chance: random.Random) -> None:
        self._state, self._folder, self._emit, self._chance = state, folder, emit, chance
        self._there: dict[str, Contestant] = {}
        self._paths: dict[str, Path] = {}
        self._flat: Path | None = None
        leaves = [(one.data_ptr(), one.nbytes) for one in state.tensors]
        self._copier = yardsticks.Copier(leaves)
        self._floor = Floor(self._copier)
        self._idle_floor = Floor(yardsticks.Copier(leaves))  # memory that is written to once a round, as an arena is
        self._read: tuple[int, int] | None = None
        self._copier.seconds()

    def enter(self, names: list[str]) -> None:
        """Make the contestants."""
        for name in names:
            try:
                self._there[name] = contestants.make(name, self._folder)
                if hasattr(self._there[name], "ready"):
                    self._there[name].ready(self._state)  # type: ignore[attr-defined]
            except Absent as error:
                self._emit({"what": "absent", "contestant": name, "why": str(error)})

    def shuffled(self) -> list[str]:
        """Who is there, in random order."""
        return self._chance.sample(sorted(self._there), len(self._there))

    def save(self, name: str, number: int, allowance_s: float = math.inf) -> None:
        """One snapshot, timed; number 0 warms up, unless it takes longer than allowance_s: it is the only one then."""
        contestant, raw = self._there[name], self._folder / "raw"
        self._emit({"what": "begin", "contestant": name, "state": self._state.name})
        gc.collect()
        yardsticks.settle(self._folder)
        sample: dict[str, Any] = {"what": "save", "state": self._state.name, "contestant": name, "round": number}
        if isinstance(contestant, Holdfast) and number > 0:
            sample["raw_write_s"] = self._copier.write_seconds(raw)
        path = contestants.path_for(contestant, self._folder, number)
        sample["floor_s"] = self._floor.seconds()
        sample["memcpy_s"] = self._copier.seconds()
        if name == contestants.OURS and number % 2:  # in turn before and after the save
            sample["idle_floor_s"] = self._idle_floor.seconds()
        try:
            sample |= timed_save(contestant, self._state, path)
        except Exception as error:  # noqa: BLE001  whatever a peer raises is its result
            self._fail(name, error)
            return
        if name == contestants.OURS and not number % 2:
            sample["idle_floor_s"] = self._idle_floor.seconds()
        if number == 0 and sample["fsynced_s"] > allowance_s:
            sample["round"] = 1
        self._emit(sample)
        remove(raw)
        if name in self._paths:
            remove(self._paths[name])
        self._paths[name] = path

    def keep_flat(self) -> None:
        """A snapshot of holdfast's that has the tensors of a model and its optimizer as one dict."""
        ours = self._there.get(contestants.OURS) or self._there.get("holdfast Simple")
        if self._state.model is not None and isinstance(ours, Holdfast):
            self._flat = ours.path_of(999)
            ours.save_target(self._state.flat(), self._flat)()

    def restore(self, name: str, number: int) -> None:
        """Warm and cold, each into everything that this contestant is asked for."""
        contestant = self._there[name]
        if name not in self._paths:
            return
        self._emit({"what": "begin", "contestant": name, "state": self._state.name})
        tasks: dict[str, tuple[Path, Callable[[], object]]] = {
            "touched": (self._paths[name], lambda: contestant.restore(self._state, self._paths[name]))
        }
        model = self._state.model
        if isinstance(contestant, Holdfast) and model is not None and self._flat is not None:
            tasks = _both_ways(self._state, self._flat, self._paths[name])
        for into, (path, act) in tasks.items():
            for heat in self._chance.sample(["warm", "cold"], 2):
                sample = {"what": f"restore {heat}", "into": into, "state": self._state.name, "contestant": name}
                try:
                    self._emit({**sample, "round": number, **self._timed_restore(heat, path, act, name)})
                except Exception as error:  # noqa: BLE001  whatever a peer raises is its result
                    self._fail(name, error)
                    return

    def _timed_restore(self, heat: str, path: Path, act: Callable[[], object], name: str) -> dict[str, Any]:
        gc.collect()
        yardsticks.settle(self._folder)
        found: dict[str, Any] = {}
        if heat == "warm":
            yardsticks.warm(path)
        else:
            found["left_in_cache"] = yardsticks.drop(path)
            if name in contestants.WRITERS:
                self._read = self._read or yardsticks.best_read(path)
                found["raw_read_s"] = yardsticks.raw_read(path, *self._read)
        spoiled = [tensor for tensor in self._state.tensors[:: max(1, len(self._state.tensors) // 7)] if tensor.dim()]
        before = [tensor.flatten()[:4].clone() for tensor in spoiled]
        for tensor in spoiled:
            tensor.view(-1)[:4].add_(1)
        found["memcpy_s"] = self._copier.seconds()
        began = time.perf_counter()
        act()
        found["seconds"] = time.perf_counter() - began
        found["same"] = all(torch.equal(t.flatten()[:4], b) for t, b in zip(spoiled, before, strict=True))
        for tensor, values in zip(spoiled, before, strict=True):
            tensor.view(-1)[:4].copy_(values)
        return found

    def leave(self) -> None:
        """Close them all."""
        for contestant in self._there.values():
            contestant.close()

    def _fail(self, name: str, error: Exception) -> None:
        where = f"state ({self._state.name})"
        self._emit({"what": "absent", "contestant": name, "why": f"{where}: {type(error).__name__}: {error}"[:300]})
        del self._there[name]


def timed_save(contestant: Contestant, state: State, path: Path) -> dict[str, float]:
    """Seconds until the call returned, and until everything was fsynced."""
    began = time.perf_counter()
    finish = contestant.save(state, path)
    stall_s = time.perf_counter() - began
    finish()
    if not contestant.durable:
        yardsticks.sync_tree(path)
    return {"stall_s": stall_s, "fsynced_s": time.perf_counter() - began}


def _both_ways(state: State, flat: Path, whole: Path) -> dict[str, tuple[Path, Callable[[], object]]]:
    """Into touched tensors, and into a model with an optimizer that has not made a step."""
    import holdfast

    tensors, model = state.flat(), state.model
    assert model is not None

    def fresh() -> None:
        holdfast.restore(whole, {"model": model, "optimizer": torch.optim.AdamW(model.parameters(), lr=1e-5)})

    return {"touched": (flat, lambda: holdfast.restore(flat, tensors)), "model": (whole, fresh)}


def remove(path: Path) -> None:
    """A file or a folder, where it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
