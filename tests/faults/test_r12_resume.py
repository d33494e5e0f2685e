"""R12: a resume goes past damage, says why, and leaves no trace where it must not; and a campaign that would see it."""

from __future__ import annotations

from functools import partial

import pytest

from faults import r12_resume
from faults.broken import use_broken_copy
from faults.campaigns import in_processes
from faults.r02_uses import Store, Wrong, state
from faults.r12_damage import SIZE, damaged
from faults.r12_looking import look
from faults.r12_resume import campaign
from holdfast.store import SnapshotStore
from snapshots import TEMPLATE, damage

COUNT = 1000


def test_no_damage_keeps_a_resume_from_the_newest_good_snapshot_and_each_skip_is_explained(tmp_path):
    outcome = campaign(COUNT, folder=tmp_path)
    assert outcome.bad == ()
    assert outcome.tried >= COUNT
    assert "1000 listed in " in outcome.notes
    if r12_resume.LEFT_OUT in outcome.notes:
        pytest.skip(outcome.notes)


@pytest.mark.parametrize(
    ("module", "old", "new", "what"),
    [
        pytest.param(
            "catalog/collection.py",
            '                _logger.warning("passed over: %s", str(error))\n                bad.append(str(error))\n',
            "                bad.append(str(error))\n",
            "was passed over, and is told of in []", id="a skip that nobody is told of",
        ),
        pytest.param(
            "catalog/collection.py",
            '            _logger.warning("passed over: %s", what)\n', "            pass\n",
            "was passed over, and is told of in []", id="a damaged header that nobody is told of",
        ),
        pytest.param(
            "catalog/collection.py",
            "                if isinstance(error, FileNotFoundError) or is_exhaustion(error):\n",
            "                if isinstance(error, (FileNotFoundError, DamagedError)) or is_exhaustion(error):\n",
            "was to be taken", id="damage is raised",
        ),
        pytest.param(
            "catalog/collection.py",
            "        self._check_empty(listing, bad, step)\n        return None\n", "        return None\n",
            "None was to be taken", id="a fresh start where all are damaged",
        ),
        pytest.param(
            "store.py",
            "            self._reading()\n            return\n",
            "            acquire(self._location).release()\n            self._reading()\n            return\n",
            "a readonly store changed", id="a lock of a readonly store",
        ),
        pytest.param(
            "format/reader.py",
            "        check(self._open_source(), self._sums, wanted, self.where)\n", "        return\n",
            "", id="no checksums",
        ),
    ],
)  # fmt: skip
def test_a_broken_resume_is_found_out(tmp_path, monkeypatch, module, old, new, what):
    use_broken_copy(monkeypatch, tmp_path / "broken", (module, old, new))
    [outcome] = in_processes(damaged, [(("a bit of the last leaf", "a bit of the facts"),)])
    assert outcome.bad_count > 0
    assert any(what in complaint for complaint in outcome.bad), outcome.bad[:3]


def test_a_look_that_changes_something_is_told_of(tmp_path):
    with SnapshotStore(tmp_path) as store:
        store.save(1, state(1, SIZE)).result()
    assert look(str(tmp_path), partial(Store, str(tmp_path), SIZE, readonly=True)).tag == 1
    with pytest.raises(Wrong, match=r"changed \['\.', '\.holdfast-lock'"):
        look(str(tmp_path), partial(opened_for_writing, tmp_path))
    damage(tmp_path / TEMPLATE.format(step=1))
    assert look(str(tmp_path), partial(Store, str(tmp_path), SIZE, readonly=True)).is_refused


def opened_for_writing(folder):
    (folder / "new").touch()
    return Store(str(folder), SIZE)


def test_a_list_that_takes_too_long_is_bad(monkeypatch):
    monkeypatch.setattr(r12_resume, "LISTED_WITHIN_S", 0.0)
    monkeypatch.setattr(r12_resume, "MOST_TRIES", 6)
    outcome = r12_resume.long_list()
    assert outcome.bad_count == 1
