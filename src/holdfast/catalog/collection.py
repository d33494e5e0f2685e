"""The snapshots of one template and role, with what this process knows of them: commits, removes, resumes.

A snapshot is known to be whole once this process has committed it or read it in full, for as long as its file is the
same. Nothing is removed unless all that stay by the policy, and the newest, are known to be so. What is found to be
damaged is passed over, and never removed.
"""

from __future__ import annotations

import errno
import logging
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TypeVar

from holdfast import files, retention
from holdfast.catalog.catalog import Catalog, Stamp, is_exhaustion
from holdfast.catalog.listing import Listing, by_merit, shown
from holdfast.catalog.templates import ERROR_SUFFIX
from holdfast.commit import commit
from holdfast.errors import CommitError, DamagedError
from holdfast.format.prefix import Facts
from holdfast.format.reader import as_snapshot
from holdfast.keep import Policy
from holdfast.retention import Plan, identity, is_good
from holdfast.snapshot import Snapshot
from holdfast.staging import Placed
from holdfast.storage.base import Storage

R = TypeVar("R")

_ATTEMPTS = 5  # to resume, while a writer elsewhere removes what was just listed
_MISNAMED = "holds a snapshot that was saved under another name, so it is a copy; give it that name to use it"
_logger = logging.getLogger("holdfast")


class Collection:
    """The snapshots of one template and role in a storage. Nothing is read or written before a method is called.

    Args:
        storage: where they lie; whoever writes to it has locked it.
        template: the format string that their names are made with.
        role: "store", "object" or "trainer".
        keep: which of them stay once a newer one is durable; None: all.
    Raises:
        ValueError: `template` is no format string.
    """

    def __init__(self, storage: Storage, *, template: str, role: str, keep: Policy | None = None) -> None:
        self.catalog = Catalog(storage, template=template, role=role)
        self.keep = keep
        self._storage = storage
        self._role = role
        self._run_id: str | None = None
        self._verdicts: dict[tuple[str, str, int], tuple[Stamp, bool]] = {}
        """Of each that this process has written or read in full: its file's stamp then, and whether it was whole."""
        self._saved: Snapshot | None = None  # the last one that this process committed
        self._held: Snapshot | None = None  # the one that this run resumed from
        self._held_since = 0

    @property
    def storage(self) -> Storage:
        """Where they lie."""
        return self._storage

    def read(self) -> Listing:
        """What there is, by the headers."""
        return self.catalog.read()

    @property
    def run_id(self) -> str:
        """32 hex digits, kept across the restarts of a run: those of the newest snapshot when this was first asked."""
        if self._run_id is None:
            newest = self.read().snapshots[-1:]
            self._run_id = newest[0].run_id if newest else uuid.uuid4().hex
        return self._run_id

    def error_name(self, name: str) -> str:
        """The name for a snapshot taken on an error: another one where a good one, or what is left of one, has it."""
        listing = self.read()
        taken = {snapshot.name for snapshot in listing.snapshots if is_good(snapshot)}
        return name + ERROR_SUFFIX if name in taken or self.catalog.path(name) in dict(listing.damaged) else name

    def new_facts(
        self,
        name: str,
        *,
        step: int | None,
        epoch: float | None = None,
        metrics: Mapping[str, float] | None = None,
        reason: str = "save",
    ) -> Facts:
        """The facts of a snapshot that is to be the newest; see holdfast.snapshot.Snapshot for their meaning."""
        return files.new_facts(
            name,
            step=step,
            epoch=epoch,
            metrics=metrics,
            reason=reason,
            run_id=self.run_id,  # reads the headers, the first time: then the highest sequence number is known, too
            sequence=self.catalog.next_sequence(),
            role=self._role,
            template=self.catalog.template,
        )

    def commit(self, placed: Placed, facts: Facts) -> Snapshot:
        """Make a snapshot durable under `facts.name`. From any thread.

        Raises:
            CommitError: it could not be made durable.
        """
        commit(self._storage, facts.name, placed.image)
        return self.committed(facts, placed.size_bytes)

    def committed(self, facts: Facts, size_bytes: int) -> Snapshot:
        """Take note of a snapshot that was just made durable, by whomever."""
        snapshot = as_snapshot(facts, self._storage.location, facts.name, size_bytes)
        with suppress(OSError):  # then it is read before anything relies on it
            self._judge(snapshot, self.catalog.stamp(snapshot.name), whole=True)
        self._saved = snapshot
        return snapshot

    def retain(self, snapshot: Snapshot) -> None:
        """Remove what the policy no longer wants, now that a newer snapshot is durable. What cannot be removed is
        logged, and no error."""
        if self.keep is not None:
            try:
                self.prune(self.keep)
            except OSError as error:
                _logger.warning("%s: saved, but older ones could not be removed: %s", snapshot.__fspath__(), str(error))

    def plan(self, policy: Policy | None) -> Plan:
        """What `prune` would do, from the headers alone. Snapshots known to be damaged are neither kept nor dropped."""
        listing = self.read()
        return retention.plan(
            [snapshot for snapshot in listing.snapshots if self._verdict(snapshot) is not False],
            policy,
            pinned=listing.pinned,
            held=self._held,
            held_since=self._held_since,
            saved=self._saved,
        )

    def prune(self, policy: Policy | None) -> Plan:
        """Remove what a policy does not want. Of those that stay for the policy, and of the newest, each that is not
        known to be whole is read in full first; if it is damaged, the plan is made anew without it.

        Returns:
            What was kept and what was removed.
        Raises:
            CommitError: some could not be removed; names the first. All others were.
            OSError: the storage cannot be read; nothing was removed.
        """
        with self.catalog.changing:  # of two plans at once, each could rely on what the other drops
            plan, read = self.plan(policy), set[tuple[str, str, int]]()
            while (unproven := self._unproven(plan)) is not None:
                if identity(unproven) in read:
                    raise OSError(errno.EBUSY, "changes while it is read; nothing was removed", unproven.__fspath__())
                read.add(identity(unproven))
                self._prove(unproven)
                plan = self.plan(policy)
            failures = []
            for snapshot in plan.drop:
                try:
                    if not self.catalog.remove(snapshot):
                        _logger.warning("%s: not removed, it is another file by now", snapshot.__fspath__())
                    self._verdicts.pop(identity(snapshot), None)
                except OSError as error:
                    failures.append(error)
        if failures:
            first, count = failures[0], f"{len(failures)} of {len(plan.drop)} snapshots could not be removed"
            raise CommitError(first.errno, f"{self.catalog.location}: {count}; the first: {first}") from first
        return plan

    def resume(self, use: Callable[[Snapshot], R], *, step: int | None = None) -> tuple[R, Snapshot] | None:
        """Hand the newest snapshot that is whole to `use`: good ones before those that were taken on an error.

        One that is damaged is logged with its path and reason, and the next is tried.

        Args:
            use: restores a snapshot, after it has verified every byte, as holdfast.restore does. Where it raises
                DamagedError, the next is tried; whatever else it raises is raised.
            step: only a snapshot of this step.
        Returns:
            What `use` returned, and the snapshot; None where there is none. Snapshots of another template or role are
            then named in a warning.
        Raises:
            DamagedError: there are snapshots, or there is one of this step, and none is whole.
            NotFoundError: there is none of this step; says which there are.
        """
        for _ in range(_ATTEMPTS - 1):
            try:
                return self._walk_back(use, step)
            except FileNotFoundError:  # its writer has just removed or replaced it, once a newer one was durable
                continue
        return self._walk_back(use, step)

    def _walk_back(self, use: Callable[[Snapshot], R], step: int | None) -> tuple[R, Snapshot] | None:
        listing = self.read()
        found = [*listing.damaged, *((path, _MISNAMED) for path in self.catalog.misnamed(listing))]
        bad = [f"{path}: {reason}" for path, reason in found if step is None or self.catalog.may_be(path, step)]
        for what in bad:
            _logger.warning("passed over: %s", what)
        candidates = [snapshot for snapshot in listing.snapshots if step is None or snapshot.step == step]
        for snapshot in sorted(candidates, key=by_merit, reverse=True):
            stamp: Stamp = None
            with suppress(OSError):  # then it is read again before anything relies on it
                stamp = self.catalog.stamp(snapshot.name)
            try:
                result = use(snapshot)
            except (DamagedError, OSError) as error:
                if isinstance(error, FileNotFoundError) or is_exhaustion(error):
                    raise
                self._judge(snapshot, stamp, whole=False)
                _logger.warning("passed over: %s", str(error))
                bad.append(str(error))
                continue
            self._judge(snapshot, stamp, whole=True)
            self._held, self._held_since = snapshot, listing.snapshots[-1].sequence
            _logger.info("%s: resumed from the snapshot of step %s", snapshot.__fspath__(), snapshot.step)
            return result, snapshot
        self._check_empty(listing, bad, step)
        return None

    def _check_empty(self, listing: Listing, bad: list[str], step: int | None) -> None:
        """There was nothing to resume from: raise, unless there is nothing."""
        if step is None:
            links = [self.catalog.path(name) for name in self.catalog.links()]
            remedy = "put the file itself there, or open the directory that it lies in"
            bad = [*bad, *[f"{path}: is a symbolic link, which is not followed; {remedy}" for path in links]]
        if bad:
            which = "every snapshot" if step is None else f"the snapshot of step {step}"
            rest = "" if step is None else f"; there are snapshots of the steps {listing.steps()}"
            raise DamagedError(f"{listing.location}: {which} is damaged: {shown(bad, '; ')}{rest}")
        if step is not None:
            listing.at(step)  # raises, and says which there are
        if listing.others:
            _logger.warning(
                "%s: no snapshot here was saved as %r, so there is nothing to resume from; there are others: %s",
                listing.location,
                self.catalog.template,
                shown(f"{other.name} (saved as {other.template!r})" for other in listing.others),
            )

    def _unproven(self, plan: Plan) -> Snapshot | None:
        """One that the plan relies on and that is not known to be whole, where something is to go."""
        relied_on = retention.relied_on(plan) if plan.drop else []
        return next((snapshot for snapshot in relied_on if self._verdict(snapshot) is None), None)

    def _prove(self, snapshot: Snapshot) -> None:
        """Read one in full, and remember what came of it; one that is gone is not in the next plan."""
        stamp = self.catalog.stamp(snapshot.name)
        try:
            files.verify(snapshot)
            self._judge(snapshot, stamp, whole=True)
        except FileNotFoundError:
            pass
        except DamagedError as error:
            _logger.warning("not counted among those to keep: %s", str(error))
            self._judge(snapshot, stamp, whole=False)

    def _judge(self, snapshot: Snapshot, stamp: Stamp, *, whole: bool) -> None:
        self._verdicts[identity(snapshot)] = stamp, whole

    def _verdict(self, snapshot: Snapshot) -> bool | None:
        """Whether it is whole; None where this process has not read the file that is there now."""
        stamp, whole = self._verdicts.get(identity(snapshot), (None, None))
        return None if whole is None or stamp != self.catalog.stamp(snapshot.name) else whole
