"""What opens a folder of snapshots, in the programs whose power is cut and again on what is left of it: a store, one
file, or an extension of a trainer.

Each saves and resumes states that are known by a tag, and takes no state for another: every number must be there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

import holdfast
from holdfast import writers
from holdfast.keep import Policy

SIZE = 1500  # numbers in a state, unless told otherwise: a file of a few blocks


class Wrong(Exception):
    """What was found is no state that was ever saved, or is not whole."""


def state(tag: int, size: int) -> dict[str, Any]:
    """The state of a tag, another one each time."""
    weights, counts = _numbers(tag, size)
    return {"weights": weights.copy(), "counts": counts.copy(), "tag": tag}


def blank(size: int) -> dict[str, Any]:
    """What a run that begins has: no state of any tag."""
    return {"weights": np.zeros(size, np.float32), "counts": np.zeros(16, np.int64), "tag": 0}


def tag_of(found: Mapping[str, Any]) -> int:
    """The tag of a state. Raises Wrong where it is not that state, bit for bit."""
    tag = int(found["tag"])
    weights, counts = (np.asarray(found[name]) for name in ("weights", "counts"))
    wanted = _numbers(tag, weights.size)
    if tag < 1 or [weights.tobytes(), counts.tobytes()] != [one.tobytes() for one in wanted]:
        raise Wrong(f"what claims to be the state {tag} is another one")
    return tag


class Use(Protocol):
    """One process with a folder."""

    sweeps: bool  # whether opening it removes what dead writers left

    def save(self, tag: int, acknowledge: Callable[[], None], step: int | None = None) -> None:
        """Save a state; `acknowledge` is called once it is done, before older ones go."""

    def resume(self) -> int | None:
        """The tag of the state that a run goes on with; None for a fresh start."""

    def whole(self) -> list[int]:
        """The tags of every snapshot there, each read in full. Raises Wrong or DamagedError where one is not whole."""

    def close(self) -> None:
        """End the process's work, in good order."""


class Store:
    """A SnapshotStore.

    Args:
        below: where it is, below the folder.
        writer: the name of one of holdfast.writers.
    """

    sweeps = True

    def __init__(
        self,
        folder: str,
        size: int,
        *,
        below: str = "",
        keep: Policy | None = None,
        filename: str = "snapshot_{step:08d}.safetensors",
        writer: str = "SimpleWriter",
        readonly: bool = False,
    ) -> None:
        self.size = size
        kind = getattr(writers, writer)
        self.store = holdfast.SnapshotStore(
            os.path.join(folder, below), keep=keep, filename=filename, writer=kind(), readonly=readonly
        )

    def save(self, tag: int, acknowledge: Callable[[], None], step: int | None = None) -> None:
        pending = self.store.save(tag if step is None else step, state(tag, self.size))
        pending.add_done_callback(lambda done: None if done.exception() else acknowledge())
        pending.result()
        if not pending.wait_finished(60):
            raise TimeoutError(f"{pending.name} hangs")

    def resume(self) -> int | None:
        target, snapshot = self.store.resume(blank(self.size))
        return None if snapshot is None else tag_of(target)

    def whole(self) -> list[int]:
        listing = self.store._collection.read()
        if listing.damaged or listing.others:
            raise Wrong(f"damaged: {listing.damaged}; not the store's: {listing.others}")
        return [tag_of(holdfast.load(snapshot)) for snapshot in listing.snapshots]

    def pinned(self) -> set[int]:
        """The steps that are pinned."""
        return {snapshot.step or 0 for snapshot in self.store._collection.read().pinned}

    def close(self) -> None:
        self.store.close()


class OneFile:
    """holdfast.save over one path, in a folder that its user has made and nobody has synced."""

    sweeps = False

    def __init__(self, folder: str, size: int) -> None:
        self._path = os.path.join(folder, "of", "a user", "model.safetensors")
        self._size = size

    def save(self, tag: int, acknowledge: Callable[[], None], step: int | None = None) -> None:
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        holdfast.save(self._path, state(tag, self._size))
        acknowledge()

    def resume(self) -> int | None:
        if not os.path.exists(self._path):
            return None
        return tag_of(holdfast.restore(self._path, blank(self._size)))

    def whole(self) -> list[int]:
        return [tag_of(holdfast.load(self._path))] if os.path.exists(self._path) else []

    def close(self) -> None:
        """Nothing is open."""


Files = Callable[[dict[str, Any]], tuple[Any, Callable[[str], Mapping[str, Any]]]]
"""Given the state that a trainer trains: an extension that takes snapshots of it, and what reads one of its files."""


class Extension:
    """An extension of a trainer that takes snapshots, of what the trainer trains or of all of it."""

    sweeps = True

    def __init__(self, folder: str, size: int, *, files: Files) -> None:
        from holdfast import iterators, training
        from holdfast.training import updaters

        self._folder = folder
        self._state = blank(size)
        self._extension, self._read = files(self._state)
        batches = iterators.BatchIterator(np.arange(4.0), 1)
        self._updater = updaters.FunctionUpdater(batches, _no_step, targets={"state": self._state})
        self._trainer = training.Trainer(self._updater, (1, "iteration"), out=folder)
        self._trainer.extend(self._extension)
        self._resumed = False

    def save(self, tag: int, acknowledge: Callable[[], None], step: int | None = None) -> None:
        self._open()
        self._state.update(state(tag, self._state["weights"].size))
        self._updater.iteration = tag
        self._extension(self._trainer)
        acknowledge()

    def resume(self) -> int | None:
        return tag_of(self._state) if self._open() is not None else None

    def whole(self) -> list[int]:
        names = os.listdir(self._folder) if os.path.isdir(self._folder) else []
        return sorted(tag_of(self._read(os.path.join(self._folder, name))) for name in names if name[0] != ".")

    def close(self) -> None:
        self._extension.finalize()

    def _open(self) -> str | None:
        """What a trainer does first; only once."""
        if self._resumed:
            return None
        self._resumed = True
        path: str | None = self._extension.resume(self._trainer)
        return path


def fixed_name(target: dict[str, Any]) -> Any:
    """snapshot_object under one name, which is replaced."""
    from holdfast.training import extensions

    return extensions.snapshot_object(target, "model", autoload=True), holdfast.load


def retained(target: dict[str, Any]) -> Any:
    """snapshot_object with n_retains."""
    from holdfast.training import extensions

    return extensions.snapshot_object(target, "model_{.updater.iteration}", n_retains=2, autoload=True), holdfast.load


def whole_trainer(target: dict[str, Any]) -> Any:
    """snapshot, of the whole trainer."""
    from holdfast.training import extensions

    return extensions.snapshot(n_retains=2, autoload=True), lambda path: holdfast.load(path)["updater"]["state"]


def npz(target: dict[str, Any]) -> Any:
    """snapshot_object in npz files."""
    from holdfast.training import extensions

    name = "model_{.updater.iteration}.npz"
    return extensions.snapshot_object(target, name, n_retains=2, autoload=True), holdfast.load


def hdf5(target: dict[str, Any]) -> Any:
    """snapshot_object through save_hdf5."""
    from holdfast.serializers import load_hdf5, save_hdf5
    from holdfast.training import extensions

    def read(path: str) -> Mapping[str, Any]:
        found = blank(target["weights"].size)
        load_hdf5(path, found)
        return found

    return (
        extensions.snapshot_object(
            target, "model_{.updater.iteration}.h5", save_hdf5, n_retains=2, autoload=True, loadfun=load_hdf5
        ),
        read,
    )


def savefun(target: dict[str, Any]) -> Any:
    """snapshot_object through a savefun that syncs nothing."""
    from holdfast.training import extensions

    def read_into(path: str, found: dict[str, Any]) -> None:
        with open(path, "rb") as file, np.load(file) as arrays:  # numpy does not close what it cannot read
            found.update(arrays)

    def read(path: str) -> Mapping[str, Any]:
        found = blank(target["weights"].size)
        read_into(path, found)
        return found

    return (
        extensions.snapshot_object(
            target, "model_{.updater.iteration}.arrays", _write, n_retains=2, autoload=True, loadfun=read_into
        ),
        read,
    )


def _write(path: str, mapping: Mapping[str, Any]) -> None:
    with open(path, "wb") as file:
        np.savez(file, **mapping)


def _no_step(batch: Any) -> None:
    """Nothing: the states are put in from outside."""


@lru_cache(maxsize=64)
def _numbers(tag: int, size: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    noise = np.random.default_rng(tag)
    return noise.random(size, dtype=np.float32), noise.integers(0, 1000, 16)
