"""What is known of one committed snapshot."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Json = Any  # None, bool, int, float, str, list of these, dict of str to these


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """One committed snapshot: an `os.PathLike` of its file, with the facts that its header states.

    Two snapshots are equal when they are the same file as of the same commit.
    """

    name: str  # the file's name inside `location`
    location: str  # the directory (or bucket) that holds it
    step: int | None  # finished steps; None where nobody said (holdfast.save)
    epoch: float | None  # finished epochs, with the part of the running one
    metrics: Mapping[str, float]  # what was measured at this step
    reason: str  # why it was taken: "save", "trigger", "error", ...
    created_at: datetime  # UTC, from the header: copying a file changes its mtime, not this
    size_bytes: int  # the whole file
    run_id: str  # 32 hex digits, kept across the restarts of one run
    sequence: int  # order of commits in one store; clocks play no part in it
    role: str = field(default="file", repr=False)  # "file", "store", "object" or "trainer"
    template: str = field(default="", repr=False)  # the pattern that `name` was made from
    library: str = field(default="", repr=False)  # the version of holdfast that wrote it
    _read_metadata: Callable[[], Mapping[str, Json]] = field(default=dict, repr=False)

    def __fspath__(self) -> str:
        # The package calls this itself: os.fspath() says that there is none where there is no memory to find it.
        return os.path.join(self.location, self.name)

    def __eq__(self, other: object) -> bool:
        # Not field by field: a metric may be NaN, which is equal to nothing.
        return self._identity == other._identity if isinstance(other, Snapshot) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def _identity(self) -> tuple[str, str, str, int]:
        return self.location, self.name, self.run_id, self.sequence

    @property
    def metadata(self) -> Mapping[str, Json]:
        """What the caller stored beside the state; read from the file on each use, since it may be long.

        Raises:
            DamagedError: the header does not match its checksum.
            FileNotFoundError: the file is gone.
        """
        return self._read_metadata()
