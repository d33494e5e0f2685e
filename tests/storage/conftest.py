"""A directory as a storage, for every test here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from holdfast.storage.local import LocalStorage


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "storage")


@pytest.fixture
def directory(storage: LocalStorage) -> Path:
    return Path(storage.location)


@pytest.fixture
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls fail and processes die, but the power stays on: it does not matter what has reached the disk."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)
