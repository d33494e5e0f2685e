"""R5: a sync that failed is not tried again on that file, and never acknowledged; and a campaign that would see it."""

from __future__ import annotations

import pytest

from faults.broken import use_broken_copy
from faults.campaigns import in_processes
from faults.r05_syncs import campaign, sweep


def test_a_sync_that_failed_is_neither_tried_again_nor_acknowledged(tmp_path):
    outcome = campaign(1, folder=tmp_path)
    assert outcome.bad == ()
    assert outcome.tried >= 20


def test_a_sync_whose_failure_is_passed_over_is_found(tmp_path, monkeypatch):
    quiet = '            with __import__("contextlib").suppress(OSError):\n                syscalls.fsync(file.fd)\n'
    use_broken_copy(
        monkeypatch,
        tmp_path / "broken",
        ("storage/local_upload.py", "            syscalls.fsync(file.fd)\n", quiet),
    )
    (outcome,) = in_processes(sweep, [("SimpleWriter", str(tmp_path))])
    assert outcome.bad_count > 0


@pytest.mark.parametrize("kind", ["SimpleWriter", "ProcessWriter"])
def test_a_second_sync_of_the_same_file_is_found(tmp_path, monkeypatch, kind):
    again = (
        "            try:\n                syscalls.fsync(file.fd)\n            except OSError:\n"
        "                syscalls.fsync(file.fd)\n                raise\n"
    )
    use_broken_copy(
        monkeypatch, tmp_path / "broken", ("storage/local_upload.py", "            syscalls.fsync(file.fd)\n", again)
    )
    (outcome,) = in_processes(sweep, [(kind, str(tmp_path))])
    assert any("was synced again" in sentence for sentence in outcome.bad)
