"""Peak memory above the state: of this process and of those that it starts, in a process of its own.

Counted is the peak of this process' resident memory, memfd and other shared memory that it maps included, above what it
had with the state and all libraries in it; and what helper processes have for themselves, by a sample every 10 ms.
"""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import contestants
import yardsticks
from contestants import Absent
from saving import remove
from states import make

Emit = Callable[[dict[str, Any]], None]


def run(args: dict[str, Any], emit: Emit) -> None:
    """Args: state; name; folder; counts: after how many snapshots the peak is reported; restore: also of a cold one."""
    state, folder, name = make(args["state"]), Path(args["folder"]), args["name"]
    try:
        contestant = contestants.make(name, folder)
    except Absent as error:
        emit({"what": "absent", "contestant": name, "why": str(error)})
        return
    emit({"what": "begin", "contestant": name, "state": state.name})
    if hasattr(contestant, "ready"):
        contestant.ready(state)  # its arrays are its state
    sample = {"state": state.name, "contestant": name, "size_bytes": state.size_bytes}
    path: Path | None = None
    gc.collect()
    watch = Watch()
    for number in range(1, max(args["counts"]) + 1):
        older, path = path, contestants.path_for(contestant, folder, number)
        contestant.save(state, path)()
        if older is not None:
            remove(older)
        if number in args["counts"]:
            emit({"what": "memory", **sample, "after": number, "peak_bytes": watch.peak_bytes()})
    watch.stop()
    if args["restore"] and path is not None:
        contestant.close()
        del contestant
        gc.collect()
        yardsticks.drop(path)
        reader = contestants.make(name, folder / "reader")
        watch = Watch()
        reader.restore(state, path)
        emit({"what": "memory of restore", **sample, "peak_bytes": watch.peak_bytes()})
        watch.stop()
    if path is not None:
        remove(path)


class Watch:
    """The peak since it was made."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        self._before = status("self", "VmRSS")
        self._most = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def peak_bytes(self) -> int:
        """Above what was there; helpers and this process may have had theirs at different times: the more of both."""
        own = status("self", "VmHWM") - self._before
        return max(own, self._most)

    def stop(self) -> None:
        """Sample no more."""
        self._end.set()
        self._thread.join()

    def _sample(self) -> None:
        known: set[int] = set()  # a child that has not yet called exec may share this process' memory
        while not self._end.wait(0.01):
            there = descendants(os.getpid())
            helpers = sum(private_bytes(pid) for pid in there if pid in known and not same_memory(pid))
            self._most = max(self._most, helpers + status("self", "VmRSS") - self._before)
            known = set(there)


def status(pid: int | str, field: str) -> int:
    """A field of /proc/PID/status in bytes; 0 where the process is gone."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def same_memory(pid: int) -> bool:
    """Whether a child looks as if it still had its parent's memory, as between vfork and exec."""
    return all(status(pid, field) == status("self", field) for field in ("VmSize", "RssAnon", "RssShmem"))


def private_bytes(pid: int) -> int:
    """Memory that only this process has."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("Private_Clean", "Private_Dirty")))


def descendants(pid: int) -> list[int]:
    """Children, and theirs; those in a session of their own included, as long as their parents live."""
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *descendants(int(child))]
    except OSError:
        pass
    return found
