"""R3: what is acknowledged survives a power cut on real file systems: ext4 in three modes, XFS, and btrfs.

A process saves again and again, in one of many ways, and tells which states are acknowledged. At a random moment, or
before a random system call of its own, the power of its file system is cut and it is killed; or its disk is gone from
such a call on, and it goes on until it has an error. The next process must resume from the newest acknowledged state or
a newer one, find every file whole, and save again. One file system stands many cuts. Then small disks fill up:
r03_small_disks.py.
"""

from __future__ import annotations

import itertools
import logging
import os
import random
import signal
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from faults import realfs
from faults.campaigns import Outcome, in_processes, merge
from faults.forks import Fork, Hang, Tell, adopt_orphans, answer_of, import_what_is_used
from faults.injection import NAMES
from faults.r02_programs import LARGE
from faults.r02_uses import SIZE, Extension, OneFile, Store, Use, npz, retained, savefun, whole_trainer
from faults.r03_small_disks import full_disks
from holdfast import keep
from holdfast.errors import HoldfastError
from holdfast.storage import syscalls
from holdfast.storage.base import TEMPORARY_SUFFIX

FAILURES = 20
STEP = 7  # of those that all have one
CALLS = 90  # of a process, before one of which the power is cut, at most

_last_two = partial(Store, keep=keep.last(2))

USES: dict[str, Callable[..., Use]] = {
    "SimpleWriter": _last_two,
    "ThreadWriter": partial(_last_two, writer="ThreadWriter"),
    "ThreadQueueWriter": partial(_last_two, writer="ThreadQueueWriter"),
    "ProcessWriter": partial(_last_two, writer="ProcessWriter"),
    "ProcessQueueWriter": partial(_last_two, writer="ProcessQueueWriter"),
    "one step": Store,
    "one file": OneFile,
    "extension": partial(Extension, files=retained),
    "trainer": partial(Extension, files=whole_trainer),
    "npz": partial(Extension, files=npz),
    "savefun": partial(Extension, files=savefun),
}


def campaign(count: int, *, seed: int = 0, folder: Path) -> Outcome:
    """At least `count` cuts, as many on each file system; and the full disks."""
    realfs.check_possible()
    share = -(-count // len(realfs.KINDS))
    groups = [tuple(realfs.KINDS)[part::2] for part in (0, 1)] if count <= 100 else [(name,) for name in realfs.KINDS]
    jobs = [(group, share, seed, str(folder / f"group_{number}")) for number, group in enumerate(groups)]
    *outcomes, full = in_processes(_carry_out, [*jobs, ((), 0, seed, str(folder / "small"))])
    return merge([*outcomes, Outcome(0, full.bad, full.bad_count, f"{full.tried} full disks")])


def _carry_out(kinds: tuple[str, ...], count: int, seed: int, folder: str) -> Outcome:
    return cuts(kinds, count, seed, folder) if kinds else full_disks(seed, folder)


def cuts(
    kinds: tuple[str, ...],
    count: int,
    seed: int,
    folder: str,
    uses: tuple[str, ...] = tuple(USES),
    failures: int = FAILURES,
) -> Outcome:
    """So many cuts on each of some file systems, fewer where many are bad; in a process of its own, which forks."""
    logging.disable(logging.CRITICAL)
    adopt_orphans()
    import_what_is_used(partial(_use_all, folder, uses))
    room = realfs.private_mounts(Path(folder))
    bad: list[str] = []
    tried = 0
    for kind in kinds:
        chance = random.Random(f"{seed} {kind}")
        disk = realfs.Disk(realfs.KINDS[kind], room, kind.replace(" ", "_"))
        histories = [History(disk, name, size) for name in uses for size in (SIZE, LARGE)]
        chance.shuffle(histories)
        for number in range(count):
            history = histories[number % len(histories)]
            what = history.cut(chance)
            tried += 1
            if what:
                bad.append(f"{kind}, seed {seed}, cut {number}, {history.name}: {what}")
                if len(bad) >= failures:
                    break
        disk.close()
    return Outcome(tried=tried, bad=tuple(bad))


def _use_all(folder: str, names: tuple[str, ...]) -> None:
    for name in names:
        use = USES[name](os.path.join(folder, f"warm {name}"), SIZE)
        use.save(1, lambda: None)
        use.resume()
        use.whole()
        use.close()


class History:
    """What one way of saving does in a folder of its own, over many cuts.

    Args:
        use: one of USES.
        size: numbers in a state.
    """

    def __init__(self, disk: realfs.Disk, use: str, size: int) -> None:
        self.name = f"{use} {size}"
        self._disk = disk
        self._location = str(disk.place / self.name.replace(" ", "_"))
        self._use = partial(USES[use], self._location, size)
        self._step = STEP if use == "one step" else None
        self._newest = 0  # acknowledged
        self._next = 1  # tag

    def cut(self, chance: random.Random) -> str:
        """Save until the power is cut, and look at what is left; returns what is wrong with it."""
        when = chance.choice(("some time", "call", "gone") if self._disk.cuts_at_once else ("some time", "call"))
        at_call, saved, pause_s = chance.randint(1, CALLS), chance.randint(0, 3), chance.uniform(0, 0.006)
        process = Fork(partial(self._save, when, at_call))
        complaint = ""
        try:
            self._wait(process, when, saved, pause_s)
        except Hang as error:
            complaint = str(error)
        if when != "gone" or complaint:
            if not self._disk.cuts_at_once:
                process.stop()
            self._disk.cut()
        for what, *more in process.kill():
            if what == "saved":
                self._newest, self._next = more[0], more[0] + 1
            elif what == "failed":
                complaint = complaint or f"untyped: {more}"
        self._disk.restart()
        if not complaint:
            try:
                complaint = answer_of(self._look)
            except RuntimeError as error:
                complaint = str(error)
        self._next += 11
        self._newest = 0 if complaint else self._next - 1  # which _look() has saved
        return complaint

    def _wait(self, process: Fork, when: str, saved: int, pause_s: float) -> None:
        """For the moment of the cut."""
        if when == "call":
            if not process.wait_stopped():
                raise Hang(f"it ended before that call: {process.lines()}")
            return
        while saved or when == "gone":
            line = process.line()
            if line is not None and line[0] == "saved":
                self._newest, self._next = line[1], line[1] + 1
                saved -= 1
            elif line is not None and line[0] == "error" and when == "gone":
                return
            else:
                raise Hang(f"it failed: {line}")
        process.is_silent(pause_s)  # or until it has saved one more

    def _save(self, when: str, at_call: int, tell: Tell) -> None:
        """The process: save one state after the other, for ever."""
        try:
            use = self._use()
            if when != "some time":
                before_call(at_call, self._disk.cut if when == "gone" else _stop_oneself)
            for tag in itertools.count(self._next):
                use.save(tag, partial(tell, "saved", tag), self._step)
        except (HoldfastError, OSError) as error:  # the file system is gone
            tell("error", type(error).__name__, str(error))
            signal.pause()

    def _look(self) -> str:
        """The next process."""
        use = self._use()
        tag = use.resume()
        if (tag or 0) < self._newest:
            return f"resumed from {tag}, though {self._newest} was acknowledged"
        whole = use.whole()  # raises where one is not
        if tag != max(whole, default=None):
            return f"resumed from {tag}, and whole are {whole}"
        left = [name for name in os.listdir(self._location) if TEMPORARY_SUFFIX in name] if use.sweeps else []
        if left:
            return f"temporary files were not swept: {left}"
        use.save(self._next + 10, lambda: None, self._step)
        use.close()
        again = self._use()
        tag = again.resume()
        again.close()
        return "" if tag == self._next + 10 else f"the next save was done, and then {tag} was resumed from"


def before_call(ordinal: int, act: Callable[[], object], names: Sequence[str] = NAMES) -> None:
    """Have something done before a system call of holdfast's in this process: the so-many-th from now on.

    Args:
        names: which calls are counted.
    """
    count = 0

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal count
            count += 1
            if count == ordinal:
                act()
            return real(*arguments, **named)

        return call

    for name in names:
        setattr(syscalls, name, counted(getattr(syscalls, name)))


def _stop_oneself() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def syncs_of_a_dead_disk(kind: str, folder: str) -> list[str]:
    """What is acknowledged although the disk was gone before a sync; each sync of a save in turn."""
    adopt_orphans()
    disk = realfs.Disk(realfs.KINDS[kind], realfs.private_mounts(Path(folder)), "disk")
    wrong = []
    for ordinal in itertools.count(1):
        told = Fork(partial(_save_while_the_disk_goes, disk, ordinal)).end()
        disk.restart()
        if ["all synced"] in told:
            break
        if ["saved", 2] in told:
            wrong.append(f"the disk was gone before sync {ordinal} of a save: {told}")
    disk.close()
    return [*wrong, *([] if ordinal > 2 else ["there were no syncs"])]


def _save_while_the_disk_goes(disk: realfs.Disk, ordinal: int, tell: Tell) -> None:
    use = _last_two(str(disk.place / f"run_{ordinal}"), SIZE)
    use.save(1, partial(tell, "saved", 1))
    gone = []
    before_call(ordinal, lambda: gone.append(disk.cut()), ["fsync"])
    try:
        use.save(2, partial(tell, "saved", 2))
    except HoldfastError as error:
        tell("error", str(error))
    if not gone:
        disk.cut()
        tell("all synced")
