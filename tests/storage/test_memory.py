from __future__ import annotations

import pytest

from holdfast.storage.base import Entry
from holdfast.storage.memory import MemoryStorage
from storage.conformance import NEW, OLD, StorageConformance, put


class TestMemoryStorage(StorageConformance):
    @pytest.fixture
    def storage(self):
        return MemoryStorage()


def test_a_listing_is_of_the_moment_it_was_asked_for():
    storage = MemoryStorage()
    put(storage, "model", OLD)
    listing = storage.list()
    put(storage, "other", NEW)
    assert list(listing) == [Entry("model", len(OLD))]


def test_two_of_them_share_nothing():
    first, second = MemoryStorage(), MemoryStorage()
    put(first, "model", NEW)
    assert list(second.list()) == []
