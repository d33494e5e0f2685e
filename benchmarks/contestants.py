"""Who is measured: one face for all of them, holdfast's writers, and the list of names.

A contestant saves a state under a path of its own and restores it from there into tensors that exist and are touched.
What holdfast's peers need stands in peers.py; importing this
imports neither them nor a framework.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from states import State

Finish = Callable[[], object]

# name here -> what holdfast.writers calls it
WRITERS = {
    "holdfast Simple": "SimpleWriter",
    "holdfast Thread": "ThreadWriter",
    "holdfast Process": "ProcessWriter",
    "holdfast ThreadQueue": "ThreadQueueWriter",
    "holdfast ProcessQueue": "ProcessQueueWriter",
}
NONE = "no snapshots"  # of the training loop
OURS = "holdfast Thread"  # the store's default: what the goals are about

SYNCHRONOUS = ("torch.save", "safetensors", "numpy.savez", "PPE Simple")
SHIPPED, TUNED = "DCP async_save", "DCP cached stager"
TORCHSNAPSHOT, LIGHTNING, ORBAX = "torchsnapshot", "Lightning async", "Orbax"
COPYING = (SHIPPED, TUNED, TORCHSNAPSHOT, LIGHTNING, ORBAX)
PPE = ("PPE Thread", "PPE Process", "PPE ThreadQueue", "PPE ProcessQueue")
PEERS = (*SYNCHRONOUS, *COPYING, *PPE)
ALL = (*WRITERS, *PEERS)


class Absent(Exception):
    """This contestant cannot run here; says why. The table quotes it."""


class Contestant(Protocol):
    """Each is made once a process, and has what it keeps from snapshot to snapshot.

    Attributes:
        name: as in the table.
        durable: when `finish` returns, files and folders are fsynced; else the benchmark does that, and counts it.
        suffix: of the path that it is given.
    """

    name: str
    durable: bool
    suffix: str

    def save(self, state: State, path: Path) -> Finish:
        """Save; returns as soon as training could go on. The result is called to wait until it is written."""

    def restore(self, state: State, path: Path) -> None:
        """Put what is there into the state's own tensors."""

    def close(self) -> None:
        """Let go of everything."""


class Holdfast:
    """SnapshotStore with one of the writers."""

    durable = True
    suffix = ".safetensors"

    def __init__(self, name: str, folder: Path) -> None:
        from holdfast import SnapshotStore, writers

        kind = getattr(writers, WRITERS[name], None)
        if kind is None:
            raise Absent(f"this holdfast has no {WRITERS[name]}")
        self.name = name
        self._store = SnapshotStore(folder / name.replace(" ", "_"), filename="{step}.safetensors", writer=kind())
        self._location = folder / name.replace(" ", "_")
        self._steps: dict[Path, int] = {}

    def save(self, state: State, path: Path) -> Finish:
        return self.save_target(state.target, path)

    def save_target(self, target: object, path: Path) -> Finish:
        """As save, for any target; `path` must be one that `path_of` gave."""
        return self._store.save(self._steps[path], target).result

    def path_of(self, step: int) -> Path:
        """The store has a folder, and names the files in it."""
        path = self._location / f"{step}.safetensors"
        self._steps[path] = step  # not read from the name when the clock runs
        return path

    def prepare(self, target: object) -> bool:
        """Have memory made ready in the background; whether this holdfast can."""
        prepare = getattr(self._store, "prepare", None)
        if prepare is not None:
            prepare(target)
        return prepare is not None

    def restore(self, state: State, path: Path) -> None:
        import holdfast

        holdfast.restore(path, state.target)

    def close(self) -> None:
        self._store.close()


def make(name: str, folder: Path) -> Contestant:
    """A contestant that keeps its files in `folder`.

    Raises:
        Absent: it cannot run here.
    """
    try:
        if name in WRITERS:
            return Holdfast(name, folder)
        import peers

        return peers.make(name, folder)
    except ImportError as error:
        raise Absent(f"does not import: {type(error).__name__}: {error}") from error


def path_for(contestant: Contestant, folder: Path, step: int) -> Path:
    """Where the snapshot number `step` of a contestant goes; a new name each time."""
    if isinstance(contestant, Holdfast):
        return contestant.path_of(step)
    return folder / f"{contestant.name.replace(' ', '_')}-{step}{contestant.suffix}"
