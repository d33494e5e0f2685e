"""The exploration: every place of a log is cut, each tree is looked at once, and what is wrong is told."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from faults.campaigns import TESTS
from faults.powerloss.explore import explore
from faults.powerloss.logs import write_log
from faults.powerloss.operations import (
    ROOT,
    Ack,
    Link,
    Mark,
    Rename,
    Sync,
    SyncDirectory,
    Write,
)

OLD = [Link(ROOT, "name", 2, "file"), Write(2, 0, b"old"), Sync(2), SyncDirectory(ROOT), Mark()]
BEGUN = [Link(ROOT, "temporary", 3, "file"), Write(3, 0, b"new")]
NAMED = Rename(ROOT, "temporary", ROOT, "name", 3, "file")
GOOD = [*OLD, *BEGUN, Sync(3), NAMED, SyncDirectory(ROOT), Ack("new")]


def check(folder, acks):
    with open(os.path.join(folder, "name"), "rb") as file:
        found = file.read()
    if "new" in acks and found != b"new":
        return f"lost: {found!r} instead of what was acknowledged"
    return "" if found in (b"old", b"new") else f"torn: {found!r}"


def test_the_right_order_has_no_bad_state_and_points_are_counted():
    found = explore(GOOD, check, rand=2)
    assert (found.bad, found.bad_count) == ([], 0)
    assert found.operations == 6
    assert found.points == 2 * (6 + 1) * (5 + 2)
    assert 4 < found.trees < found.points


@pytest.mark.parametrize(
    ("log", "what"),
    [
        ([*OLD, *BEGUN, NAMED, SyncDirectory(ROOT), Ack("new")], "torn: b''"),  # no fsync of the file
        ([*OLD, *BEGUN, NAMED, Sync(3), SyncDirectory(ROOT), Ack("new")], "torn: b''"),  # too late
        ([*OLD, *BEGUN, Sync(3), NAMED, Ack("new")], "lost: b'old'"),  # no fsync of the directory
        ([*OLD, *BEGUN, Sync(3), Ack("new"), NAMED, SyncDirectory(ROOT)], "lost: b'old'"),  # acknowledged too early
    ],
)
@pytest.mark.parametrize("model", ["strict", "journal"])
def test_every_wrong_order_is_found(log, what, model):
    found = explore(log, check, models=[model])
    assert found.bad_count > 0
    assert any(what in complaint for complaint in found.bad), found.bad
    assert all(complaint.startswith("cut after operation ") for complaint in found.bad)


def test_the_name_of_a_directory_that_was_not_synced_is_found_strictly():
    log = [Link(ROOT, "made", 2, "directory"), Link(2, "name", 3, "file"), Sync(3), SyncDirectory(2), Ack("it")]

    def is_there(folder, acks):
        return "" if not acks or os.path.exists(os.path.join(folder, "made", "name")) else "lost"

    assert explore(log, is_there, models=["strict"]).bad_count > 0
    assert explore([*log[:-1], SyncDirectory(ROOT), log[-1]], is_there).bad_count == 0


def test_what_the_check_raises_is_a_complaint():
    def raising(folder, acks):
        raise LookupError("no resume")

    found = explore(GOOD, raising)
    assert found.bad_count == found.trees
    assert "LookupError: no resume" in found.bad[0]


def test_the_check_may_change_what_it_is_given():
    def writing(folder, acks):
        complaint = check(folder, acks)
        with open(os.path.join(folder, "name"), "wb") as file:
            file.write(b"changed")
        return complaint

    assert explore(GOOD, writing).bad == []


def test_the_same_seed_explores_the_same_trees():
    def trees(seed):
        seen = []
        explore(GOOD, lambda folder, acks: seen.append((sorted(os.listdir(folder)), acks)) or "", rand=3, seed=seed)
        return seen

    assert trees(1) == trees(1)


CHECKER = """
import os

def check(folder, acks):
    with open(os.path.join(folder, "name"), "rb") as file:
        return "" if file.read() in (b"old", b"new") else "torn"
"""


@pytest.mark.parametrize(("log", "status", "words"), [(GOOD, 0, " 0 bad"), ([*OLD, *BEGUN, NAMED], 1, "meta: torn")])
def test_the_command_line_says_how_many_were_bad_and_shows_some(tmp_path, log, status, words):
    write_log(tmp_path / "log", log)
    (tmp_path / "checker.py").write_text(CHECKER)
    command = [sys.executable, "-m", "faults.powerloss.explore", str(tmp_path / "log"), str(tmp_path / "checker.py")]
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (status, "")
    assert words in done.stdout
