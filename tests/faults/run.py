"""`make faults`: the campaigns of all promises, each in processes of its own, one after the other; beside them the one
whose count is in seconds.

    make faults
    make faults FAULTS_ARGS="--only R2,R7 --scale 0.1"

Prints a table, writes all that was found to a JSON file, and puts the counts into docs/reliability.md. Ends with 1
where a promise did not stand, or this machine cannot try it.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from faults import results
from faults.campaigns import TESTS, Call, Outcome, Unavailable, campaign_of
from faults.promises import PROMISES, Promise
from faults.results import Row

HOURS = 2.0  # that all usual counts together take at most, on two processors
PEERS_PYTHON = results.ROOT / ".venv-bench" / "bin" / "python"

_PATIENCE_S, _PATIENCE = 900.0, 4.0  # a campaign that takes this, and so many times as long as it should, hangs


def main(argv: Sequence[str] | None = None) -> int:
    """Run what was asked for; returns 0 where all of it stood."""
    options = parse(argv)
    if options.peers:
        return _peers(options)
    options.directory.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started ends with this
    rows: list[Row] = []
    known: dict[str, Outcome] = {}
    timed = [promise for promise in options.only if promise.unit == "seconds"]
    try:
        # In this order: where this ends early what runs beside is killed, and only then its thread is waited for.
        with _progress() as progress, ThreadPoolExecutor() as threads, ExitStack() as stack:
            beside = {}
            for promise in timed:
                progress.add_task(_what(promise, count_for(promise, options)))
                beside[promise.id] = threads.submit(
                    stack.enter_context(_begun(promise, count_for(promise, options), options)), known
                )
            task = progress.add_task("")
            for promise in [one for one in options.only if one not in timed] + timed:
                count = count_for(promise, options)
                progress.update(task, description=_what(promise, count))
                found = beside.get(promise.id)
                row = carry_out(promise, count, options, known) if found is None else found.result()
                rows.append(row)
                said = f"{row.seconds:6.0f} s  {row.id}: {row.verdict} bad of {row.tried:,} {promise.unit}  {row.notes}"
                for line in (said, *(f"{row.id}: {sentence}" for sentence in row.sentences)):
                    progress.console.print(line, highlight=False, markup=False, soft_wrap=True)
    finally:
        if rows:
            order = [promise.id for promise in options.only]
            write(sorted(rows, key=lambda row: order.index(row.id)), options)
    return 0 if all(stood(row, options) for row in rows) else 1


def _what(promise: Promise, count: int) -> str:
    return f"{promise.id} {promise.module}: {count:,} {promise.unit}"


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    scratch = Path(tempfile.gettempdir()) / "holdfast-faults"
    parser = argparse.ArgumentParser(prog="make faults FAULTS_ARGS=...", description="Try what holdfast promises.")
    add = parser.add_argument
    add("--only", type=_promises, default=list(PROMISES), metavar="R2,R7,...", help="these promises")
    add("--short", action="store_true", help="the counts of the suite")
    add("--full", action="store_true", help="all that each promise is to stand, however long it takes")
    add("--hours", type=_positive, default=HOURS, help="counts that are cut to fit into 2 hours grow with this (2)")
    add("--scale", type=_positive, default=1.0, help="a factor for every count (1)")
    add("--seed", type=int, help="a random one, which the report names")
    add("--directory", type=Path, default=scratch, help=f"for scratch files, on a real disk ({scratch})")
    add("--results", type=Path, help="the JSON file (faults.json in that directory)")
    add("--allow-unavailable", action="store_true", help="what cannot be tried here is no failure")
    add("--peers", action="store_true", help="other libraries in the place of holdfast: make faults-peers")
    options = parser.parse_args(argv)
    if options.short and options.full:
        parser.error("--short and --full exclude each other")
    if options.seed is None:
        options.seed = random.randrange(1 << 30)
    options.results = options.results or options.directory / "faults.json"
    return options


def _promises(text: str) -> list[Promise]:
    known = {promise.id: promise for promise in PROMISES}
    words = [word.strip().upper() for word in text.split(",") if word.strip()]
    if unknown := [word for word in words if word not in known]:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: the promises are {', '.join(known)}")
    return [known[word] for word in words]


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number


def count_for(promise: Promise, options: argparse.Namespace) -> int:
    """How many cases to ask a campaign for."""
    if options.short:
        count: float = promise.short
    elif options.full:
        count = promise.long
    else:
        count = min(promise.long, promise.usual * max(1.0, options.hours / HOURS))
    return max(1, round(count * options.scale))


def carry_out(promise: Promise, count: int, options: argparse.Namespace, known: dict[str, Outcome]) -> Row:
    """Run one campaign.

    Args:
        known: what earlier ones have said of other promises, by their ids; this one's word is added. Where enough was
            tried for a promise, it is not tried again.
    """
    if promise.id in known and known[promise.id].tried >= count:
        return _row(promise, count, known[promise.id])
    with _begun(promise, count, options) as ended:
        return ended(known)


@contextmanager
def _begun(promise: Promise, count: int, options: argparse.Namespace) -> Iterator[Callable[[dict[str, Outcome]], Row]]:
    """One campaign, which has begun, and is killed in the end with all that it has started.

    Yields:
        A function that waits for its end, at most as long as it may take; for `known` see carry_out().
    """
    folder = Path(tempfile.mkdtemp(prefix=f"{promise.id}_", dir=options.directory))
    limit_s = _PATIENCE_S + _PATIENCE * promise.seconds * count / promise.usual
    began = time.monotonic()
    call = Call(campaign_of, (promise.module, count, options.seed, str(folder)), session=True)

    def ended(known: dict[str, Outcome]) -> Row:
        try:
            outcome = call.result(limit_s)
            row = _row(promise, count, outcome)
            known.update(outcome.others)
        except Unavailable as error:
            row = Row(promise.id, "unavailable", count, notes=str(error))
        except subprocess.TimeoutExpired:
            row = Row(promise.id, "hung", count, notes=f"did not end within {limit_s:.0f} s")
            call.kill()
            with suppress(RuntimeError):
                call.result()
        except RuntimeError as error:
            row = Row(promise.id, "failed", count, notes=str(error).partition("\n")[0], sentences=(str(error),))
        return dataclasses.replace(row, seconds=time.monotonic() - began)

    try:
        yield ended
    finally:
        call.kill()  # and whatever it has left
        _unmount(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _unmount(folder: Path) -> None:
    """What a campaign that was killed has left mounted, the innermost first."""
    with suppress(OSError):  # there is no /proc
        places = [line.split(" ")[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        for place in reversed([place for place in places if place.startswith(f"{folder}/")]):
            subprocess.run(["umount", "--lazy", place], capture_output=True, check=False)


def _row(promise: Promise, count: int, outcome: Outcome) -> Row:
    sentences, bad = outcome.bad, outcome.bad_count
    if outcome.tried < count and not promise.whole:
        sentences, bad = (f"only {outcome.tried} of {count} were tried", *sentences), bad + 1
    return Row(promise.id, "done", count, outcome.tried, bad, notes=outcome.notes, sentences=sentences)


def stood(row: Row, options: argparse.Namespace) -> bool:
    """Whether a row is no reason to fail."""
    return row.is_good or (row.state == "unavailable" and options.allow_unavailable)


def write(rows: Sequence[Row], options: argparse.Namespace) -> None:
    """The table, what was bad, the JSON file; and the page, where the counts were the usual ones or more."""
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(results.table(rows, PROMISES))
    when, where = results.when(), results.machine(options.directory)
    about = {"when": when, "where": where, "seed": options.seed, "options": sys.argv[1:]}
    options.results.parent.mkdir(parents=True, exist_ok=True)
    options.results.write_text(results.as_json(rows, about), encoding="utf-8")
    said = f"seed {options.seed}; {where}; all of it stands in {options.results}"
    console.print(said, markup=False, highlight=False, soft_wrap=True)
    if options.short or options.scale < 1:
        return
    page = results.PAGE.read_text(encoding="utf-8")
    page = results.replaced(page, "promises", results.promises(PROMISES))
    page = results.replaced(page, "results", results.lines(rows, PROMISES, page, when))
    page = results.replaced(page, "machine", [f"The latest was run on {where}, with the seed {options.seed}."])
    if any(row.id == "R16" and row.is_good for row in rows):
        page = results.replaced(page, "seeded faults", results.mutants())
    results.PAGE.write_text(page, encoding="utf-8")


def _peers(options: argparse.Namespace) -> int:
    """The same for other libraries, in their environment; see peers.py."""
    if not PEERS_PYTHON.exists():
        print(f"{PEERS_PYTHON} is missing; make faults-peers makes it", file=sys.stderr)
        return 1
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "HOLDFAST_TEST_FUSE_PYTHON": sys.executable}
    arguments = ["--seed", str(options.seed), "--scale", str(options.scale), "--directory", str(options.directory)]
    command = [str(PEERS_PYTHON), "-m", "faults.peers", *arguments]
    return subprocess.run(command, env=environment, check=False).returncode


def _progress() -> Progress:
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


if __name__ == "__main__":
    sys.exit(main())
