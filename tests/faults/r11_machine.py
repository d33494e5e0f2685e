"""What may happen to a store, in any order, as a state machine; and what must hold at every moment of it.

Rules are what a user, a disk and other programs do. Each watches the system calls of the store: before a file goes, it
is asked whether it may go, of what lies on the disk at that moment; after it went, whether enough is left.
"""

from __future__ import annotations

import fcntl
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

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from faults import r11_model as model
from faults.injection import Call, Crash
from faults.r11_draws import (
    CRASHES,
    DAMAGES,
    FLOCK,
    LOSSES,
    MANY_SAVES,
    PICKS,
    PLANTED,
    POLICY,
    SAVES,
    STEPS,
    TEMPLATE,
    Clock,
    looks,
    state,
)
from faults.r11_model import NAMES, POLICIES, TEMPLATES, Found, Reader, chosen, good, policy
from faults.watched import Watched
from holdfast.catalog import catalog
from holdfast.errors import CommitError, DamagedError, NotFoundError
from holdfast.staging import Arena
from holdfast.state.capture import capture
from holdfast.store import SnapshotStore
from holdfast.writers import SimpleWriter
from snapshots import written


class Bad(AssertionError):
    """A promise was broken."""


class Machine(RuleBasedStateMachine):
    """A directory, the store that is open there, if one is, and what it has promised so far."""

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

    # --- what is done ------------------------------------------------------------------------------------------------

    @initialize(template=TEMPLATE, parts=POLICY, steps=MANY_SAVES)
    def begin(self, template: str, parts: int | None, steps: list[tuple[int, float | None]]) -> None:
        self.open(template, parts, 0)
        self.save(steps, 0)

    @precondition(lambda self: self.store is None)
    @rule(template=TEMPLATE, parts=POLICY, crash=CRASHES)
    def open(self, template: str, parts: int | None, crash: int) -> None:
        """Another process, perhaps with another template or policy."""
        self.template, self.parts = template, None if parts is None else POLICIES[parts]
        self.saved.clear()
        self.held = None
        made: list[SnapshotStore] = []
        keep = None if self.parts is None else policy(self.parts)
        with self._watched(f"open {template} {self.parts}", crash):
            made.append(SnapshotStore(self.location, filename=template, keep=keep, writer=SimpleWriter()))
        if made:
            self.store = made[0]
            left = {str(self.location / name) for name in os.listdir(self.location) if model.TEMPORARY.fullmatch(name)}
            left -= self.living.keys() | self.foreign.keys()
            self._check(not left, f"{left}, a dead writer's, was not swept")

    @precondition(lambda self: self.store is not None)
    @rule(is_killed=st.booleans())
    def end(self, is_killed: bool) -> None:
        """Close the store, or end the process without."""
        assert self.store is not None
        if is_killed:
            self.log.append("kill")
            self._die()
            self.faults.bury()
            return
        with self._watched("close", 0):
            self.store.close()
        self.store = None

    @precondition(lambda self: self.store is not None)
    @rule(steps=SAVES, crash=CRASHES)
    def save(self, steps: list[tuple[int, float | None]], crash: int) -> None:
        assert self.store is not None
        self.removes_for = self.parts
        with self._watched(f"save {steps}", crash):
            for step, loss in steps:
                self.saving = self.template.format(step=step)
                self.calls.clear()
                metrics = None if loss is None else {"loss": loss}
                with suppress(CommitError):  # a directory has the name
                    snapshot = self.store.save(step, state(float(next(self.numbers))), metrics=metrics).result()
                    self._acknowledge(self.saving, snapshot.sequence)

    @precondition(lambda self: self.store is not None)
    @rule(steps=SAVES)
    def train_on(self, steps: list[tuple[int, float | None]]) -> None:
        """The most frequent thing of all."""
        self.save(steps, 0)

    @precondition(lambda self: self.store is not None)
    @rule(step=STEPS, crash=CRASHES)
    def save_on_error(self, step: int, crash: int) -> None:
        """As the extensions do."""
        assert self.store is not None
        collection = self.store._collection
        self.removes_for = self.parts
        with self._watched(f"save {step} on an error", crash), suppress(CommitError):
            name = collection.error_name(self.template.format(step=step))
            self.saving = name
            facts = collection.new_facts(name, step=step, reason="error")
            staged = Arena().stage(capture(state(float(next(self.numbers)))))
            snapshot = collection.commit(staged.image(facts, None), facts)
            self._acknowledge(name, snapshot.sequence)
            collection.retain(snapshot)

    @precondition(lambda self: self.store is not None)
    @rule(parts=POLICY, crash=CRASHES)
    def prune(self, parts: int | None, crash: int) -> None:
        assert self.store is not None
        self.removes_for = self.parts if parts is None else POLICIES[parts]
        wanted = None if parts is None else policy(POLICIES[parts])
        before = self.reader.series(self.series)
        planned = self.store.plan(wanted)
        with self._watched(f"prune {self.removes_for}", crash):
            result = self.store.prune(wanted)
            after = {one.name for one in self.reader.series(self.series)}
            gone = {one.name for one in before} - after
            self._check(gone == {one.name for one in result.drop}, f"prune says {result.drop}, and {gone} are gone")
            self._check({one.name for one in result.keep} <= after, "something is gone that was to be kept")
            self._check(all(result.keep.values()), "something was kept without a reason")
            if all(one.is_whole for one in before):
                self._check(result == planned, f"plan said {planned}, prune did {result}")
                if self.removes_for is not None:
                    left = {one.name for one in good(self.reader.series(self.series))}
                    self._check(left == left & self._must_stay(before), f"{left} were left of {before}")

    @precondition(lambda self: self.store is not None)
    @rule(crash=CRASHES)
    def resume(self, crash: int) -> None:
        assert self.store is not None
        target, lying = state(0.0), self.reader.series(self.series)
        whole = good(lying)
        with self._watched("resume", crash):
            try:
                _, snapshot = self.store.resume(target)
            except DamagedError:
                self._check(not whole and self._lies_damaged(), "resume called everything damaged")
                return
            if snapshot is None:
                self._check(not whole and not self._lies_damaged(), "resume found nothing")
                return
            self._check(bool(whole) and snapshot.name == whole[-1].name, f"resumed from {snapshot.name}, not {whole}")
            self._check(target["value"] == target["w"][0], "resume mixed two snapshots")
            self.held = snapshot.name, snapshot.sequence, lying[-1].sequence

    @precondition(lambda self: self.store is not None)
    @rule(step=STEPS, crash=CRASHES)
    def pin(self, step: int, crash: int) -> None:
        assert self.store is not None
        with self._watched(f"pin {step}", crash), suppress(NotFoundError, CommitError):
            self.pins.add(self.store.pin(step).name)

    @precondition(lambda self: self.store is not None)
    @rule(step=STEPS, crash=CRASHES)
    def unpin(self, step: int, crash: int) -> None:
        assert self.store is not None
        with suppress(NotFoundError):
            self.unpinning = self.store.at(step).name
            self.pins.discard(self.unpinning)
        with self._watched(f"unpin {step}", crash), suppress(NotFoundError):
            self.store.unpin(step)

    @rule()
    def look(self) -> None:
        """A reader, which takes no lock and leaves no trace."""
        template = self.template
        before = self._everything()
        with self._watched("look", 0), SnapshotStore(self.location, filename=template, readonly=True) as store:
            whole = good(self.reader.series(self.series))
            try:
                _, snapshot = store.resume(state(0.0))
            except DamagedError:
                self._check(not whole, "a reader called everything damaged")
            else:
                found = snapshot.name if snapshot else ""
                self._check(found == (whole[-1].name if whole else ""), f"a reader resumed from {found!r}, not {whole}")
            store.plan(policy(POLICIES[-1]))
            names = {one.name for one in store.snapshots()}
            self._check(names >= {one.name for one in whole}, f"{names} are listed, and {whole} are there")
        self._check(self._everything() == before, "a reader left a trace")

    # --- what happens to it ------------------------------------------------------------------------------------------

    @rule(days=st.integers(-9000, 9000))
    def jump(self, days: int) -> None:
        self.log.append(f"the clock jumps by {days} days")
        Clock.ahead = timedelta(days=days)

    @rule(pick=PICKS, how=st.sampled_from(DAMAGES))
    def damage(self, pick: int, how: str) -> None:
        lying = self.reader.series(self.series)
        if not lying:
            return
        name = lying[-1 - pick % len(lying)].name
        path = self.location / name
        self.log.append(f"damage {name}: {how}")
        type(self).damages += 1
        data = bytearray(path.read_bytes())
        if how == "empty":
            data.clear()
        elif how == "cut":
            del data[-1:]
        else:
            data[120 if how == "facts" else -1] ^= 4
        if how != "leaf, in place":
            path.unlink()
        path.write_bytes(data)

    @precondition(lambda self: self.store is not None)
    @rule(pick=PICKS, how=st.sampled_from(DAMAGES), steps=SAVES)
    def damage_and_train_on(self, pick: int, how: str, steps: list[tuple[int, float | None]]) -> None:
        self.damage(pick, how)
        self.save(steps, 0)

    @rule(what=st.sampled_from(PLANTED), pick=PICKS)
    def plant(self, what: tuple[str, str], pick: int) -> None:
        """Something that is not holdfast's, under a name that is, or nearly."""
        kind, name = what
        lying = sorted(one.name for one in self.reader.read() if one.series)
        path = self.location / name
        if os.path.lexists(path) or (kind in ("copy", "link") and not lying):
            return
        self.log.append(f"plant a {kind} {name}")
        if kind == "file":
            path.write_bytes(b"precious")
        elif kind == "directory":
            path.mkdir()
            (path / "precious").write_bytes(b"precious")
        elif kind == "link":
            path.symlink_to(lying[pick % len(lying)])
        else:
            shutil.copy(self.location / lying[pick % len(lying)], path)
        self.foreign[str(path)] = looks(path)

    @rule(living=st.booleans())
    def leave_temporary(self, living: bool) -> None:
        """Of a writer that was killed, or of one that is still at work."""
        path = self.location / f".{next(self.numbers):016x}.holdfast-tmp"
        path.write_bytes(b"half")
        self.log.append(f"a {'living' if living else 'dead'} writer's {path.name}")
        if living:
            fd = os.open(path, os.O_RDWR)
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
            self.living[str(path)] = fd

    @rule(step=st.sampled_from((7, 8, 9)), sequence=st.sampled_from(range(40)), template=TEMPLATE, loss=LOSSES)
    def copy_in(self, step: int, sequence: int, template: str, loss: float | None) -> None:
        """Somebody copies a snapshot of another run into the directory."""
        name = template.format(step=step)
        if os.path.lexists(self.location / name):
            return
        self.log.append(f"copy in {name}, number {sequence}")
        metrics = None if loss is None else {"loss": loss}
        target = state(float(next(self.numbers)))
        written(self.location, step, sequence=sequence, template=template, metrics=metrics, target=target)

    # --- what must hold ----------------------------------------------------------------------------------------------

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
