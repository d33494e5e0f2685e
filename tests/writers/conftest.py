"""What tests of Chainer's face use."""

from __future__ import annotations

from contextlib import suppress

import pytest

from holdfast.training.extensions import snapshot_writers


@pytest.fixture
def make():
    """Makes writers, which end with the test."""
    made = []

    def make(name, *arguments, **named):
        kind = getattr(snapshot_writers, name) if isinstance(name, str) else name
        made.append(kind(*arguments, **named))
        return made[-1]

    yield make
    for one in made:
        with suppress(Exception):
            one.finalize()
