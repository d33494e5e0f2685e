"""The same of a real process, and of its writer process, as the kernel sees it: what paths strace tells."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from faults.campaigns import TESTS, Outcome
from faults.r10_plants import fill
from faults.r10_watch import Watch
from faults.strace import check_available

PROGRAM = """
import logging, os, sys
from pathlib import Path
from faults import r10_plants
from holdfast.store import SnapshotStore
from holdfast.writers import ProcessWriter

store = Path(sys.argv[1])
logging.disable(logging.CRITICAL)
os.path.lexists("/begin")
for _, act in r10_plants.acts(store):
    try:
        act()
    except r10_plants.DOCUMENTED:
        pass
with SnapshotStore(store, filename="{step}_by_another", writer=ProcessWriter()) as opened:
    opened.save(1, r10_plants.state(1)).result()
for name in ("../outside/x", "/tmp/x", "link/x", "a/../../outside/x"):
    for template in (name + "{step}", "{step}" + name):
        try:
            SnapshotStore(store, filename=template).save(1, r10_plants.state(1)).result()
        except r10_plants.DOCUMENTED:
            pass
os.path.lexists("/end")
"""
PLANTED: Mapping[str, str] = {  # a link, and what of the folder outside it leads to
    "snapshot_3": "snapshot_3",
    "snapshot_77": "text",
    "link": "",
    "model": "",
    ".snapshot_1.holdfast-pin": "text",
    ".0123456789abcdef.holdfast-tmp": "text",
    ".0123456789abcdef.holdfast-tmp.d": "",
    "1_by_another": "missing",
}
CHANGES = re.compile(r"mkdir|unlink|rename|rmdir|link|truncate|chmod|chown|utime|mknod|creat|setxattr|removexattr")
_CALL = re.compile(r"(?:\d+ +)?(\w+)\((.*)\) += (-?\d+)(?:<(.*?)>)?")
_ZIP = re.compile(r"/lib/python3\d+\.zip$")  # which Python looks for when it starts
_TEXT = re.compile(r'(?:(AT_FDCWD|\d+)<((?:[^>\\]|\\.)*)>, )?"((?:[^"\\]|\\.)*)"')


def under_strace(folder: Path, plants: Mapping[str, str] = PLANTED) -> Outcome:
    """Everything that can be asked of a store, with links in it, in a process of its own.

    Raises:
        Unavailable: there is no strace, or it may not trace here.
    """
    check_available()
    store, outside = fill(folder)
    shutil.rmtree(store / "model")
    for name, what in plants.items():
        (store / name).symlink_to(outside / what if what else outside)
    told = folder / "told"
    command = ["strace", "-f", "-y", "-qq", "-s", "4096", "-o", str(told), "-e", "trace=%file"]
    path = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(TESTS)])
    subprocess.run(
        [*command, sys.executable, "-c", PROGRAM, str(store)],
        check=True,
        cwd="/",
        env={**os.environ, "PYTHONPATH": path},
    )
    watch = Watch(str(store), str(folder))
    lines = told.read_text(errors="replace").splitlines()
    begin, end = (next(at for at, line in enumerate(lines) if f'"/{what}"' in line) for what in ("begin", "end"))
    looked_at = [look_at(line, watch) for line in lines[begin + 1 : end]]
    bad = list(dict.fromkeys(watch.bad))
    return Outcome(tried=sum(looked_at), bad=tuple(bad), bad_count=len(bad), notes=f"{sum(looked_at)} calls by strace")


def look_at(line: str, watch: Watch) -> bool:
    """One line; whether it has a path in it."""
    call = _CALL.match(line)
    if call is None:  # a call that another thread's cut in two; the second half has no path
        call = re.match(r"(?:\d+ +)?(\w+)\((.*)()()$", line)
    if call is None:
        return False
    name, arguments, _, opened = call.groups()
    changes = bool(CHANGES.search(name)) and not name.startswith("readlink")
    follows = not ("NOFOLLOW" in arguments or CHANGES.search(name) or name == "lstat")
    changes = changes or (name.startswith("open") and bool(re.search(r"O_(WRONLY|RDWR|CREAT|TRUNC)", arguments)))
    found = False
    for _, folder, text in _TEXT.findall(arguments)[: 1 if name.startswith("readlink") else None]:
        path = os.path.join(folder, text.encode("latin-1", "replace").decode("unicode_escape"))
        if name in ("execve", "getcwd") or not text or _ZIP.search(path):
            continue
        found = True
        watch.see(name, path, changes=changes, follows=follows)
    if opened and opened.startswith("/") and not watch.allows(opened.removesuffix(" (deleted)"), changes):
        watch.bad.append(f"{name} opened {opened!r}")
    return found
