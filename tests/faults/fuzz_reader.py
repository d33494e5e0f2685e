"""R8 with atheris, which draws bytes by what they reach in the reader: a program, as a fuzzer ends its process.

    python -m faults.fuzz_reader RUNS SEED FOLDER

What is drawn is the JSON behind the facts of a snapshot file, whose checksums are then made right, or a whole file of
whatever format. Anything but an error of holdfast's ends it with a status that is not 0, and the bytes lie in FOLDER.
"""

from __future__ import annotations

import importlib.util
import os
import random
import subprocess
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

from faults.campaigns import TESTS, Outcome

SEEDS = 200  # files to begin with
LONGEST = 20_000  # bytes that are drawn; more is only slower
LIMIT_S = 3_600.0


def is_available() -> bool:
    """Whether there is atheris."""
    return importlib.util.find_spec("atheris") is not None


def content_of(drawn: bytes) -> bytes:
    """The file that stands for what was drawn: its first byte says which way."""
    if drawn[:1] != b"h":
        return drawn[1:]
    from faults import hostile_files

    return hostile_files.sealed_bytes(_facts() + drawn[1:], hostile_files.DATA)


@cache
def _facts() -> bytes:
    """What the header of a good file begins with, up to the end of its facts."""
    from faults import hostile_files

    key = b'"holdfast":"'
    header = hostile_files.HEADER
    return header[: header.index(b'"', header.index(key) + len(key)) + 1]


def seeds(seed: int, folder: Path) -> None:
    """What a fuzzer begins with: the rest of a good header, and files of every kind."""
    from faults import hostile_files

    (folder / "header").write_bytes(b"h" + hostile_files.HEADER[len(_facts()) :])
    (folder / "file").write_bytes(b"f" + hostile_files.FILE)
    drawn = hostile_files.files(seed)
    for number in range(SEEDS):
        _, content = next(drawn)
        (folder / str(number)).write_bytes(b"f" + content[:LONGEST])


def fuzz(runs: int, seed: int, folder: Path) -> Outcome:
    """So many files, drawn by atheris in a process of its own."""
    corpus = folder / f"corpus-{seed}"
    corpus.mkdir()
    seeds(seed, corpus)
    command = [sys.executable, "-m", "faults.fuzz_reader", str(runs), str(seed), os.fspath(corpus)]
    inherited = [one for one in [os.environ.get("PYTHONPATH")] if one]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*inherited, str(TESTS)])}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    if ended.returncode != 0:
        return Outcome(runs, (f"atheris, seed {seed}: {(ended.stdout + ended.stderr)[-3000:]}",))
    return Outcome(runs, notes=f"{runs:,} of them drawn by atheris")


def main(runs: int, seed: int, corpus: str) -> None:
    """In the process of its own."""
    import atheris

    with atheris.instrument_imports(include=["holdfast.format", "holdfast.state.decoding"]):
        from faults.r08_hostile import read  # nothing of holdfast's may have been imported before
        from holdfast import HoldfastError

    def one(drawn: bytes) -> None:
        with suppress(HoldfastError):
            read(content_of(drawn))

    libfuzzer = [f"-runs={runs}", f"-seed={seed + 1}", f"-max_len={LONGEST}", "-rss_limit_mb=2048", "-timeout=60"]
    arguments = [sys.argv[0], *libfuzzer, "-verbosity=0", f"-artifact_prefix={corpus}/bad-", corpus]
    random.seed(seed)
    atheris.Setup(arguments, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
