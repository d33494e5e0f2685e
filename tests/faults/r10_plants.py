"""Things that somebody has put into a store: links, hard links, pipes, devices and folders, under every kind of name
that holdfast has there; and everything that a store can be asked to do, among them.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from faults.r10_watch import Watch, watching
from holdfast import files, keep
from holdfast.errors import HoldfastError
from holdfast.storage.base import LOCK_NAME
from holdfast.storage.handover import handed_over
from holdfast.store import SnapshotStore
from holdfast.writers import SimpleWriter
from snapshots import written

DOCUMENTED = (HoldfastError, ValueError, TypeError, OSError)
TEMPLATE = "snapshot_{step}"
DEEP = "model/it_{step}"


def _link_to(what: str) -> Callable[[Path, Path], None]:
    return lambda at, outside: at.symlink_to(outside / what if what else outside)


def _hard_link(at: Path, outside: Path) -> None:
    os.link(outside / "snapshot_3", at)


def _directory(at: Path, outside: Path) -> None:
    at.mkdir()
    (at / "precious").write_bytes(b"precious")


def _socket(at: Path, outside: Path) -> None:
    above = os.getcwd()
    os.chdir(at.parent)  # its path would be too long
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(at.name)
    os.chdir(above)


PLANTS: dict[str, Callable[[Path, Path], None]] = {
    "a link to a snapshot": _link_to("snapshot_3"),
    "a link to a text": _link_to("text"),
    "a link to a folder": _link_to(""),
    "a link to nothing": _link_to("missing"),
    "a hard link": _hard_link,
    "a pipe": lambda at, outside: os.mkfifo(at),
    "a socket": _socket,
    "a device": lambda at, outside: os.mknod(at, stat.S_IFCHR | 0o666, os.makedev(1, 7)),  # /dev/full
    "a folder": _directory,
}
NAMES = (
    "snapshot_3", "snapshot_3.error", "snapshot_77", ".snapshot_1.holdfast-pin", ".snapshot_2.holdfast-pin", LOCK_NAME,
    ".0123456789abcdef.holdfast-tmp", ".0123456789abcdef.holdfast-tmp.d",
    "model", "model/it_3", "model/.it_2.holdfast-pin", "model/.0123456789abcdef.holdfast-tmp",
)  # fmt: skip
CASES = tuple(product(PLANTS, NAMES))


def state(value: float) -> dict[str, Any]:
    return {"w": np.full(4, value, np.float32)}


def fill(folder: Path) -> tuple[Path, Path]:
    """A store, and a folder beside it that is nobody's business here: with snapshots that would fit, and a text."""
    store, outside = folder / "store", folder / "outside"
    for place in (store, outside):
        for template in (TEMPLATE, DEEP):
            for step in (1, 2, 3):
                if place == outside or step < 3:
                    written(place, step, template=template, sequence=step + 10 * (place == outside))
    (outside / "text").write_bytes(b"precious")
    (outside / ".0123456789abcdef.holdfast-tmp").write_bytes(b"half")
    return store, outside


def run(folder: Path, model: Path, plant: str, name: str) -> list[str]:
    """Plant one thing under one name, and have a store do all it can; returns what is wrong.

    Args:
        model: what fill() has filled.
    """
    shutil.copytree(model, folder)
    store, outside = folder / "store", folder / "outside"
    at = store / name
    if name == "model":
        os.rename(at, store / "moved")
    PLANTS[plant](at, outside)
    before, mine = looks(outside), at.lstat()
    watch = Watch(str(store), str(folder))
    bad = []
    with watching(watch):
        for what, act in acts(store, [template for template in (TEMPLATE, DEEP) if concerns(template, name)]):
            try:
                act()
            except DOCUMENTED:
                pass
            except Exception as error:  # noqa: BLE001  that is what is looked for
                bad.append(f"{what} raised {type(error).__name__}: {error}")
    bad += watch.bad
    if looks(outside) != before:
        bad.append("what lies outside the store has changed")
    if not os.path.lexists(at):
        if (plant, at.name) not in DEAD:
            bad.append("it was removed")
    elif not os.path.samestat(at.lstat(), mine) and not (name in WRITTEN and stat.S_ISREG(at.lstat().st_mode)):
        bad.append("something else has its name")
    return [f"{plant} as {name}: {what}" for what in bad]


WRITTEN = ("snapshot_3", "model/it_3", ".snapshot_2.holdfast-pin", "model/.it_2.holdfast-pin")
"""Names that acts() has files written under: then these are the store's."""
DEAD = {
    ("a hard link", ".0123456789abcdef.holdfast-tmp"),
    ("a folder", ".0123456789abcdef.holdfast-tmp.d"),
    ("a hard link", ".snapshot_1.holdfast-pin"),
}
"""What looks in every way like holdfast's own: left by a dead writer, or a pin. What it is a hard link of stays."""


def possible_cases(folder: Path) -> list[tuple[str, str]]:
    """Those of CASES that this user may bring about."""
    plants = set(PLANTS)
    try:
        PLANTS["a device"](folder / "device", folder)
    except PermissionError:
        plants.discard("a device")
    return [case for case in CASES if case[0] in plants]


def concerns(template: str, name: str) -> bool:
    """Whether a store with this template comes to this name."""
    return name.startswith((".holdfast", ".0")) or name.startswith("model") == (template == DEEP)


def acts(location: Path, templates: Sequence[str] = (TEMPLATE, DEEP)) -> Iterator[tuple[str, Callable[[], object]]]:
    """Everything that can be asked of a store; each act opens one, and leaves it closed."""
    for template in templates:
        for what, readonly, act in _OF_A_STORE:

            def opened(template: str = template, readonly: bool = readonly, act: Any = act) -> None:
                writer = None if readonly else SimpleWriter()
                with SnapshotStore(location, filename=template, readonly=readonly, writer=writer) as store:
                    act(store)

            yield f"{what} as {template}", opened
    yield "a savefun", lambda: _hand_over(location / "snapshot_5")
    yield "verify", lambda: files.verify(location / "snapshot_2")


def _hand_over(path: Path) -> None:
    with handed_over(path) as partial:
        Path(partial).write_bytes(b"by somebody's savefun")


def _each(*calls: Callable[[SnapshotStore], object]) -> Callable[[SnapshotStore], None]:
    def act(store: SnapshotStore) -> None:
        for call in calls:
            with suppress(*DOCUMENTED):
                call(store)

    return act


_OF_A_STORE: tuple[tuple[str, bool, Callable[[SnapshotStore], object]], ...] = (
    (
        "looking without a trace",
        True,
        _each(
            lambda store: store.snapshots(),
            lambda store: store.latest(),
            lambda store: store.at(3),
            lambda store: store.plan(keep.last(1)),
            lambda store: store.resume(state(0)),
            lambda store: store.resume(state(0), step=3),
        ),
    ),
    (
        "using",
        False,
        _each(
            lambda store: store.resume(state(0)),
            lambda store: store.save(4, state(4)).result(),
            lambda store: store.pin(2),
            lambda store: store.save(3, state(3)).result(),
            lambda store: store.unpin(1),
            lambda store: store.unpin(4),
            lambda store: store.prune(keep.last(2)),
        ),
    ),
)


def looks(path: Path) -> Any:
    """What lies there, with all that is in it."""
    found = path.lstat()
    if stat.S_ISDIR(found.st_mode):
        return path.name, tuple(looks(one) for one in sorted(path.iterdir()))
    return path.name, found.st_ino, found.st_mtime_ns, path.read_bytes()
