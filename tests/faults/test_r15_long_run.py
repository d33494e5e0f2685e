"""R15: a long run stays whole; see r15_long_run.py."""

from __future__ import annotations

import pytest

from faults import realfs
from faults.broken import use_broken_copy
from faults.campaigns import Outcome, Unavailable, in_processes
from faults.r15_long_run import campaign, runs

pytestmark = pytest.mark.timeout(180)

PATIENCE_S = 100  # for a break to show; on a busy machine it may come late

BREAKS = {
    "a full disk ends the run": (
        "store",
        "series.py",
        "return isinstance(error, OSError) or",
        "return False and",
    ),
    "a full disk ends the trainer": (
        "trainer",
        "series.py",
        "return isinstance(error, OSError) or",
        "return False and",
    ),
    "the clock says which is the newest": (
        "store",
        "retention.py",
        "return snapshot.sequence, ",
        "return snapshot.created_at.timestamp(), ",
    ),
    "the old ones go before the new one is there": (
        "store",
        "catalog/collection.py",
        "        commit(self._storage, facts.name, placed.image)\n",
        "        [self.catalog.remove(one) for one in self.read().snapshots[:-1]]\n"
        "        commit(self._storage, facts.name, placed.image)\n",
    ),
    "what a failed write has left stays": (
        "store",
        "storage/temporaries.py",
        "and _remove_if_dead(entry.path)",
        "and False",
    ),
    "the place in an epoch is forgotten": (
        "trainer",
        "iterators/batch_iterator.py",
        'position = int(serializer("current_position", self.current_position))',
        'position = 0 * int(serializer("current_position", self.current_position))',
    ),
}


@pytest.fixture(autouse=True)
def possible():
    try:
        realfs.check_possible()
    except Unavailable as error:
        pytest.skip(str(error))


def test_a_long_run_stays_whole(tmp_path):
    try:
        outcome = campaign(20, folder=tmp_path)
    except Unavailable as error:
        pytest.skip(str(error))
    assert outcome.bad == ()
    assert outcome.tried >= 20
    assert "store: " in outcome.notes
    assert "trainer: " in outcome.notes


@pytest.mark.parametrize("what", BREAKS)
def test_a_broken_package_is_found_out(tmp_path, monkeypatch, what):
    kind, *broken = BREAKS[what]
    use_broken_copy(monkeypatch, tmp_path / "broken", tuple(broken))
    outcome: Outcome
    try:
        [outcome] = in_processes(runs, [(kind, PATIENCE_S, 0, str(tmp_path / "scratch"), 1)])
    except Unavailable as error:
        pytest.skip(str(error))
    assert outcome.bad_count > 0
