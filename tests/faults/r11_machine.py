"""What may happen to a store, in any order, as a state machine.

Rules are what a user, a disk and other programs do; r11_witness.py says what must hold all the while.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from contextlib import suppress
from datetime import timedelta

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from faults import r11_model as model
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
from faults.r11_model import POLICIES, good, policy
from faults.r11_witness import Witness
from holdfast.errors import CommitError, DamagedError, NotFoundError
from holdfast.staging import Arena
from holdfast.state.capture import capture
from holdfast.store import SnapshotStore
from holdfast.writers import SimpleWriter
from snapshots import written


class Machine(Witness):
    """What is done with the store, and what happens to it."""

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
