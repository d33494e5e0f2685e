"""R2: a power cut after any operation takes no acknowledged snapshot; and a campaign that would see it if one did."""

from __future__ import annotations

import pytest

from faults.broken import broken_copy
from faults.campaigns import Unavailable
from faults.powerloss.operations import Ack, Rename, Sync, SyncDirectory, Truncate
from faults.powerloss.recording import mounted
from faults.r02_power_cut import campaign, explore_saver, explored, record
from faults.r02_programs import SCENARIOS

COUNT = 10_000


@pytest.fixture(autouse=True, scope="module")
def _skip_where_there_is_no_fuse(tmp_path_factory):
    try:
        with mounted(tmp_path_factory.mktemp("is_there")):
            pass
    except Unavailable as reason:
        pytest.skip(str(reason))


def test_no_power_cut_takes_an_acknowledged_snapshot_or_leaves_a_torn_one(tmp_path):
    outcome = campaign(COUNT, folder=tmp_path)
    assert outcome.bad == ()
    assert outcome.tried >= COUNT


@pytest.mark.parametrize(
    ("scenario", "module", "old", "new", "what"),
    [
        pytest.param(
            "retention", "storage/local_upload.py",
            "            syscalls.fsync(file.fd)\n", "            pass\n",
            "damaged", id="no fsync of the file",
        ),
        pytest.param(
            "one step", "storage/local_upload.py",
            "            directories.sync(os.path.dirname(self._path))", "            pass",
            "was acknowledged", id="no fsync of the directory",
        ),
        pytest.param(
            "one file", "storage/local_upload.py",
            """            syscalls.fsync(file.fd)
        with failing(*where, "it could not be closed"):
            file.close()
        with failing(*where, "it could not be given its name"):
            syscalls.rename(file.path, self._path)
""",
            """            syscalls.rename(file.path, self._path)
            syscalls.fsync(file.fd)
            file.close()
""",
            "Damaged", id="a rename before the fsync",
        ),
        pytest.param(
            "one step", "commit.py",
            "        upload.commit()\n",
            "        __import__('threading').Timer(0.1, upload.commit).start()\n",
            "was acknowledged", id="acknowledged before the commit",
        ),
        pytest.param(
            "first", "storage/local.py",
            "                directories.sync_upwards(directory)\n", "                directories.sync(directory)\n",
            "was acknowledged", id="no fsync of the directories above",
        ),
        pytest.param(
            "savefun", "storage/handover.py",
            "            syscalls.fsync(fd)\n", "            pass\n",
            "", id="no fsync of what a savefun wrote",
        ),
        pytest.param(
            "prune", "catalog/catalog.py",
            "        self._storage.remove(snapshot.name)\n",
            "        for one in self.read().snapshots:\n            self._storage.remove(one.name)\n",
            "was acknowledged", id="the newest is removed, too",
        ),
        pytest.param(
            "pins", "catalog/catalog.py",
            "upload.commit()\n", "upload.abort(), open(self.path(pin_name(snapshot.name)), 'wb').close()\n",
            "was pinned", id="a pin that is not synced",
        ),
    ],
)  # fmt: skip
def test_a_holdfast_with_a_broken_order_is_found_out(tmp_path, scenario, module, old, new, what):
    broken = broken_copy(tmp_path / "broken", (module, old, new))
    found = explored([scenario], 1, 0, tmp_path, [str(broken)])
    assert found.bad_count > 0
    assert any(what in complaint for complaint in found.bad), found.bad[:3]
    assert found.bad[0].startswith(f"{scenario}: cut after operation ")


def test_the_programs_did_what_the_scenarios_are_called(tmp_path):
    with mounted(tmp_path) as mount:
        recorded = {name: record(mount, SCENARIOS[name], 0, tmp_path) for name in ("large", "cut three times")}
    [log] = recorded["large"].logs
    assert [operation.name for operation in log if isinstance(operation, Ack)] == ["1", "2"]
    assert sum(isinstance(operation, Truncate) for operation in log) == 4  # reserved and cut to their sizes
    assert {Sync, SyncDirectory, Rename} <= {type(operation) for operation in log}
    logs = recorded["cut three times"].logs
    acks = [[operation.name for operation in log if isinstance(operation, Ack)] for log in logs]
    assert acks == [["1"], ["1", "3"], ["1", "3", "5"], ["1", "3", "5", "7"]]


SAVER = """
import os, sys
from faults.powerloss.acks import acknowledge
folder, control = sys.argv[1:]
for step in (1, 2):
    path = os.path.join(folder, "latest")
    with open(path + ".new", "wb") as file:
        file.write(b"step %d" % step)
        file.flush()
        {fsync}
    os.replace(path + ".new", path)
    directory = os.open(folder, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)
    acknowledge(control, step)
"""


def check_saved(folder: str, acknowledged: list[int]) -> str:
    if not acknowledged:
        return ""
    with open(f"{folder}/latest", "rb") as file:
        found = file.read()
    return "" if found in [b"step %d" % step for step in range(acknowledged[-1], 3)] else f"found {found!r}"


@pytest.mark.parametrize(("fsync", "is_good"), [("os.fsync(file.fileno())", True), ("pass", False)])
def test_any_saver_can_be_explored(tmp_path, fsync, is_good):
    found = explore_saver(["-c", SAVER.replace("{fsync}", fsync)], check_saved, folder=tmp_path, rand=1)
    assert found.points == 2 * (found.operations + 1) * 6
    assert (found.bad_count == 0) is is_good, found.bad[:2]
    assert found.outcome().tried == found.points
