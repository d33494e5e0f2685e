"""Snapshots of training runs that are never lost.

live object -> state tree -> arena -> snapshot file -> store -> catalog, retention -> resume

state/       a live object is taken apart into a tree of named leaves and values, and put back, all or nothing
staging.py   the leaves are copied into the arena, byte for byte the data part of the file to be
format/      the tree becomes a header; every leaf has a checksum; the file is a safetensors file
storage/     temporary file, fsync, rename, fsync of the directory: only then is it acknowledged
files.py     save, restore, load, verify, info: one file
catalog.py, retention.py    which snapshots there are, and which stay
store.py     SnapshotStore: the snapshots of one run, and resume, which walks back past a damaged one
training/    Chainer's face: Trainer, extensions.snapshot and snapshot_object
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from holdfast._version import __version__

if TYPE_CHECKING:
    from holdfast import iterators, keep, serializers, training, writers
    from holdfast.errors import (
        CaptureError,
        CommitError,
        DamagedError,
        HoldfastError,
        MismatchError,
        NotFoundError,
        StagingError,
        StoreLockedError,
        UnknownFormatError,
    )
    from holdfast.files import info, load, restore, save, verify
    from holdfast.reporter import DictSummary, Reporter, Summary, get_current_reporter, report, report_scope
    from holdfast.retention import Plan
    from holdfast.snapshot import Snapshot
    from holdfast.store import SnapshotStore
    from holdfast.training.triggers import every

__all__ = [
    "CaptureError",
    "CommitError",
    "DamagedError",
    "DictSummary",
    "HoldfastError",
    "MismatchError",
    "NotFoundError",
    "Plan",
    "Reporter",
    "Snapshot",
    "SnapshotStore",
    "StagingError",
    "StoreLockedError",
    "Summary",
    "UnknownFormatError",
    "__version__",
    "every",
    "get_current_reporter",
    "info",
    "iterators",
    "keep",
    "load",
    "report",
    "report_scope",
    "restore",
    "save",
    "serializers",
    "training",
    "verify",
    "writers",
]

_MODULES = frozenset("iterators keep serializers training writers".split())
_HOMES = {
    "errors": "CaptureError CommitError DamagedError HoldfastError MismatchError NotFoundError StagingError "
    "StoreLockedError UnknownFormatError",
    "files": "info load restore save verify",
    "reporter": "DictSummary Reporter Summary get_current_reporter report report_scope",
    "retention": "Plan",
    "snapshot": "Snapshot",
    "store": "SnapshotStore",
    "training.triggers": "every",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    """Every part is loaded when it is first used: a program that only reads reports does not pay for the store."""
    if name in _MODULES:
        return importlib.import_module(f"holdfast.{name}")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'holdfast' has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(f"holdfast.{_HOME_OF[name]}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
