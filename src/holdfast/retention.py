"""Snapshots and a policy -> which stay, each with its reasons, and which may go. Pure: no clock, no disk.

Whatever the policy says: the newest snapshot stays, the newest good one stays, pinned ones stay, the last that this run
has saved stays, and the one that it resumed from stays until as many newer ones as the policy keeps are there. A
snapshot that was taken on an error is no good one: it never counts among those of the policy, unless there is nothing
else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from holdfast.keep import Policy
from holdfast.snapshot import Snapshot

_PINNED = "pinned"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to become of every snapshot of a store."""

    keep: Mapping[Snapshot, tuple[str, ...]]  # each with its reasons, in words; oldest first
    drop: tuple[Snapshot, ...]  # oldest first


def plan(
    snapshots: Iterable[Snapshot],
    policy: Policy | None,
    *,
    pinned: Iterable[Snapshot] = (),
    held: Snapshot | None = None,
    held_since: int = 0,
    saved: Snapshot | None = None,
) -> Plan:
    """Decide which snapshots stay.

    Args:
        snapshots: all of a store that are not known to be damaged, in any order.
        policy: None keeps all.
        pinned: those that stay whatever the policy says.
        held: the one that this run resumed from.
        held_since: the highest sequence number at that time; the newer ones that `held` waits for are above it.
        saved: the last that this run has saved. Another run's snapshots, copied in meanwhile, may have higher numbers.
    Returns:
        The plan; a snapshot is either kept, with at least one reason, or dropped.
    """
    everything = sorted(snapshots, key=by_sequence)
    known = {identity(snapshot) for snapshot in everything}
    reasons: dict[str, list[str]] = {snapshot.name: [] for snapshot in everything}
    good = [snapshot for snapshot in everything if is_good(snapshot)] or everything
    for part in policy.parts() if policy else ():
        for snapshot in part.choose(good):
            reasons[snapshot.name].append(str(part))
    wanted = sum(bool(found) for found in reasons.values())
    for name in {snapshot.name for snapshot in pinned} & reasons.keys():
        reasons[name].append(_PINNED)
    newer = sum(snapshot.sequence > held_since for snapshot in good)
    if held is not None and newer < wanted and identity(held) in known:
        reasons[held.name].append("this run resumed from it")
    others = [(one[-1].name, "the newest") for one in (good, everything) if one]
    if saved is not None and identity(saved) in known:
        others.append((saved.name, "the last that this run saved"))
    for name, reason in others:
        reasons[name] = reasons[name] or [reason]
    if policy is None:
        reasons = {name: found or ["no policy"] for name, found in reasons.items()}
    return Plan(
        keep={snapshot: tuple(reasons[snapshot.name]) for snapshot in everything if reasons[snapshot.name]},
        drop=tuple(snapshot for snapshot in everything if not reasons[snapshot.name]),
    )


def relied_on(plan: Plan) -> list[Snapshot]:
    """Those that must be whole before anything goes, newest first: what the policy counts, and the newest.

    One that stays for its pin alone takes nobody's place; one that was taken on an error only where nothing else stays.
    """
    staying = [snapshot for snapshot in plan.keep if is_good(snapshot)] or list(plan.keep)
    return [one for one in reversed(staying) if plan.keep[one] != (_PINNED,) or one is staying[-1]]


def is_good(snapshot: Snapshot) -> bool:
    """Whether it was taken between two steps, and not on an error."""
    return snapshot.reason != "error"


def by_sequence(snapshot: Snapshot) -> tuple[int, int, str]:
    """What snapshots of one store are ordered by: the order of their commits."""
    return snapshot.sequence, -1 if snapshot.step is None else snapshot.step, snapshot.name


def identity(snapshot: Snapshot) -> tuple[str, str, int]:
    """What tells the snapshots of one store apart, also two that had the same name one after the other."""
    return snapshot.name, snapshot.run_id, snapshot.sequence
