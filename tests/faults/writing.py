"""Every kind of writer, and faults where it writes: in this process, or in one of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from faults.helper_faults import HelperFaults
from faults.injection import Faults
from holdfast.store import SnapshotStore
from holdfast.writers import ProcessQueueWriter, ProcessWriter, SimpleWriter, ThreadQueueWriter, ThreadWriter

IN_THIS_PROCESS: tuple[Callable[..., Any], ...] = (SimpleWriter, ThreadWriter, ThreadQueueWriter)
IN_ANOTHER: tuple[Callable[..., Any], ...] = (ProcessWriter, ProcessQueueWriter)
WRITERS = (*IN_THIS_PROCESS, *IN_ANOTHER)


def name_of(kind: Any) -> str:
    """What a test with this writer, or this function, is called."""
    return getattr(kind, "__name__", str(kind))


class Writing:
    """One kind of writer.

    Attributes:
        kind: makes one.
        here: faults in this process: where snapshots are removed, and where all but the process writers write.
        faults: faults where snapshots are written.
    """

    def __init__(self, kind: Callable[..., Any], here: Faults, there: HelperFaults) -> None:
        self.kind = kind
        self.here = here
        self.is_elsewhere = kind in IN_ANOTHER
        self.faults: Faults | HelperFaults = there if self.is_elsewhere else here

    def store(self, location: Path, **arguments: Any) -> SnapshotStore:
        """One that writes with a new writer of this kind."""
        return SnapshotStore(location, writer=self.kind(), **arguments)


@pytest.fixture(params=WRITERS, ids=name_of)
def writing(
    request: pytest.FixtureRequest,
    faults: Faults,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Writing:
    """Each kind of writer in turn."""
    there = HelperFaults(tmp_path_factory.mktemp("faults"))
    if request.param in IN_ANOTHER:
        there.install(monkeypatch)
    return Writing(request.param, faults, there)
