"""What grows with the state: the first snapshot, seconds by bytes and by leaves; and if a snapshot is of one moment."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import contestants
import yardsticks
from contestants import Absent, Holdfast
from floor import Floor
from saving import remove
from states import MIB, make

Emit = Callable[[dict[str, Any]], None]


def first(args: dict[str, Any], emit: Emit) -> None:
    """The first snapshot of a store, after `warm_up_s` seconds to have memory ready, and without them."""
    state, folder = make(args["state"]), Path(args["folder"])
    copier = yardsticks.Copier((one.data_ptr(), one.nbytes) for one in state.tensors)
    copier.seconds()
    for number in range(args["rounds"]):
        for warmed in (True, False):
            if not warmed and number >= args["unwarmed"]:
                continue
            contestant = Holdfast(contestants.OURS, folder / f"first{number}{warmed}")
            can = contestant.prepare(state.target) if warmed else False
            yardsticks.settle(folder)
            if can:
                time.sleep(args["warm_up_s"])
            sample: dict[str, Any] = {"what": "first", "prepared": can, "warmed": warmed, "memcpy_s": copier.seconds()}
            path = contestant.path_of(1)
            began = time.perf_counter()
            finish = contestant.save(state, path)
            sample["stall_s"] = time.perf_counter() - began
            finish()
            emit(sample)
            contestant.close()
            remove(folder / f"first{number}{warmed}")
            del contestant, finish
            gc.collect()
            if warmed and not can:
                emit({"what": "absent", "contestant": "prepare", "why": "this holdfast's stores have no prepare()"})
                return


def by_bytes(args: dict[str, Any], emit: Emit) -> None:
    """The stall of states of leaves of 4 MiB, which take turns in random order, since the memory of a shared machine is
    not as fast at all times. Before each, 256 MiB are rewritten, so that no state lies in a cache: by one thread, or by
    torch's, whose other threads go on spinning for milliseconds and take their part of a processor.
    """
    folder, chance = Path(args["folder"]), random.Random(args["seed"])
    dirt = torch.zeros(64 * MIB)
    rows = dirt.numpy()

    def rewrite(spinning: bool) -> None:
        if spinning:
            dirt.add_(1)
        else:
            np.add(rows, 1, out=rows)

    states = {size: make(f"bytes:{size}") for size in args["sizes"]}
    copiers = {
        size: yardsticks.Copier((one.data_ptr(), one.nbytes) for one in state.tensors) for size, state in states.items()
    }
    floors = {size: Floor(copier) for size, copier in copiers.items()}
    savers = {size: Holdfast(contestants.OURS, folder / f"bytes{size}") for size in states}
    for number in range(args["rounds"] + 1):
        turns = [(size, spinning) for size in states for spinning in (False, True) for _ in range(_turns(size))]
        for turn, (size, spinning) in enumerate(chance.sample(turns, len(turns))):
            yardsticks.settle(folder)
            rewrite(spinning)
            memcpy_s = copiers[size].seconds()
            rewrite(spinning)
            floor_s = floors[size].seconds()
            rewrite(spinning)
            path = savers[size].path_of(1000 * number + turn)
            began = time.perf_counter()
            finish = savers[size].save(states[size], path)
            stall_s = time.perf_counter() - began
            finish()
            remove(path)
            if number:
                sample = {"stall_s": stall_s, "memcpy_s": memcpy_s, "floor_s": floor_s}
                emit({"what": "bytes", "spinning": spinning, "size_bytes": states[size].size_bytes, **sample})
    for saver in savers.values():
        saver.close()


def by_leaves(args: dict[str, Any], emit: Emit) -> None:
    """The stall of states of leaves of 1 KiB, beside a bare walk and one torch._foreach_copy_ of the same leaves."""
    folder = Path(args["folder"])
    for count in args["counts"]:
        state = make(f"leaves:{count}")
        touched = [torch.zeros_like(one) for one in state.tensors]
        contestant = Holdfast(contestants.OURS, folder / f"leaves{count}")
        for number in range(args["rounds"] * _turns(1024 * count) + 1):
            yardsticks.settle(folder)
            gc.collect()
            began = time.perf_counter()
            found: list[torch.Tensor] = []
            walk(state.target, "", found)
            torch._foreach_copy_(touched, found)
            bare_s = time.perf_counter() - began
            path = contestant.path_of(number)
            began = time.perf_counter()
            finish = contestant.save(state, path)
            stall_s = time.perf_counter() - began
            finish()
            remove(path)
            if number:
                emit({"what": "leaves", "leaves": count, "stall_s": stall_s, "bare_s": bare_s})
        contestant.close()


def _turns(size_bytes: int) -> int:
    """How often a state is saved in one round: a small one is cheap, and its stall more easily disturbed."""
    return 3 if size_bytes < 512 * MIB else 1


def walk(value: object, path: str, found: list[torch.Tensor]) -> None:
    """The least that a snapshot must do with a tree: come by each leaf, and know its path."""
    if type(value) is dict:
        for key, inner in value.items():
            walk(inner, f"{path}/{key}", found)
    elif isinstance(value, torch.Tensor):
        found.append(value)


def moment(args: dict[str, Any], emit: Emit) -> None:
    """Whether what is saved is the state at the call: every tensor is changed in place as soon as it has returned."""
    folder = Path(args["folder"])
    for name in args["names"]:
        state = make(f"bytes:{128 * MIB}")
        before = [one.clone() for one in state.tensors]
        try:
            contestant = contestants.make(name, folder)
            if hasattr(contestant, "ready"):
                contestant.ready(state)
            path = contestants.path_for(contestant, folder, 1)
            finish = contestant.save(state, path)
            torch._foreach_add_(state.tensors, 1)
            finish()
            contestant.restore(state, path)
            kept = all(torch.equal(one, was) for one, was in zip(state.tensors, before, strict=True))
            contestant.close()
        except Absent as error:
            emit({"what": "absent", "contestant": name, "why": str(error)})
            continue
        except Exception as error:  # noqa: BLE001  whatever a peer raises is its result
            emit({"what": "absent", "contestant": name, "why": f"{type(error).__name__}: {error}"[:300]})
            continue
        emit({"what": "moment", "contestant": name, "kept": kept or name == contestants.ORBAX})
        remove(path)
