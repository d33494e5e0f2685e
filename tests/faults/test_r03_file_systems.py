"""R3: what is acknowledged survives a power cut on real file systems; see r03_file_systems.py. And small disks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from faults import realfs
from faults.broken import use_broken_copy
from faults.campaigns import Unavailable, in_processes
from faults.r03_file_systems import USES, campaign, cuts, syncs_of_a_dead_disk
from faults.r03_small_disks import full_disks

pytestmark = pytest.mark.timeout(180)

UPLOAD = "storage/local_upload.py"
BEFORE_THE_RENAME = (
    '        with failing(*where, "it could not be flushed to the disk"):\n            syscalls.fsync(file.fd)\n',
    "",
)


@pytest.fixture(autouse=True)
def possible():
    try:
        realfs.check_possible()
    except Unavailable as error:
        pytest.skip(str(error))


def carried_out(function, *arguments):
    try:
        [outcome] = in_processes(function, [arguments])
    except Unavailable as error:
        pytest.skip(str(error))
    return outcome


def test_what_is_acknowledged_survives_a_power_cut_on_real_file_systems(tmp_path):
    try:
        outcome = campaign(50, folder=tmp_path)
    except Unavailable as error:
        pytest.skip(str(error))
    assert outcome.bad == ()
    assert outcome.tried >= 50
    assert outcome.notes == "50 full disks"


def test_nothing_is_left_mounted(tmp_path):
    assert carried_out(cuts, ("ext4 data=ordered",), 1, 0, str(tmp_path / "scratch"), ("one file",)).tried == 1
    assert str(tmp_path) not in Path("/proc/mounts").read_text(encoding="utf-8")
    assert os.listdir(tmp_path / "scratch/room") == []


@pytest.mark.parametrize("kind", ["ext4 data=ordered", "XFS"])
def test_a_directory_that_a_dead_xfs_says_it_has_synced_is_not_acknowledged(tmp_path, kind):
    assert carried_out(syncs_of_a_dead_disk, kind, str(tmp_path)) == []


@pytest.mark.parametrize("kind", ["ext4 noauto_da_alloc", "XFS", "btrfs"])
def test_a_rename_before_the_bytes_are_synced_is_found_out(tmp_path, monkeypatch, kind):
    use_broken_copy(monkeypatch, tmp_path / "broken", (UPLOAD, *BEFORE_THE_RENAME))
    found = carried_out(cuts, (kind,), 40, 0, str(tmp_path / "scratch"), ("SimpleWriter", "one file"), 1)
    assert found.bad_count > 0


BREAKS = {
    "the directory is not synced": (UPLOAD, "directories.sync(os.path.dirname(self._path))", "pass"),
    "the old ones go before the new one is there": (
        "catalog/collection.py",
        "        commit(self._storage, facts.name, placed.image)\n",
        "        [self.catalog.remove(one) for one in self.read().snapshots]\n"
        "        commit(self._storage, facts.name, placed.image)\n",
    ),
    "a savefun's file is not synced": ("storage/handover.py", "            syscalls.fsync(fd)\n", "            pass\n"),
}


@pytest.mark.parametrize("what", BREAKS)
def test_a_broken_package_is_found_out(tmp_path, monkeypatch, what):
    use_broken_copy(monkeypatch, tmp_path / "broken", BREAKS[what])
    uses = tuple(USES)[:2] if "savefun" not in what else ("savefun", "npz")
    assert carried_out(cuts, ("XFS",), 40, 0, str(tmp_path / "scratch"), uses, 1).bad_count > 0


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("storage/local.py", "            check_room(path, size_bytes)\n", "            pass\n"),
        (UPLOAD, "if error.errno in NO_ROOM:", "if False:"),
        ("storage/temporaries.py", "            syscalls.unlink(self.path)\n", "            pass\n"),
        (UPLOAD, '    errno.EFBIG: "', '    -1: "'),
    ],
    ids=["free space is not looked at", "room is not told", "temporary files are left", "the limit is not told"],
)
def test_a_package_that_breaks_on_a_full_disk_is_found_out(tmp_path, monkeypatch, file, old, new):
    use_broken_copy(monkeypatch, tmp_path / "broken", (file, old, new))
    assert carried_out(full_disks, 0, str(tmp_path / "scratch"), ("SimpleWriter",)).bad_count > 0
