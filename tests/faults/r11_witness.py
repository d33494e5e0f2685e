"""What must hold at every moment, whatever happens to a store.

The system calls of the store are watched: before a file goes, it is asked whether it may go, of what lies on the disk
at that moment; after it went, whether enough is left.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis.stateful import RuleBasedStateMachine, invariant

from faults import r11_model as model
from faults.injection import Call, Crash
from faults.r11_draws import Clock, looks
from faults.r11_model import NAMES, TEMPLATES, Found, Reader, chosen, good
from faults.watched import Watched
from holdfast.catalog import catalog
from holdfast.errors import CommitError
from holdfast.store import SnapshotStore


class Bad(AssertionError):
    """A promise was broken."""


class Witness(RuleBasedStateMachine):
    """A directory, the store that is open there, if one is, what it has promised so far, and who watches over that."""

    folder = Path()  # where directories are made; set before a run
    faults: Watched
    finished = 0  # sequences
    crashes = 0
    removals = 0
    damages = 0

    def __init__(self) -> None:
        super().__init__()
        self.location = Path(tempfile.mkdtemp(dir=self.folder))
        self.reader = Reader(self.location)
        self.log: list[str] = []
        self.bad: list[str] = []
        self.store: SnapshotStore | None = None
        self.template = ""
        self.parts: tuple[model.Part, ...] | None = None
        self.removes_for: tuple[model.Part, ...] | None = None  # the policy of the operation that goes on
        self.acknowledged: dict[str, tuple[str, int]] = {}  # by series: the newest, and its number
        self.saved: dict[str, tuple[str, int]] = {}  # by series: what this process saved last, and its number
        self.pins: set[str] = set()  # that were acknowledged
        self.held: tuple[str, int, int] | None = None  # its name and number, and the highest number at that time
        self.saving = ""  # the name of the snapshot that is being saved
        self.calls: list[Call] = []  # of the operation that goes on
        self.unpinning = ""
        self.foreign: dict[str, Any] = {}  # path: what it was like when it was put there
        self.living: dict[str, int] = {}  # temporary files of living writers, with the descriptor that locks each
        self.numbers = itertools.count(1)
        Clock.ahead = timedelta(0)

    @property
    def series(self) -> str:
        return TEMPLATES[self.template]

    def teardown(self) -> None:
        type(self).finished += 1
        if self.store is not None:
            with suppress(CommitError):
                self.store.close()
        for fd in self.living.values():
            os.close(fd)
        shutil.rmtree(self.location)

    @invariant()
    def nothing_is_lost(self) -> None:
        self._look()
        for path, before in self.foreign.items():
            self._check(os.path.lexists(path) and looks(Path(path)) == before, f"{path} is not holdfast's, and changed")
        if self.bad:
            raise Bad(f"{'; '.join(self.bad)}; after: {'; '.join(self.log)}")

    @contextmanager
    def _watched(self, what: str, crash: int) -> Iterator[None]:
        """One operation of the store's, in which the process may die."""
        self.log.append(f"{what}{f', killed before call {crash}' if crash else ''}")
        self.calls = []
        try:
            with self.faults.watch(self._before, self._after, crash):
                yield
        except Crash:
            type(self).crashes += 1
            self._die()
        finally:
            self.saving, self.unpinning, self.removes_for = "", "", None

    def _die(self) -> None:
        """What the next process does not know."""
        self.store = None
        self.held = None
        self.saved.clear()
        catalog._highest.clear()

    def _acknowledge(self, name: str, number: int) -> None:
        self.acknowledged[self.series] = name, number
        self.saved[self.series] = name, number

    def _before(self, call: Call) -> None:
        self.calls.append(call)
        if call.name == "unlink":
            self._before_removal(Path(call.path))
        elif call.name in ("mkdir", "rmdir"):
            self._check(False, f"{call.name} {call.path}")

    def _after(self, call: Call) -> None:
        if call.name in ("unlink", "rename"):
            self._look()

    def _before_removal(self, path: Path) -> None:
        """Whether it may go; whatever is no snapshot of this series is somebody else's."""
        name = path.name
        self._check(path.parent == self.location, f"{path} was removed, which is elsewhere")
        self._check(str(path) not in self.foreign, f"{name} was removed, which is not holdfast's")
        self._check(str(path) not in self.living, f"{name} was removed, which a living writer writes")
        if model.TEMPORARY.fullmatch(name):
            return
        if match := model.PIN.fullmatch(name):
            self._check(match.group(1) == self.unpinning, f"{name} was removed, and nobody had unpinned it")
            return
        type(self).removals += 1
        lying = {one.name: one for one in self.reader.series(self.series)}
        self._check(name in lying, f"{name} was removed, which is no sound snapshot of this series")
        if self.saving:
            self._check(self._is_durable(), f"{name} was removed before {self.saving} was durable")
            if self.saving in lying:  # its Future is done by now
                self._acknowledge(self.saving, lying[self.saving].sequence)
        must = self._must_stay(list(lying.values()))
        self._check(name not in must, f"{name} was removed, and {sorted(must)} of {sorted(lying)} must stay")

    def _is_durable(self) -> bool:
        """Whether the snapshot that is being saved has its name, and the directory was synced since."""
        renamed = [number for number, call in enumerate(self.calls) if call.name == "rename"]
        synced = [
            number
            for number, call in enumerate(self.calls)
            if call.name == "fsync" and os.path.realpath(call.path) == os.path.realpath(self.location)
        ]
        there = {one.name for one in self.reader.series(self.series) if one.is_whole}
        return self.saving in there and bool(renamed and synced) and renamed[-1] < synced[-1]

    def _must_stay(self, lying: list[Found]) -> set[str]:
        whole = good(lying)
        wanted = {one.name for one in whole} if self.removes_for is None else chosen(self.removes_for, whole)
        must = wanted | {one.name for one in whole[-1:]} | self.reader.pinned()
        if self.held is not None:
            name, number, since = self.held
            counted = [one for one in lying if not one.on_error]
            if all(one.on_error for one in whole):
                counted = lying
            newer = sum(one.sequence > since for one in counted)
            if newer < len(wanted) and any((one.name, one.sequence) == (name, number) for one in lying):
                must.add(name)
        if self.series in self.saved:
            must.add(self.saved[self.series][0])
        return must

    def _look(self) -> None:
        """What holds at every moment, whatever goes on."""
        pinned = self.reader.pinned()
        for name in self.pins:
            self._check(name in pinned or not os.path.lexists(self.location / name), f"the pin of {name} is gone")
        for path in self.living:
            self._check(os.path.lexists(path), f"{path} is gone, which a living writer writes")
        for series, (name, number) in list(self.acknowledged.items()):
            if not os.path.lexists(self.location / name):
                # A later process may find that one of another run, copied in, is newer.
                outranked = any(one.sequence >= number for one in self.reader.series(series))
                what = f"{name}, the newest that was acknowledged, is gone"
                self._check(outranked and series not in self.saved, what)
                del self.acknowledged[series]

    def _lies_damaged(self) -> bool:
        """Whether something has a name of this series that is no sound snapshot."""
        found = {one.name: one for one in self.reader.read()}
        for name in filter(NAMES[self.series].fullmatch, os.listdir(self.location)):
            if os.path.islink(self.location / name):
                return True
            one = found.get(name)
            if one is not None and (not one.has_header or (one.series == self.series and not one.is_whole)):
                return True
        return any(one.series == self.series and not one.is_whole for one in found.values())

    def _everything(self) -> Any:
        return looks(self.location), self.location.stat().st_mtime_ns, Counter(os.listdir(self.location))

    def _check(self, holds: bool, what: str) -> None:
        if not holds and len(self.bad) < 5:
            self.bad.append(what)
