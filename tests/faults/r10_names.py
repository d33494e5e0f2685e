"""R10: names never become paths. Whatever a name is, and whatever somebody has put into a store, nothing outside its
directory is touched.

Names go to a store as a file's name, as a template, as the names of leaves, in headers and in npz files; r10_plants.py
puts links and other things into it. An audit hook tells each path that is touched meanwhile; for a part of it, strace
tells the same of a real process and its writer process.
"""

from __future__ import annotations

import logging
import os
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from faults import r10_watch
from faults.campaigns import Outcome, Unavailable, in_processes, merge
from faults.r10_plants import DOCUMENTED, TEMPLATE, fill, possible_cases, run, state
from faults.r10_strace import under_strace
from faults.r10_watch import Watch, is_below, watching
from holdfast import files, keep, serializers
from holdfast.staging import Arena
from holdfast.state.capture import capture
from holdfast.storage.base import check_name
from holdfast.storage.local import LocalStorage
from holdfast.store import SnapshotStore
from holdfast.training.extensions.snapshot_names import Filename
from holdfast.writers import SimpleWriter
from snapshots import put

NAMES = 10_000
FILES = 4  # one name of so many becomes a file's
COSTLY = 25  # and one of so many goes through a whole store, or snapshots
PLACE = "store"
PARTS = (
    *("..", ".", "", "a", "model", "link", "snapshot_1", "{step}", "outside", "text", "etc", "passwd", "COM1", "..."),
    *("~", "$HOME", "-rf", "c:", "\\", "..\\", "%2e%2e", "\uff0e\uff0e", "..\u2215", "\u202e..", " .. ", "..\n"),
    *("\0", "a\0b", "\ud800", "\udcff\udc80", "\U0001f600", "\u00e9", "e\u0301", "x" * 255, "x" * 256),
    *(".holdfast-lock", ".HOLDFAST-LOCK", ".Holdfast-Lock", ".0123456789abcdef.holdfast-tmp", ".x.HOLDFAST-TMP"),
    *(".0123456789abcdef.holdfast-tmp.d", ".snapshot_1.holdfast-pin", "{step}.error", "{", "}", "{0}", "{step!r}"),
)


def campaign(count: int, *, seed: int = 0, folder: Path) -> Outcome:
    """At least `count` names, every planted thing, and a process under strace."""
    return merge(in_processes(part, [(kind, count, seed, str(folder / kind)) for kind in ("named", "planted")]))


def one(plant: str, name: str, folder: str) -> Outcome:
    """One thing under one name, or with plant="" so many names, in a process of its own."""
    os.makedirs(folder)
    r10_watch.install()
    logging.disable(logging.CRITICAL)
    return plant_all([(plant, name)], Path(folder)) if plant else names(500, 0, Path(folder))


def part(kind: str, count: int, seed: int, folder: str) -> Outcome:
    """One half; in a process of its own, in which an audit hook stays for good."""
    os.makedirs(folder)
    r10_watch.install()
    logging.disable(logging.CRITICAL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda fd: None)  # the power stays on
        if kind == "planted":
            return planted(Path(folder))
        found = names(count, seed, Path(folder) / "names")
    try:
        by_strace = under_strace(Path(folder) / "strace")
    except Unavailable as error:
        by_strace = Outcome(tried=0, notes=str(error))
    return merge([found, by_strace])


def planted(folder: Path) -> Outcome:
    """Every thing under every name."""
    return plant_all(possible_cases(folder), folder)


def plant_all(cases: Sequence[tuple[str, str]], folder: Path) -> Outcome:
    """Some things, each under its name."""
    bad: list[str] = []
    fill(folder / "model")
    for number, (plant, name) in enumerate(cases):
        bad += run(folder / f"planted_{number}", folder / "model", plant, name)
        shutil.rmtree(folder / f"planted_{number}")
    return Outcome(tried=len(cases), bad=tuple(bad), bad_count=len(bad), notes=f"{len(cases)} planted things")


def names(count: int, seed: int, folder: Path) -> Outcome:
    """So many names, each in one of the ways in which a name comes to a store; the costly ones more seldom."""
    chance = random.Random(seed)
    store = folder / PLACE
    (folder / "outside").mkdir(parents=True)
    (folder / "outside" / "text").write_bytes(b"precious")
    before = os.stat(folder / "outside").st_mtime_ns
    _new(store)
    bad: list[str] = []
    watch = Watch(str(store), str(folder))
    for number in range(count):
        name = made_up(chance, folder)
        way = as_file if number % FILES == 0 else as_path
        if number % COSTLY == 0:
            way = WAYS[number // COSTLY % len(WAYS)]
        watch.bad.clear()
        with watching(watch):
            try:
                way(store, name)
            except DOCUMENTED:
                pass
            except Exception as error:  # noqa: BLE001  that is what is looked for
                watch.bad.append(f"raised {type(error).__name__}: {error}")
        bad += [f"{way.__name__}({name!r:.100}): {what}" for what in watch.bad]
        if number % 1000 == 999:
            shutil.rmtree(store)
            _new(store)
    if os.stat(folder / "outside").st_mtime_ns != before or os.listdir(folder / "outside") != ["text"]:
        bad.append("what lies outside has changed")
    return Outcome(tried=count, bad=tuple(bad), bad_count=len(bad))


def made_up(chance: random.Random, folder: Path) -> str:
    """A name that somebody may have thought of."""
    parts = [chance.choice(PARTS) for _ in range(chance.randint(1, 5))]
    kind = chance.random()
    if kind < 0.15:
        return str(folder / "outside" / "/".join(parts))
    if kind < 0.3:
        return "/".join(["..", "outside", *parts])
    if kind < 0.4:
        return "/".join(["link", *parts])
    if kind < 0.5:
        return "".join(parts)
    return "/".join(parts)


_storages: dict[Path, LocalStorage] = {}  # the first commit of each syncs all folders above it


def _new(store: Path) -> None:
    store.mkdir()
    (store / "link").symlink_to("../outside")
    (store / "file").symlink_to("../outside/text")


def as_path(store: Path, name: str) -> None:
    """What the rule for names lets through lies in the store, by what the path itself says."""
    check_name(name)
    path = os.path.normpath(os.path.join(store, name))
    assert path == os.path.join(store, name), "another path says the same"
    assert is_below(path, str(store)), "it leads out"
    assert path != str(store), "it is the store itself"


def as_file(store: Path, name: str) -> None:
    """The name of a file in a storage."""
    storage = _storages.setdefault(store, LocalStorage(store))
    upload = storage.create(name, 4)
    try:
        upload.write(0, b"text")
        upload.commit()
    finally:
        upload.abort()
    assert storage.read(name, 0, 9) == b"text"
    assert storage.stat(name).size_bytes == 4
    storage.remove(name)


def as_template(store: Path, name: str) -> None:
    """The template of a store's names."""
    for template in (name, name + "{step}"):
        with SnapshotStore(store, filename=template, writer=SimpleWriter(), keep=keep.last(1)) as opened:
            for step in (1, 2):
                opened.save(step, state(step)).result()
            opened.pin(2)
            _, snapshot = opened.resume(state(0))
            assert snapshot is not None, "what was saved is not found again"
            assert snapshot.step == 2
            opened.unpin(2)


def as_made_name(store: Path, name: str) -> None:
    """What an extension's function of the trainer returns."""
    check_name(name)  # raises what the next line must raise, too
    assert Filename(lambda trainer: name).of(None) == name


def as_refused_name(store: Path, name: str) -> None:
    """The same, where it is no name."""
    try:
        check_name(name)
    except ValueError:
        try:
            Filename(lambda trainer: name).of(None)
        except ValueError:
            return
        raise AssertionError("an extension would take this name") from None


def as_leaf(store: Path, name: str) -> None:
    """The name of a leaf, and of a value."""
    path = store / "leaves"
    target = {name: np.zeros(4), "inner": {name: 1, "x": {name: np.ones(2)}}}
    files.save(path, target, metadata={name: name})
    files.restore(path, target)
    files.load(path)
    files.verify(path)


def as_npz_member(store: Path, name: str) -> None:
    """The name of an array in an npz file."""
    path = str(store / "arrays.npz")
    serializers.save_npz(path, {name: np.zeros(4)})
    files.load(path)
    serializers.load_npz(path, {name: np.zeros(4)})


def in_header(store: Path, name: str) -> None:
    """What a header says of its file: name, template and all other texts."""
    storage = LocalStorage(store)
    for file, facts in (
        (TEMPLATE.format(step=1), {"name": name}),
        (TEMPLATE.format(step=2), {"name": name, "template": name}),
        (TEMPLATE.format(step=3), {"name": TEMPLATE.format(step=3), "run_id": name, "template": TEMPLATE}),
    ):
        told = files.new_facts("x", step=1, role="store", sequence=7, template=TEMPLATE)
        for key, value in facts.items():
            setattr(told, key, value)
        put(storage, file, Arena().stage(capture(state(1))), told)
    with SnapshotStore(store, filename=TEMPLATE, writer=SimpleWriter(), keep=keep.last(1)) as opened:
        opened.snapshots()
        opened.resume(state(0))
        opened.save(4, state(4)).result()
        opened.prune(keep.last(1))


WAYS: tuple[Callable[[Path, str], None], ...] = (
    as_template, as_made_name, as_refused_name, as_leaf, as_npz_member, in_header,
)  # fmt: skip
