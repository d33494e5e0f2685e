"""R11: what a store keeps, whatever happens to it; see r11_retention.py."""

from __future__ import annotations

import pytest

from faults.broken import use_broken_copy
from faults.campaigns import in_processes
from faults.r11_retention import campaign, sequences

BREAKS = {  # each is found out by the campaign; QUICK ones after few sequences
    "one snapshot too few is kept": ("keep.py", "snapshots[-self.n :]", "snapshots[-max(1, self.n - 1) :]"),
    "snapshots are removed before the new one is written": (
        "catalog/collection.py",
        "        commit(self._storage, facts.name, placed.image)\n",
        "        self.keep is None or self.prune(self.keep)\n        commit(self._storage, facts.name, placed.image)\n",
    ),
    "what stays is not read before others go": (
        "catalog/collection.py",
        "relied_on = retention.relied_on(plan) if plan.drop else []",
        "relied_on = []",
    ),
    "only the newest is read before others go": (
        "retention.py",
        "return [one for one in reversed(staying) if plan.keep[one] != (_PINNED,) or one is staying[-1]]",
        "return staying[-1:]",
    ),
    "what was found to be whole is believed for ever": (
        "catalog/collection.py",
        "return None if whole is None or stamp != self.catalog.stamp(snapshot.name) else whole",
        "return whole",
    ),
    "a file of another template is taken for the store's own": (
        "catalog/catalog.py",
        "            and same_template(facts.template, self.template)\n",
        "",
    ),
    "a copy under another name is taken for the store's own": (
        "catalog/catalog.py",
        '            and (name == facts.name or (facts.reason == "error" and name == facts.name + ERROR_SUFFIX))\n',
        "",
    ),
    "pins mean nothing": ("retention.py", "reasons[name].append(_PINNED)", "pass"),
    "the one that was resumed from means nothing": ("retention.py", "newer < wanted and", "False and"),
    "the one that was just saved means nothing": ("retention.py", "if saved is not None and", "if False and"),
    "every temporary file is swept": ("storage/temporaries.py", "if not _lock(fd):", "if _lock(fd) is None:"),
    "files of others are swept": (
        "storage/temporaries.py",
        "return _NAME.fullmatch(name) is not None",
        'return name.endswith(".holdfast-tmp")',
    ),
    "nothing is swept": ("storage/temporaries.py", "if not _lock(fd):", "if _lock(fd):"),
}

QUICK = (
    "one snapshot too few is kept",
    "snapshots are removed before the new one is written",
    "files of others are swept",
)


@pytest.mark.timeout(120)
def test_retention_keeps_what_it_promises_at_every_moment(tmp_path):
    outcome = campaign(300, folder=tmp_path)
    assert outcome.bad == ()
    assert outcome.tried >= 300


@pytest.mark.timeout(120)
@pytest.mark.parametrize("what", QUICK)
def test_a_broken_package_is_found_out(tmp_path, monkeypatch, what):
    use_broken_copy(monkeypatch, tmp_path / "broken", BREAKS[what])
    [outcome] = in_processes(sequences, [(1000, 0, str(tmp_path / "scratch"), 1)])
    assert outcome.bad_count > 0
