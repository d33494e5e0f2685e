"""R14: the background writes the state at the call, and tells its failures; and a campaign that would see otherwise."""

from __future__ import annotations

import pytest

from faults.broken import use_broken_copy
from faults.campaigns import in_processes
from faults.r14_background import campaign, part
from faults.traced import TRACED

COUNT = 200


@pytest.mark.timeout(600)
def test_the_background_writes_the_state_at_the_call_and_tells_its_failures(tmp_path):
    outcome = campaign(COUNT, folder=tmp_path)
    assert outcome.bad == ()
    assert outcome.tried >= COUNT
    if "none of them under strace" in outcome.notes:
        pytest.skip(outcome.notes)
    assert f"{TRACED} of them under strace" in outcome.notes


def test_a_failure_that_is_kept_quiet_is_found(tmp_path, monkeypatch):
    told = "            pending.set_exception(named(error, job.name))\n"
    use_broken_copy(
        monkeypatch,
        tmp_path / "broken",
        ("writers/outcome.py", told, f"{told[:-1]}; pending.exception()\n"),
    )
    (outcomes,) = in_processes(part, [("ThreadWriter", 30, 60, 0, str(tmp_path))])
    assert [outcome.bad_count > 0 for outcome in outcomes] == [True, True]
