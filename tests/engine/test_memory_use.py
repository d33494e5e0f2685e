"""Memory: as much after a hundred snapshots as after three, here and in the process that writes, which takes little
beside the arena that it shares."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.writing import IN_ANOTHER, WRITERS, name_of
from holdfast.writers import helper

pytestmark = [
    pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="this system does not say what a process takes"),
    pytest.mark.timeout(300),
]

MIB = 1 << 20
HELPER_BYTES = 40_000_000  # at most, beside the arena

PROGRAM = """
import json, os, sys
import numpy as np
import holdfast
from holdfast import keep, writers

where, kind, size_mib, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])


def taken(pid):
    lines = dict(line.split(":", 1) for line in open(f"/proc/{pid}/status"))
    sizes = {name: 1024 * int(lines[name].split()[0]) for name in ("RssAnon", "RssFile", "RssShmem")}
    return {**sizes, "files": len(os.listdir(f"/proc/{pid}/fd"))}


def both():
    return [taken(os.getpid()), *([taken(writer._carrier._helper.pid)] if kind.startswith("Process") else [])]


writer = getattr(writers, kind)()
arrays = {f"w{number}": np.zeros((size_mib << 20) // 64) for number in range(8)}
with holdfast.SnapshotStore(where, writer=writer, keep=keep.last(1)) as store:
    seen, peak = [], 0
    for step in range(1, count + 1):
        for array in arrays.values():
            array += 1
        pending = store.save(step, {"arrays": arrays, "step": step})
        while kind.startswith("Process") and not pending.done():
            now = both()[-1]
            peak = max(peak, now["RssAnon"] + now["RssFile"])
        pending.result()
        store.wait()
        if step in (3, count):
            seen.append(both())
    print(json.dumps({"early": seen[0], "late": seen[-1], "peak": peak}))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A place for large files, which do not stay."""
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("kind", WRITERS, ids=name_of)
def test_a_hundred_snapshots_leave_the_memory_as_three_do(program, folder, kind):
    said = json.loads(program(PROGRAM, folder, kind.__name__, 16, 100).end())
    assert len(said["early"]) == (2 if kind in IN_ANOTHER else 1)
    for early, late in zip(said["early"], said["late"], strict=True):
        assert late["files"] == early["files"]
        grown = {name: late[name] - early[name] for name in early if name.startswith("Rss")}
        assert sum(grown.values()) < 2 * MIB, grown
        assert late["RssAnon"] + late["RssShmem"] < 120 * MIB, "more than the state, one copy, and Python"


@pytest.mark.skipif(not helper.is_possible(), reason="no memory can be shared with another process here")
@pytest.mark.parametrize("kind", IN_ANOTHER, ids=name_of)
def test_the_process_that_writes_takes_at_most_40_mb_beside_the_arena(program, folder, kind):
    said = json.loads(program(PROGRAM, folder, kind.__name__, 64, 8).end())
    assert 0 < said["peak"] <= HELPER_BYTES, f"{said['peak'] / 1e6:.1f} MB"
