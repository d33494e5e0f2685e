"""A lock that the test holds, and what another process is told that wants it."""

from __future__ import annotations

import pytest

from holdfast import lock

ASKER = """
import sys
from holdfast import lock
from holdfast.errors import StoreLockedError
try:
    lock.acquire(sys.argv[1])
except StoreLockedError as error:
    print(error)
else:
    print("free")
"""


@pytest.fixture
def ask(program, tmp_path):
    """What another process is told that wants the lock of tmp_path; "free" where it gets it."""
    return lambda: program(ASKER, tmp_path).end().strip()


@pytest.fixture
def held(tmp_path):
    held = lock.acquire(str(tmp_path))
    yield held
    held.release()
