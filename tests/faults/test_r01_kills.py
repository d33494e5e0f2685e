"""R1: a kill at any call loses nothing that was acknowledged; and a campaign that would see a loss."""

from __future__ import annotations

import pytest

from faults.broken import use_broken_copy
from faults.campaigns import in_processes
from faults.r01_kills import RANDOM, campaign, in_process
from faults.traced import TRACED

COUNT = 500

NAMED = "            syscalls.rename(file.path, self._path)\n"
CONTENT = "            self._content = Content(temporary.fd, os.path.dirname(path), size_bytes)\n"
COMMIT = "        commit(self._storage, facts.name, placed.image)\n"


@pytest.mark.timeout(600)
def test_a_kill_at_any_call_loses_nothing_that_was_acknowledged(tmp_path):
    outcome = campaign(COUNT, folder=tmp_path)
    assert outcome.bad == ()
    assert outcome.tried >= COUNT
    assert f"{RANDOM} at random moments" in outcome.notes
    if "none of them under strace" in outcome.notes:
        pytest.skip(outcome.notes)
    assert f"{TRACED} of them under strace" in outcome.notes


@pytest.mark.parametrize(
    ("use", "changes"),
    [
        ("first_save", [
            ("storage/local_upload.py", CONTENT, f"{CONTENT}            syscalls.rename(temporary.path, path)\n"),
            ("storage/local_upload.py", NAMED, "            pass\n"),
        ]),
        ("replacement_of_the_same_step", [
            ("storage/local_upload.py", NAMED,
             f"            if os.path.exists(self._path):\n                syscalls.unlink(self._path)\n{NAMED}"),
        ]),
        ("save_with_retention", [
            ("catalog/collection.py", COMMIT,
             "        for one in self.read().snapshots[:-1] if self.keep else ():\n"
             f"            self._storage.remove(one.name)\n{COMMIT}"),
        ]),
    ],
    ids=["the name before the bytes", "the old file removed before the new one has its name",
         "older ones removed before the newer one is there"],
)  # fmt: skip
def test_an_order_that_a_kill_makes_a_loss_of_is_found(tmp_path, monkeypatch, use, changes):
    use_broken_copy(monkeypatch, tmp_path / "broken", *changes)
    (outcome,) = in_processes(in_process, [("SimpleWriter", 80, 0, str(tmp_path), use)])
    assert any("killed before" in sentence for sentence in outcome.bad)
