"""What lies in a store at one moment, and what may be asked of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from holdfast.errors import NotFoundError
from holdfast.keep import Mode, check_mode, ranked
from holdfast.retention import by_sequence, is_good
from holdfast.snapshot import Snapshot

_SHOWN = 20  # of each list in a message


@dataclass(frozen=True, slots=True)
class Listing:
    """What lies in a store; by headers, and by the order of the commits, oldest first."""

    location: str
    snapshots: tuple[Snapshot, ...] = ()
    damaged: tuple[tuple[str, str], ...] = ()  # path, and what is wrong; of files under names of the template
    others: tuple[Snapshot, ...] = ()  # of another template or role, or copies under another name
    pinned: tuple[Snapshot, ...] = ()  # those of `snapshots` that are

    def latest(self) -> Snapshot | None:
        """The newest; one that was taken on an error only where there is no other; None where there is none."""
        return max(self.snapshots, key=by_merit, default=None)

    def at(self, step: int) -> Snapshot:
        """The snapshot of a step. Raises NotFoundError, which says which steps there are."""
        found = [snapshot for snapshot in self.snapshots if snapshot.step == step]
        if not found:
            broken = "; damaged: " + shown(path for path, _ in self.damaged) if self.damaged else ""
            raise NotFoundError(
                f"{self.location}: there is no snapshot of step {step}, only of: {self.steps()}{broken}"
            )
        return max(found, key=by_merit)

    def best(self, metric: str, mode: Mode) -> Snapshot | None:
        """The one with the best value of a metric, the older one of equals; None where no value is a number.

        Raises:
            NotFoundError: there are snapshots, and none has this metric; says which there are.
            ValueError: `mode` is none.
        """
        check_mode(f"the best by {metric!r}", mode)
        known = sorted({name for snapshot in self.snapshots for name in snapshot.metrics})
        if self.snapshots and metric not in known:
            raise NotFoundError(f"{self.location}: no snapshot has a metric {metric!r}; there are: {shown(known)}")
        good = [snapshot for snapshot in self.snapshots if is_good(snapshot)]
        found = ranked(good, metric, mode) or ranked(self.snapshots, metric, mode)
        return found[0] if found else None

    def steps(self) -> str:
        """The steps of which there are snapshots, for messages."""
        return shown([str(step) for step in sorted({s.step for s in self.snapshots if s.step is not None})])


def by_merit(snapshot: Snapshot) -> tuple[bool, tuple[int, int, str]]:
    """What to resume from, the best last: the newest, but one that was taken on an error never outranks a good one."""
    return is_good(snapshot), by_sequence(snapshot)


def shown(words: Iterable[str], separator: str = ", ") -> str:
    """A list for a message, cut where it is long: from its middle, since its ends tell most."""
    all_of_them = list(words)
    if len(all_of_them) > _SHOWN:
        half = _SHOWN // 2
        left_out = f"... ({len(all_of_them) - 2 * half} more) ..."
        all_of_them = [*all_of_them[:half], left_out, *all_of_them[-half:]]
    return separator.join(all_of_them) or "none"
