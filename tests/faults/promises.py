"""The promises R1 to R17 of docs/reliability.md: what is promised, how it is tried, and how often.

`short` is what the suite runs, `long` what the promise is to stand, `usual` what `make faults` runs: as much of it as
fits into two hours for all of them, on two processors. `make faults FAULTS_ARGS=--full` runs all of `long`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Promise:
    """One promise, and its campaign."""

    id: str
    words: str  # what is promised
    how: str  # how it is tried
    module: str  # of tests/faults, with its `campaign`
    short: int
    long: int
    usual: int
    seconds: float  # that the usual count takes on two processors, about
    unit: str = "cases"  # what is counted
    whole: bool = False  # every case that there is, whatever the count
    tested_in: str = ""  # where that is another file than test_<module>.py

    @property
    def test(self) -> str:
        """The file that runs the short count."""
        return f"tests/faults/{self.tested_in or f'test_{self.module}.py'}"


PROMISES = (
    Promise(
        "R1",
        "After a snapshot is acknowledged it survives kill -9; before that, the older ones do.",
        "SIGKILL at every call of every thread, in the process and under strace: of a first save, of one with "
        "retention, of each writer, of a replacement of the same name, of a run with a trainer. The next process "
        "resumes.",
        "r01_kills", 500, 5_000, 5_000, 250, "kills",
    ),
    Promise(
        "R2",
        "The same for a power cut.",
        "A file system that records every operation, and what may be on the disk after a cut behind each, in a strict "
        "model and in that of a journal. The next process resumes from what is left.",
        "r02_power_cut", 10_000, 1_000_000, 1_000_000, 400, "cuts",
    ),
    Promise(
        "R3",
        "That holds on real file systems.",
        "ext4 (data=ordered, data=writeback, noauto_da_alloc), XFS and btrfs on loop devices, shut down in the middle "
        "of a save, or copied as they lie on the disk.",
        "r03_file_systems", 50, 1_000, 1_000, 100, "cuts",
    ),
    Promise(
        "R4",
        "After an error was reported all older snapshots are good, no temporary file and no descriptor is left, and "
        "the next save works.",
        "Each system call fails with each of EIO, ENOSPC, EDQUOT, EINTR, ENOMEM, EROFS, EACCES, EXDEV, EMFILE, or "
        "writes less than it was given; once, and from then on; in each writer, and under strace at each thread and "
        "writer process.",
        "r04_errors", 500, 10_000, 10_000, 450, "errors",
    ),
    Promise(
        "R5",
        "A sync that failed is not tried again on that file, and never acknowledged.",
        "EIO at every fsync.",
        "r05_syncs", 1, 1, 1, 5, "syncs", whole=True,
    ),
    Promise(
        "R6",
        "Out of memory is a clean error.",
        "One allocation of Python's fails, each in turn, while a state is saved, restored, or resumed from; or the "
        "system gives only so much more. That a size in a file is checked before memory is taken, R8 measures.",
        "r06_memory", 200, 1_000, 1_000, 90, "lacks",
    ),
    Promise(
        "R7",
        "No damage loads silently, and what is damaged is named: the leaf with its byte range, or the header.",
        "Every bit of a file of 16 KiB through restore, every bit of one of 64 KiB through the reader; random flips, "
        "cuts, and blocks that are zeroed, swapped, doubled and shifted in larger ones.",
        "r07_damage", 2_000, 1_000_000, 1_000_000, 300, "damaged files",
    ),
    Promise(
        "R8",
        "A hostile file costs one of holdfast's errors, and little else: memory of at most the file, 24 times its "
        "header and 16 MiB.",
        "Files that lie in their structure, with checksums made right again: double keys, depth, huge numbers, lengths "
        "of 2^63, overlaps, files of two formats; and a fifth more that atheris draws, where it is installed.",
        "r08_hostile", 50_000, 10_000_000, 1_000_000, 500, "files", tested_in="test_r08_r09_hostile.py",
    ),
    Promise(
        "R9",
        "Loading runs no code.",
        "An audit hook that forbids unpickling a class, exec, compile, programs and sockets, while the files of R8 and "
        "npz files with pickles, are loaded.",
        "r09_no_code", 50_000, 10_000_000, 1_000_000, 500, "files", tested_in="test_r08_r09_hostile.py",
    ),
    Promise(
        "R10",
        "Names never lead out of the store.",
        "Names with `..`, roots, NUL, symbolic links in their way, and letters that a file system folds; strace sees "
        "every path that is touched.",
        "r10_names", 10_000, 10_000, 10_000, 30, "names",
    ),
    Promise(
        "R11",
        "Retention leaves at least as many good snapshots as the policy keeps, at every moment, and touches nothing of "
        "others.",
        "Random histories: save, damage, crash, prune, pin, resume, clocks that jump, files of others, another "
        "template.",
        "r11_retention", 300, 100_000, 20_000, 580, "histories",
    ),
    Promise(
        "R12",
        "Resume never fails for damage while a good snapshot exists, says what it passed over and why, and writes "
        "nothing where it must not.",
        "What is left behind every power cut of R2, a read-only mount, a thousand snapshots listed in 0.2 s.",
        "r12_resume", 1_000, 20_000, 20_000, 100, "resumes", whole=True,
    ),
    Promise(
        "R13",
        "Two writers never mix.",
        "2 to 8 processes open one store, and get SIGKILL and SIGSTOP at random moments.",
        "r13_two_writers", 20, 10_000, 2_500, 450, "rounds",
    ),
    Promise(
        "R14",
        "What is written in the background is the state at the call, and every failure is raised.",
        "The errors of R4 in each background writer, and SIGKILL; exit, sys.exit, an exception and a fork while a "
        "snapshot is under way.",
        "r14_background", 200, 5_000, 5_000, 400, "errors",
    ),
    Promise(
        "R15",
        "A long run stays whole.",
        "kill -9 again and again, while the disk fills up and is emptied, and the clock jumps.",
        "r15_long_run", 20, 1_800, 1_800, 1_800, "seconds",
    ),
    Promise(
        "R16",
        "The tests are sharp.",
        "Seeded faults: each sync, rename, checksum, lock and order taken away in turn; a named test must fail.",
        "r16_mutants", 5, 20, 20, 120, "faults", whole=True,
    ),
    Promise(
        "R17",
        "Old files load for ever.",
        "Golden files of each version of the format, whole and damaged.",
        "r17_golden", 1, 1, 1, 5, "files", whole=True,
    ),
)  # fmt: skip
