"""Show that a training run can be killed again and again, and ends as if nothing had happened.

    python demo.py [PROGRAM ...]        the training program; train.py beside this file, unless another is named

It runs once without a break, then once more in a folder of its own, where it is killed with SIGKILL and started again,
some of the times in the middle of writing a snapshot. Then everything that the two runs left behind is compared, bit by
bit. Exit status 0: identical; 1: something differs, or went wrong.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from compare import Comparison, compare
from killing import RESULT, Life, RunFailed, live
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from holdfast import HoldfastError

HERE = Path(__file__).resolve().parent
EXTRA_TRIES = 5  # the moment of a write is short: a kill that comes late is counted as one between two snapshots


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    script, *its_arguments = options.program or [HERE / "train.py"]
    program = [sys.executable, str(Path(script).resolve()), *its_arguments]
    calm, killed = options.folder / "uninterrupted", options.folder / "killed"
    for folder in (calm, killed):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    try:
        with _progress("run A, without a break", options.iterations) as progress:
            whole = live(program, calm, progress=progress)
        say(f"run A, without a break: {whole.seconds:.1f} s")
        with _progress("run B, killed and started again", options.iterations) as progress:
            lives = run_and_kill(program, killed, options, progress)
        return report(lives, compare(calm / RESULT, killed / RESULT), options.folder)
    except (RunFailed, FileNotFoundError, HoldfastError) as error:
        say(f"failed: {error}")
        return 1


def run_and_kill(
    program: list[str], folder: Path, options: argparse.Namespace, progress: Callable[[int], None]
) -> list[Life]:
    """Start the program until it ends by itself, with all kills before that spread over the run."""
    lives: list[Life] = []
    for number in itertools.count():
        hits = sum(bool(life.left_behind) for life in lives)
        if number >= options.kills and hits >= options.while_writing:
            return [*lives, live(program, folder, progress=progress)]
        if number >= options.kills + EXTRA_TRIES:
            raise RunFailed(f"{number} kills hit the writing of a snapshot only {hits} times; is the disk so fast?")
        aim = hits < options.while_writing and (number % 2 == 0 or number >= options.kills)
        at = options.iterations * min(number + 1, options.kills) // (options.kills + 2)
        life = live(program, folder, kill_after=at, while_writing=aim, progress=progress)
        lives.append(life)
        say(f"  kill {number + 1}: {describe_kill(life, aim)}")
    raise AssertionError("itertools.count() ended")


def describe_kill(life: Life, aimed: bool) -> str:
    where = f"started after iteration {life.started_after}, lived for {life.seconds:.1f} s, "
    if life.left_behind:
        return f"{where}killed while it wrote {life.left_behind[0]}"
    return f"{where}killed between two snapshots{' (aimed at a write, came too late)' if aimed else ''}"


def report(lives: Sequence[Life], result: Comparison, folder: Path) -> int:
    """Say in plain words what happened; returns the exit status."""
    kills = [life for life in lives if life.killed]
    hits = sum(bool(life.left_behind) for life in kills)
    resumed = ", ".join(str(life.started_after) for life in lives[1:])
    say(f"run B: killed {len(kills)} times with SIGKILL, {hits} of them in the middle of writing a snapshot;")
    say(f"  resumed after iteration {resumed}; {sum(life.seconds for life in lives):.1f} s in all")
    differences = [
        f"start {number}: went on from iteration {life.started_after}, newest whole snapshot was {life.whole_before}"
        for number, life in enumerate(lives, start=1)
        if life.started_after != life.whole_before
    ]
    differences += result.differences
    say(f"both runs ended at iteration {result.iteration}, accuracy on held-out digits {result.accuracy}")
    if differences:
        say(f"DIFFERENT, in {len(differences)} places:")
        for line in differences[:20]:
            say(f"  {line}")
        return 1
    say(f"identical: {result.arrays} arrays, {result.rows} log rows")
    say(f"  and {result.generators} random generators and {result.values} other values of the final snapshot,")
    say(f"  and {result.files - 1} older snapshots of both runs; of everything, only elapsed_time was left out")
    say(f"look at them: {folder}")
    return 0


def say(line: str) -> None:
    """A whole line, above the progress bar where there is one."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


console = Console()


@contextmanager
def _progress(what: str, iterations: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal; elsewhere a line for each quarter of the way."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    said, begun = 0, time.monotonic()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=iterations)

        def show(iteration: int) -> None:
            nonlocal said
            bar.update(task, completed=iteration)
            if not console.is_terminal and 4 * iteration // iterations > said:
                said = 4 * iteration // iterations
                say(f"{what}: iteration {iteration} of {iterations}, {time.monotonic() - begun:.1f} s")

        yield show


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Kill a training run again and again; it ends as if nothing had happened."
    )
    parser.add_argument("program", nargs="*", help="the training program, and its arguments")
    parser.add_argument("--iterations", type=int, default=450, help="how many the whole run has")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--while-writing", type=int, default=2, help="how many of the kills must break off a write")
    parser.add_argument("--folder", type=Path, default=HERE / "runs", help="what the two runs write goes here")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
