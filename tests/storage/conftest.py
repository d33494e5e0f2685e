"""A directory as a storage, for every test here."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.storage.local import LocalStorage


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "storage")


@pytest.fixture
def directory(storage: LocalStorage) -> Path:
    return Path(storage.location)
