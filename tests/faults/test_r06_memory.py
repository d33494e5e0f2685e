"""R6: out of memory is a clean error; and a campaign that would see one that is not."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from faults.broken import use_broken_copy
from faults.campaigns import Unavailable, in_processes
from faults.r06_memory import campaign, sweep

COUNT = 200


@contextmanager
def skipping():
    try:
        yield
    except Unavailable as why:
        pytest.skip(str(why))


@pytest.mark.timeout(600)
def test_a_lack_of_memory_is_a_clean_error(tmp_path):
    with skipping():
        outcome = campaign(COUNT, folder=tmp_path)
    assert outcome.bad == ()
    assert outcome.tried >= COUNT


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("storage/temporaries.py", "            syscalls.unlink(self.path)\n", "            pass\n"),
        (
            "writers/outcome.py",
            "        fail(job, by, error)\n    except",
            "        succeed(job, by, Snapshot, 0.0)\n    except",
        ),
    ],
    ids=["the temporary file stays", "a failure is told as a success"],
)
def test_what_is_left_undone_after_an_error_is_found(tmp_path, monkeypatch, module, old, new):
    use_broken_copy(monkeypatch, tmp_path / "broken", (module, old, new))
    with skipping():
        (outcome,) = in_processes(sweep, [("SimpleWriter", 60, 0, str(tmp_path), ("save",))])
    assert outcome.bad_count > 0
