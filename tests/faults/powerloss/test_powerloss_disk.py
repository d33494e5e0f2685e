"""What survives a power cut: each model and policy on logs of a few operations."""

from __future__ import annotations

from itertools import pairwise

import pytest

from faults.powerloss.disk import MODELS, POLICIES, Disk, Moment, survive
from faults.powerloss.logs import founded_on, read_log, write_log
from faults.powerloss.operations import (
    ROOT,
    Ack,
    FailedSync,
    Link,
    Mark,
    Rename,
    Sync,
    SyncDirectory,
    Truncate,
    Unlink,
    Write,
)

FILE, OTHER, FOLDER = 2, 3, 4
NEW = [Link(ROOT, "new", FILE, "file"), Write(FILE, 0, b"bytes")]
SYNCED = [*NEW, Sync(FILE), SyncDirectory(ROOT)]
EACH = pytest.mark.parametrize("model", MODELS)


def left(log, model, policy):
    """Paths to contents; None for a directory."""
    disk, _ = survive(log, model, policy)
    return {path: None if isinstance(node, dict) else getattr(node, "data", node) for path, node in disk.walk()}


@EACH
@pytest.mark.parametrize(
    ("policy", "wanted"),
    [
        ("none", {}),
        ("meta", {"/new": b""}),
        ("sizes", {"/new": bytes(5)}),
        ("data", {}),
        ("all", {"/new": b"bytes"}),
    ],
)
def test_of_what_was_not_synced_a_policy_says_what_survives(model, policy, wanted):
    assert left(NEW, model, policy) == wanted


@EACH
@pytest.mark.parametrize("policy", [*POLICIES, "rand:1", "rand:2", "rand:3"])
def test_what_was_synced_with_its_name_survives_under_every_policy(model, policy):
    assert left(SYNCED, model, policy) == {"/new": b"bytes"}


@pytest.mark.parametrize(("model", "wanted"), [("strict", {}), ("journal", {"/new": b"bytes"})])
def test_only_a_journal_commits_names_with_the_fsync_of_a_file(model, wanted):
    assert left([*NEW, Sync(FILE)], model, "none") == wanted


@EACH
def test_the_fsync_of_a_directory_keeps_its_names_and_no_data(model):
    assert left([*NEW, SyncDirectory(ROOT)], model, "none") == {"/new": b""}


@pytest.mark.parametrize(("model", "wanted"), [("strict", {"/dir": None}), ("journal", {"/dir": None, "/dir/in": b""})])
def test_strictly_the_fsync_of_a_directory_is_about_this_one_alone(model, wanted):
    log = [Link(ROOT, "dir", FOLDER, "directory"), Link(FOLDER, "in", FILE, "file"), SyncDirectory(ROOT)]
    assert left(log, model, "none") == wanted


def test_what_is_in_a_directory_that_has_lost_its_name_is_lost():
    log = [Link(ROOT, "dir", FOLDER, "directory"), Link(FOLDER, "in", FILE, "file"), SyncDirectory(FOLDER)]
    assert left(log, "strict", "none") == {}


@EACH
def test_a_rename_is_undone_or_done_and_nothing_between(model):
    log = [
        *SYNCED,
        Link(ROOT, "old", OTHER, "file"),
        SyncDirectory(ROOT),
        Rename(ROOT, "new", ROOT, "old", FILE, "file"),
    ]
    before, after = {"/new": b"bytes", "/old": b""}, {"/old": b"bytes"}
    assert left(log, model, "none") == before
    assert left([*log, SyncDirectory(ROOT)], model, "none") == after
    found = [left(log, model, f"rand:{seed}") for seed in range(50)]
    assert before in found
    assert after in found
    assert all(one in (before, after) for one in found)


@EACH
def test_a_rename_before_the_fsync_may_leave_an_empty_file_in_the_place_of_the_old_one(model):
    written = [Link(ROOT, "temporary", OTHER, "file"), Write(OTHER, 0, b"newer")]
    log = [*SYNCED, *written, Rename(ROOT, "temporary", ROOT, "new", OTHER, "file")]
    assert left(log, model, "meta") == {"/new": b""}
    assert left([*SYNCED, *written, Sync(OTHER), *log[-1:]], model, "meta") == {"/new": b"newer"}


@EACH
def test_a_name_that_goes_may_come_back_until_its_directory_is_synced(model):
    log = [*SYNCED, Unlink(ROOT, "new")]
    assert left(log, model, "none") == {"/new": b"bytes"}
    assert left(log, model, "meta") == {}
    assert left([*log, SyncDirectory(ROOT)], model, "none") == {}


@EACH
def test_after_a_failed_fsync_a_second_one_that_succeeds_saves_nothing(model):
    log = [*NEW, SyncDirectory(ROOT), FailedSync(FILE), Sync(FILE)]
    assert left(log, model, "all") == {"/new": b""}


@EACH
def test_files_are_cut_and_lengthened(model):
    log = [*NEW, Truncate(FILE, 2), Write(FILE, 4, b"!"), Truncate(FILE, 6), SyncDirectory(ROOT)]
    assert left(log, model, "all") == {"/new": b"by\0\0!\0"}
    assert left([*log, Sync(FILE)], model, "none") == {"/new": b"by\0\0!\0"}


@EACH
def test_random_tearings_tear_at_blocks_and_are_the_same_for_a_seed(model):
    data = bytes([1]) * 3996 + bytes([2]) * 4096 + bytes([3]) * 100
    log = [Link(ROOT, "new", FILE, "file"), SyncDirectory(ROOT), Write(FILE, 100, data)]
    found = {left(log, model, f"rand:{seed}")["/new"] for seed in range(200)}
    assert len(found) > 8
    for content in found:
        edges = [100, 4096, 8192, 8292]
        for start, stop in pairwise(edges):
            assert content[start:stop] in (b"", bytes(stop - start), data[start - 100 : stop - 100]), "a block is torn"
    assert [left(log, model, f"rand:{seed}") for seed in range(9)] == [
        left(log, model, f"rand:{seed}") for seed in range(9)
    ]


def test_in_a_journal_names_survive_as_a_prefix_and_strictly_in_any_combination():
    log = [Link(ROOT, name, inode, "file") for inode, name in enumerate("abc", start=2)]
    found = {model: {"".join(left(log, model, f"rand:{seed}")) for seed in range(300)} for model in MODELS}
    assert found["journal"] == {"", "/a", "/a/b", "/a/b/c"}
    assert len(found["strict"]) == 8


def test_acknowledgements_are_known_in_their_order_and_a_moment_goes_on():
    moment = Moment("strict")
    for operation in [Ack("one"), *NEW, Ack("two")]:
        moment.advance(operation)
    assert moment.acks == ["one", "two"]
    assert moment.after_cut("none").find("/new") is None
    moment.advance(Sync(FILE))
    moment.advance(SyncDirectory(ROOT))
    assert moment.after_cut("none").find("/new") == FILE


@pytest.mark.parametrize("words", [("lax", "none"), ("strict", "some")])
def test_a_model_or_policy_that_does_not_exist_is_refused(words):
    with pytest.raises(ValueError, match="there are"):
        survive(NEW, *words)


def test_a_log_is_the_same_after_a_file(tmp_path):
    log = [
        *SYNCED,
        Link(ROOT, "link", OTHER, "symlink", "new"),
        Rename(ROOT, "new", ROOT, "old", FILE, "file"),
        Truncate(FILE, 3),
        FailedSync(FILE),
        Unlink(ROOT, "link"),
        Ack("it"),
        Mark(),
    ]
    write_log(tmp_path / "log", log)
    assert read_log(tmp_path / "log") == log


@EACH
@pytest.mark.parametrize("policy", ["none", "rand:5"])
def test_a_log_that_is_founded_on_a_disk_has_all_of_it_durable(model, policy):
    disk = Disk()
    for change in [
        Link(ROOT, "dir", FOLDER, "directory"),
        Link(FOLDER, "file", FILE, "file"),
        Write(FILE, 0, b"bytes"),
        Link(FOLDER, "link", OTHER, "symlink", "file"),
    ]:
        disk.apply(change)
    log = founded_on(disk, ["before"])
    found, acks = survive(log, model, policy)
    assert found.digest() == disk.digest()
    assert list(acks) == ["before"]
    assert log[-1] == Mark()


def test_trees_are_told_apart_by_names_contents_and_links():
    trees = [
        NEW,
        NEW[:1],
        [Link(ROOT, "other", FILE, "file"), NEW[1]],
        [Link(ROOT, "new", FILE, "directory")],
        [Link(ROOT, "new", FILE, "symlink", "bytes")],
        [Link(ROOT, "new", FILE, "symlink", "byte")],
    ]
    assert len({survive(tree, "strict", "all")[0].digest() for tree in trees}) == len(trees)
    twin = [Link(ROOT, "new", OTHER, "file"), Write(OTHER, 0, b"byt"), Write(OTHER, 3, b"es")]
    assert survive(twin, "strict", "all")[0].digest() == survive(NEW, "strict", "all")[0].digest()
