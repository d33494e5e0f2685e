"""How other libraries are told to save a state and to load it again, each as its documentation says; and holdfast.

Each is imported when it is made, so that one that is not installed does not hinder the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

ITEMS = 16 << 10  # 64 KiB of float32
OVER, BESIDE = "over", "beside"
"""A snapshot takes the name of the one before it, or one of its own."""

State = dict[str, Any]


def state_of(step: int) -> State:
    """What is saved after so many steps: no byte of it is that of another step."""
    weights = (np.arange(ITEMS, dtype=np.float32) + np.float32(0.5) * step).reshape(-1, 64)
    return {"weights": weights, "bias": np.full(8, step + 1, np.float32), "step": np.full(1, step, np.int64)}


def step_of(found: State) -> int | None:
    """Which step's state this is, every byte of it; None where it is none's."""
    try:
        step = int(np.asarray(found["step"]).reshape(-1)[0])
        wanted = state_of(step) if 0 <= step < 1000 else {}
    except (KeyError, IndexError, TypeError, ValueError, OverflowError):
        return None
    same = found.keys() == wanted.keys() and all(
        np.asarray(found[name]).dtype == array.dtype and np.asarray(found[name]).tobytes() == array.tobytes()
        for name, array in wanted.items()
    )
    return step if same else None


class Saver:
    """Saves one state under one path, a file or a folder, and loads it; `save` returns when the library says so."""

    name = ""
    suffix = ""

    def save(self, path: Path, state: State) -> None:
        raise NotImplementedError

    def load(self, path: Path) -> State:
        raise NotImplementedError


class Holdfast(Saver):
    name, suffix = "holdfast", ".safetensors"

    def __init__(self) -> None:
        import holdfast

        self._holdfast = holdfast

    def save(self, path: Path, state: State) -> None:
        self._holdfast.save(path, state)

    def load(self, path: Path) -> State:
        found: State = self._holdfast.load(path)
        return found


class TorchSave(Saver):
    name, suffix = "torch.save", ".pt"

    def __init__(self) -> None:
        import torch

        self._torch = torch

    def save(self, path: Path, state: State) -> None:
        self._torch.save({name: self._torch.from_numpy(array) for name, array in state.items()}, path)

    def load(self, path: Path) -> State:
        return {name: tensor.numpy() for name, tensor in self._torch.load(path, weights_only=True).items()}


class Safetensors(Saver):
    name, suffix = "safetensors", ".safetensors"

    def __init__(self) -> None:
        from safetensors import numpy

        self._numpy = numpy

    def save(self, path: Path, state: State) -> None:
        self._numpy.save_file(state, path)

    def load(self, path: Path) -> State:
        found: State = self._numpy.load_file(path)
        return found


class Savez(Saver):
    name, suffix = "numpy.savez", ".npz"

    def save(self, path: Path, state: State) -> None:
        np.savez(path, **state)

    def load(self, path: Path) -> State:
        with open(path, "rb") as file, np.load(file) as found:  # which leaves a file open where it fails
            return {name: found[name] for name in found.files}


class Dcp(Saver):
    name = "torch DCP"

    def __init__(self) -> None:
        import torch
        from torch.distributed import checkpoint
        from torch.distributed.checkpoint.api import CheckpointException

        self._torch, self._checkpoint, self._failure = torch, checkpoint, CheckpointException

    def save(self, path: Path, state: State) -> None:
        tree = {name: self._torch.from_numpy(array) for name, array in state.items()}
        self._checkpoint.save(tree, checkpoint_id=path)

    def load(self, path: Path) -> State:
        tree = {name: self._torch.from_numpy(np.zeros_like(array)) for name, array in state_of(0).items()}
        try:
            self._checkpoint.load(tree, checkpoint_id=path)
        except self._failure as error:  # which is no Exception
            raise RuntimeError(str(error)) from error
        return {name: tensor.numpy() for name, tensor in tree.items()}


class Orbax(Saver):
    name = "Orbax"

    def __init__(self) -> None:
        import jax
        import orbax.checkpoint

        jax.config.update("jax_enable_x64", True)  # or the int64 would come back as an int32
        self._jax = jax
        self._checkpointer = orbax.checkpoint.StandardCheckpointer()

    def save(self, path: Path, state: State) -> None:
        tree = {name: self._jax.numpy.asarray(array) for name, array in state.items()}
        self._checkpointer.save(path.absolute(), tree, force=True)
        self._checkpointer.wait_until_finished()

    def load(self, path: Path) -> State:
        like = {name: self._jax.ShapeDtypeStruct(array.shape, array.dtype) for name, array in state_of(0).items()}
        found = self._checkpointer.restore(path.absolute(), like)
        return {name: np.asarray(array) for name, array in found.items()}


SAVERS: dict[str, type[Saver]] = {one.name: one for one in (Holdfast, TorchSave, Safetensors, Savez, Dcp, Orbax)}


def path_of(saver: Saver, folder: Path, step: int, mode: str) -> Path:
    """Where a step's snapshot goes."""
    return folder / f"{'latest' if mode == OVER else f'step_{step:04d}'}{saver.suffix}"


def complaint_of(saver: Saver, folder: Path, acknowledged: Sequence[int], mode: str) -> str:
    """What is wrong with what is left in a folder; "" where the last acknowledged state or a newer one is found.

    Whoever looks is patient: where snapshots have names of their own, one that does not load is passed over for the one
    before it.
    """
    last = max(acknowledged, default=-1)
    errors = []
    for step in range(last + 2, -1, -1):
        path = path_of(saver, folder, step, mode)
        if not path.exists():
            errors.append(f"{path.name} is not there")
            continue
        try:
            found = saver.load(path)
        except Exception as error:  # noqa: BLE001  libraries raise what they like for a file that is not whole
            errors.append(f"{path.name}: {type(error).__name__}")
            continue
        which = step_of(found)
        if which is None:
            return f"{path.name} loads, and is no state that was ever saved"
        return "" if which >= last else f"the newest that loads is of step {which}, and {last} was acknowledged"
    return "" if last < 0 else f"step {last} was acknowledged, and nothing loads: {'; '.join(dict.fromkeys(errors))}"
