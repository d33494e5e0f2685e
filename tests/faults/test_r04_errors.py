"""R4: an error at any call costs at most that snapshot; and a campaign that would see more."""

from __future__ import annotations

import pytest

from faults.broken import use_broken_copy
from faults.campaigns import in_processes
from faults.r04_errors import campaign, part
from faults.traced import TRACED

COUNT = 500


@pytest.mark.timeout(600)
def test_an_error_at_any_call_costs_at_most_that_snapshot(tmp_path):
    outcome = campaign(COUNT, folder=tmp_path)
    assert outcome.bad == ()
    assert outcome.tried >= COUNT
    if "none of them under strace" in outcome.notes:
        pytest.skip(outcome.notes)
    assert f"{TRACED} of them under strace" in outcome.notes


def test_a_temporary_file_that_is_left_is_found(tmp_path, monkeypatch):
    use_broken_copy(
        monkeypatch,
        tmp_path / "broken",
        (
            "storage/temporaries.py",
            "            syscalls.unlink(self.path)\n",
            "            pass\n",
        ),
    )
    (outcomes,) = in_processes(part, [("SimpleWriter", 20, 120, 0, str(tmp_path))])
    assert [outcome.bad_count > 0 for outcome in outcomes] == [True, True]
