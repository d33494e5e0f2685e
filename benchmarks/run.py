"""The benchmark: python benchmarks/run.py [options]; `make bench` makes its environment first.

Starts one process after another (cell.py), gathers their samples, and writes a table to standard output, and table,
samples and a picture to benchmarks/results/.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import contestants
import goals
import machine
import report
from contestants import COPYING, LIGHTNING, ORBAX, OURS, PEERS, SHIPPED, SYNCHRONOUS, TORCHSNAPSHOT, TUNED, WRITERS
from goals import MIB, NOTHING, Samples

HERE = Path(__file__).resolve().parent
PARTS = ("a", "b", "c", "first", "memory", "loop", "bytes", "leaves", "moment")
ALONE = (ORBAX, "PPE ProcessQueue")  # the one has arrays of its own; the other moves the state into shared memory
MANY = (OURS, *SYNCHRONOUS[:3], SHIPPED, TUNED, TORCHSNAPSHOT, LIGHTNING)  # a goal looks at these
READERS = (OURS, *SYNCHRONOUS[:3], SHIPPED, TORCHSNAPSHOT, ORBAX)  # others write what one of these reads
IN_LOOP = (OURS, *COPYING)  # those that write beneath it, and write one moment


@dataclass
class Cell:
    """One process: what it measures, and how long it may take."""

    kind: str
    args: dict[str, Any]
    limit_s: float = 900
    names: list[str] = field(default_factory=list)  # who takes part: a cell is run again without one that it dies of


def main(argv: Sequence[str] | None = None) -> int:
    """Run what was asked for; returns 0 whatever the figures are."""
    options = parse(argv)
    options.directory.mkdir(parents=True, exist_ok=True)
    options.results.mkdir(parents=True, exist_ok=True)
    samples: Samples = []
    began, seed = time.monotonic(), options.seed if options.seed is not None else random.randrange(1 << 30)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started ends with this
    try:
        for cell in plan(options, random.Random(seed)):
            cell_began = time.monotonic()
            samples += carry_out(cell, options.directory)
            words = f"{cell.kind} {cell.args.get('state', '')} {', '.join(cell.names)}"
            print(f"{time.monotonic() - cell_began:6.0f} s  {words[:110]}", file=sys.stderr, flush=True)
    finally:
        asked = " ".join(sys.argv[1:] if argv is None else argv) or "none"
        took = f"took {(time.monotonic() - began) / 60:.0f} minutes; options: {asked}; seed {seed}"
        write(samples, machine.describe(options.directory), took, options.results)
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[2] if __doc__ else None)
    parser.add_argument("--only", type=_words(PARTS), default=list(PARTS), help=f"of {','.join(PARTS)}")
    parser.add_argument("--contestants", type=_words(contestants.ALL), default=list(contestants.ALL), metavar="A,B,...",
                        help="; ".join(contestants.ALL))  # fmt: skip
    parser.add_argument("--rounds", type=int, default=7, help="of those that a goal looks at; others have 3 (7)")
    parser.add_argument("--restores", type=int, default=7, help="likewise (7); 0: none")
    parser.add_argument("--steps", type=int, default=60, help="of the training loop (60)")
    parser.add_argument("--repetitions", type=int, default=3, help="of the training loop (3)")
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir()) / "holdfast-bench",
                        help="where snapshots are written; 25 GB free")  # fmt: skip
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where the report goes")
    parser.add_argument("--seed", type=int, help="of the order; a random one, which the report names")
    return parser.parse_args(argv)


def _words(known: Sequence[str]) -> Any:
    def read(text: str) -> list[str]:
        found = [word.strip() for word in text.split(",") if word.strip()]
        for word in found:
            if word not in known:
                raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join(known)}")
        return found

    return read


def plan(options: argparse.Namespace, chance: random.Random) -> Iterator[Cell]:
    """The cells of a run, in order."""
    there = options.contestants
    for state in ("a", "b", "c"):
        if state in options.only:
            yield from _saving_cells(state, there, options, chance)
    if "moment" in options.only:
        yield from (_cell("moment", names, chance) for names in _apart(there))
    if "first" in options.only:
        yield _cell("first", [OURS], chance, state="a", rounds=options.rounds, unwarmed=3, warm_up_s=2.0)
    if "bytes" in options.only:
        sizes = [NOTHING, *(size * MIB for size in (16, 64, 256, 1024, 4096))]
        yield _cell("bytes", [OURS], chance, sizes=sizes, rounds=options.rounds)
    if "leaves" in options.only:
        yield _cell("leaves", [OURS], chance, counts=[100, 1_000, 10_000, 100_000], rounds=options.rounds)
    if "memory" in options.only:
        for name in there:
            yield _cell("memory", [name], chance, state="a", name=name, counts=[1], restore=name == OURS)
        for name in (OURS, "holdfast Process"):
            if name in there:
                state = f"bytes:{128 * MIB}"
                yield _cell("memory", [name], chance, state=state, name=name, counts=[1, 100], restore=False)
    if "loop" in options.only:
        names = [name for name in IN_LOOP if name in there]
        yield _cell("loop", names, chance, limit_s=3600, steps=options.steps, every=20, tokens=128,
                    repetitions=options.repetitions)  # fmt: skip


def _saving_cells(state: str, there: list[str], options: argparse.Namespace, chance: random.Random) -> Iterator[Cell]:
    many = (*MANY, *WRITERS) if state == "a" else (OURS, "torch.save")
    for names in _apart(there):
        rounds = {name: options.rounds if name in many else min(3, options.rounds) for name in names}
        restores = {}
        for name in names:
            most = options.restores if name == OURS or (state == "b" and name == "torch.save") else 2
            restores[name] = min(most, options.restores) if name in READERS else 0
        limit_s = 1800 if len(names) > 1 else 300  # one that waits for ever must not take the run's time
        yield _cell("save", names, chance, limit_s=limit_s, state=state, rounds=rounds, restores=restores,
                    allowance_s=20.0, whole=list(many))  # fmt: skip


def _apart(there: Iterable[str]) -> list[list[str]]:
    """Who shares a process: the default writer and the peers, so that their ratios are of the same minutes; the other
    writers, since each keeps memory of the size of the state; and each that would disturb others."""
    there = list(there)
    side = [name for name in there if name == OURS or (name in PEERS and name not in ALONE)]
    rest = [name for name in there if name in WRITERS and name != OURS]
    return [names for names in (side, rest, *([name] for name in there if name in ALONE)) if names]


def _cell(kind: str, names: list[str], chance: random.Random, *, limit_s: float = 900, **args: Any) -> Cell:
    return Cell(kind, {"seed": chance.randrange(1 << 30), "names": names, **args}, limit_s, names)


def carry_out(cell: Cell, directory: Path) -> Samples:
    """Run a cell; where it dies or hangs, once more without the contestant that was at work."""
    found: Samples = []
    while cell.names:
        samples, why = run_once(cell, directory)
        found += samples
        if not why:
            break
        begun = [one["contestant"] for one in samples if one["what"] == "begin"]
        culprit = begun[-1] if begun and begun[-1] in cell.names else cell.names[0]
        found.append(
            {"what": "absent", "contestant": culprit, "why": f"{cell.kind} {cell.args.get('state', '')}: {why}"}
        )
        done = {one["contestant"] for one in samples if one["what"] in ("save", "loop")}
        cell.names = [] if kept_enough(samples) else [name for name in cell.names if name != culprit]
        cell.args["names"] = cell.names
        print(f"{culprit}: {why}; measured until then: {', '.join(sorted(done))}", file=sys.stderr, flush=True)
        if cell.names:
            found = [one for one in found if one["what"] == "absent"]
    return found


def kept_enough(samples: Samples) -> bool:
    """Whether what a broken cell has measured is worth more than a second try."""
    return any(one.get("round", 0) >= 3 or one.get("slice", 0) >= 3 for one in samples)


def run_once(cell: Cell, directory: Path) -> tuple[Samples, str]:
    """The samples of one process, and why it did not come to its end, or ""."""
    folder = Path(tempfile.mkdtemp(dir=directory))
    file, args = folder / "samples.jsonl", {**cell.args, "folder": str(folder)}
    command = [sys.executable, str(HERE / "cell.py"), cell.kind, json.dumps(args), str(file)]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "TOKENIZERS_PARALLELISM": "false"}
    with open(folder / "log", "w+", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
        try:
            process.wait(cell.limit_s)
            why = "" if process.returncode == 0 else f"the process ended with {process.returncode}"
        except subprocess.TimeoutExpired:
            why = f"not done after {cell.limit_s:.0f} s"
        finally:
            for_all(process.pid, signal.SIGKILL)
            process.wait()
        if why:
            log.seek(0)
            last = [line for line in log.read().splitlines() if line.strip()][-1:]
            why += f": {last[0][:200]}" if last else ""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    shutil.rmtree(folder)
    return [json.loads(line) for line in lines], why


def for_all(group: int, number: signal.Signals) -> None:
    """Signal what is left of the group of a process."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def write(samples: Samples, facts: dict[str, str], took: str, results: Path) -> None:
    """Table, samples and picture, under the time and as `latest`."""
    import plot

    text = report.markdown(goals.rows(samples), samples, facts, [took])
    print(text)
    for name in (time.strftime("%Y%m%d-%H%M%S"), "latest"):
        (results / f"{name}.md").write_text(text, encoding="utf-8")
        found = json.dumps({"machine": facts, "run": took, "samples": samples}, indent=0)
        (results / f"{name}.json").write_text(found, encoding="utf-8")
        plot.draw(samples, results / f"{name}.png")


if __name__ == "__main__":
    raise SystemExit(main())
