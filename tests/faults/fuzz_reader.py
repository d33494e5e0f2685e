"""R8 with atheris, which draws bytes by what they reach in the reader: a program, as a fuzzer ends its process.

    python -m faults.fuzz_reader RUNS SEED FOLDER

What is drawn is the facts of a snapshot file, or the JSON behind them, whose checksums are then made right, or a whole
file of whatever format. Anything but an error of holdfast's ends it with a status that is not 0, and the bytes lie in
FOLDER.
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
    before, facts, after = _header()
    if drawn[:1] == b"f":
        facts = drawn[1:]
    elif drawn[:1] == b"h":
        after = drawn[1:]
    else:
        return drawn[1:]
    from faults import hostile_files

    return hostile_files.sealed_bytes(before + facts + b'"' + after, hostile_files.DATA)


@cache
def _header() -> tuple[bytes, bytes, bytes]:
    """The header of a good file: up to its facts, the facts themselves, and what comes behind their quote."""
    from faults.hostile_files import HEADER as header
    from format.handmade import UP_TO_A_QUOTE
    from holdfast.format.sums import FACTS_AT, PREFIX

    start = FACTS_AT - PREFIX.size
    found = UP_TO_A_QUOTE.match(header, start)
    assert found is not None
    return header[:start], found[0], header[found.end() + 1 :]


def seeds(seed: int, folder: Path) -> None:
    """What a fuzzer begins with: the rest of a good header, and files of every kind."""
    from faults import hostile_files

    _, facts, after = _header()
    (folder / "facts").write_bytes(b"f" + facts)
    (folder / "header").write_bytes(b"h" + after)
    (folder / "file").write_bytes(b"w" + hostile_files.FILE)
    drawn = hostile_files.files(seed)
    for number in range(SEEDS):
        _, content = next(drawn)
        (folder / str(number)).write_bytes(b"w" + content[:LONGEST])


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
    return Outcome(runs, notes=f"{runs:,} by atheris with the seed {seed}")


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
