"""What the state machine of R11 draws from, and what it plants."""

from __future__ import annotations

import os
import stat
import struct
from datetime import datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from faults.r11_model import POLICIES, TEMPLATES

STEPS = st.sampled_from(range(7))  # not integers(), which likes some of them too much
CRASHES = st.sampled_from((*[0] * 160, *range(1, 81)))  # before which call; 0: none
LOSSES = st.one_of(st.none(), st.sampled_from([0.1, 0.2, 0.3]))
SAVES = st.lists(st.tuples(STEPS, LOSSES), min_size=1, max_size=3)
MANY_SAVES = st.lists(st.tuples(STEPS, LOSSES), min_size=3, max_size=6)
POLICY = st.sampled_from((None, *range(len(POLICIES))))
PICKS = st.sampled_from((0, 0, 0, 1, 1, 1, 2, 3, 4, 5))  # one of what lies there, the newest first
TEMPLATE = st.sampled_from(sorted(TEMPLATES))

DAMAGES = ("leaf, in another file", "leaf, in place", "facts", "cut", "empty")
FOREIGN = (
    "snapshot_00000001.safetensors.bak", "snapshot_1x.safetensors", "snapshot_-0000001.safetensors", "gen_1.5", "gen_",
    "SNAPSHOT_00000001.safetensors", ".notes.holdfast-tmp", "0123456789abcdef.holdfast-tmp", "notes.txt",
    ".0123456789ABCDEF.holdfast-tmp", ".0123456789abcde.holdfast-tmp", ".0123456789abcdef.holdfast-tmp.bak",
)  # fmt: skip
PLANTED = (
    *(("file", name) for name in FOREIGN),
    *(("copy", name) for name in (*FOREIGN[:6], "snapshot_00000042.safetensors", "gen_42")),
    *(("link", name) for name in ("snapshot_00000077.safetensors", "gen_77", ".0123456789abcdef.holdfast-tmp")),
    *(("directory", name) for name in ("snapshot_00000006.safetensors", "gen_6", ".0123456789abcdef.holdfast-tmp")),
    *(("directory", name) for name in (".a.holdfast-tmp.d", ".snapshot_00000001.safetensors.holdfast-pin")),
)
FLOCK = struct.Struct("hhqqi4x")  # struct flock, as fcntl(2) has it


class Clock(datetime):
    """Says what the machine wants it to."""

    ahead = timedelta(0)

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return datetime(2030, 1, 1, 12, 34, 56, tzinfo=timezone.utc) + cls.ahead


def state(value: float) -> dict[str, Any]:
    return {"w": np.full(8, value, np.float32), "value": value}


def looks(path: Path) -> Any:
    """What a file, a link or a folder is like, with all that is in it."""
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        return "link", os.readlink(path)
    if stat.S_ISDIR(found.st_mode):
        return "directory", tuple((name, looks(path / name)) for name in sorted(os.listdir(path)))
    return "file", found.st_ino, path.read_bytes()
