"""What every writer offers, and what it is given to do. Writers know nothing of trees and formats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from holdfast.snapshot import Snapshot
from holdfast.writers.pending import Pending


@dataclass(frozen=True, slots=True)
class Job:
    """One snapshot to be committed: called once, from any thread, it returns when the snapshot is durable."""

    name: str
    commit: Callable[[], Snapshot]

    def __call__(self) -> Snapshot:
        return self.commit()


class Writer(Protocol):
    """Carries out jobs, one after the other, in the order in which they were submitted.

    A failure that its Pending has not handed out is raised at the next submit(), which takes its own job nevertheless:
    a loop that ends there has lost one snapshot and not two. At the latest it is raised at close().
    """

    def submit(self, job: Job) -> Pending:
        """Have a job carried out.

        Raises:
            ValueError: the writer is closed.
            Exception: what an earlier job failed with; this one was submitted all the same.
        """

    def close(self) -> None:
        """Return when every job is done; submit() may not be called any more. Again: does nothing.

        Raises:
            Exception: what a job failed with.
        """
