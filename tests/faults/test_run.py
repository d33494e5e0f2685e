"""`make faults` itself: what it runs, what it makes of what comes back, and what it writes."""

from __future__ import annotations

import dataclasses
import json
import os
import select
from pathlib import Path

import pytest

from faults import results, run
from faults.promises import Promise
from faults.results import Row

CAMPAIGNS = {
    "good": "return Outcome(count, notes=f'seed {seed}')",
    "bad": "return Outcome(count, ('it was lost',), bad_count=3)",
    "few": "return Outcome(count - 1)",
    "of_two": "return Outcome(count, others={'R2': Outcome(count - 1, ('it ran',))})",
    "fails": "raise KeyError('what')",
    "cannot": "raise Unavailable('no such device')",
    "dies": "import os; os.abort()",
    "writes": "(folder / 'scratch').write_text('x'); return Outcome(count)",
    "waits": "import os; open(os.environ['FIFO'], 'rb').close(); return Outcome(count)",
    "opens": "import os; open(os.environ['FIFO'], 'wb').close(); return Outcome(count)",
    "hangs": """import os, signal, subprocess, sys
    subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'], stdout=open(os.environ['FIFO'], 'wb'))
    signal.pause()""",
}


@pytest.fixture(autouse=True)
def _campaigns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules beside those of the tests: `faults` is a package without a file of its own."""
    folder = tmp_path / "modules" / "faults"
    folder.mkdir(parents=True)
    for name, body in CAMPAIGNS.items():
        head = "from faults.campaigns import Outcome, Unavailable\n\ndef campaign(count, *, seed, folder):\n"
        (folder / f"{name}.py").write_text(f"{head}    {body}\n")
    monkeypatch.setenv("PYTHONPATH", str(folder.parent))


def promise(module: str, *, number: int = 1, whole: bool = False) -> Promise:
    return Promise(f"R{number}", "It stands.", "By a test.", module, 2, 40, 10, 5.0, "cases", whole)


def options(tmp_path: Path, *words: str):
    found = run.parse([f"--directory={tmp_path / 'scratch'}", "--seed=7", *words])
    found.directory.mkdir(exist_ok=True)
    return found


def carried_out(tmp_path: Path, module: str, **about) -> Row:
    row = run.carry_out(promise(module, **about), 10, options(tmp_path), {})
    assert list((tmp_path / "scratch").iterdir()) == [], "scratch is left"
    return dataclasses.replace(row, seconds=0.0)


def test_an_outcome_becomes_a_row_and_scratch_goes(tmp_path):
    assert carried_out(tmp_path, "good") == Row("R1", "done", 10, 10, notes="seed 7")
    assert carried_out(tmp_path, "bad") == Row("R1", "done", 10, 10, 3, sentences=("it was lost",))
    assert carried_out(tmp_path, "writes").is_good


def test_fewer_cases_than_asked_for_are_bad_but_not_where_all_there_are_were_tried(tmp_path):
    row = carried_out(tmp_path, "few")
    assert (row.bad, row.sentences) == (1, ("only 9 of 10 were tried",))
    assert carried_out(tmp_path, "few", whole=True).is_good


def test_what_the_cases_of_one_promise_say_of_another_is_not_tried_again_where_they_are_enough(tmp_path):
    known = {}
    row = run.carry_out(promise("of_two"), 10, options(tmp_path), known)
    assert (row.id, row.tried, row.bad) == ("R1", 10, 0)
    row = run.carry_out(promise("fails", number=2), 9, options(tmp_path), known)
    assert (row.id, row.state, row.tried, row.bad, row.sentences) == ("R2", "done", 9, 1, ("it ran",))
    assert run.carry_out(promise("fails", number=2), 10, options(tmp_path), known).state == "failed"


def test_what_raises_or_dies_has_failed_and_what_cannot_be_tried_says_why(tmp_path):
    row = carried_out(tmp_path, "fails")
    assert row.state == "failed"
    assert "KeyError" in row.notes
    assert carried_out(tmp_path, "dies").state == "failed"
    assert carried_out(tmp_path, "cannot") == Row("R1", "unavailable", 10, notes="no such device")


def test_what_hangs_is_killed_with_all_that_it_has_started(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "fifo")
    monkeypatch.setenv("FIFO", str(tmp_path / "fifo"))
    monkeypatch.setattr(run, "_PATIENCE_S", 3.0)
    monkeypatch.setattr(run, "_PATIENCE", 0.0)
    with open(os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK), "rb") as alive:
        assert carried_out(tmp_path, "hangs").state == "hung"
        poll = select.poll()
        poll.register(alive, select.POLLIN)
        [(_, events)] = poll.poll(30_000)
        assert events & select.POLLHUP, "what it started is still there"


def test_only_what_stood_is_a_success(tmp_path, monkeypatch, capsys):
    def ended(*modules: str, more: tuple[str, ...] = ()) -> int:
        wanted = [promise(module, number=number) for number, module in enumerate(modules, 1)]
        monkeypatch.setattr(run, "PROMISES", wanted)
        return run.main([f"--directory={tmp_path / 'scratch'}", "--short", *more])

    assert ended("good", "writes") == 0
    assert ended("good", "bad") == 1
    assert ended("fails") == 1
    assert ended("cannot", "good") == 1
    assert ended("cannot", "good", more=("--allow-unavailable",)) == 0
    told = json.loads((tmp_path / "scratch" / "faults.json").read_text())
    assert [row["state"] for row in told["rows"]] == ["unavailable", "done"]
    assert "no such device" in capsys.readouterr().out


def test_what_is_counted_in_seconds_runs_beside_the_others_and_has_its_row_in_its_place(tmp_path, monkeypatch, capsys):
    os.mkfifo(tmp_path / "fifo")
    monkeypatch.setenv("FIFO", str(tmp_path / "fifo"))
    monkeypatch.setattr(run, "_PATIENCE_S", 60.0)
    wanted = [dataclasses.replace(promise("waits"), unit="seconds"), promise("opens", number=2)]
    monkeypatch.setattr(run, "PROMISES", wanted)
    assert run.main([f"--directory={tmp_path / 'scratch'}", "--short"]) == 0
    told = json.loads((tmp_path / "scratch" / "faults.json").read_text())
    assert [(row["id"], row["state"]) for row in told["rows"]] == [("R1", "done"), ("R2", "done")]
    said = capsys.readouterr().err
    assert said.index("R2: 0 bad") < said.index("R1: 0 bad")


def test_counts(tmp_path):
    def count(*words: str) -> int:
        return run.count_for(promise("good"), options(tmp_path, *words))

    assert count() == 10
    assert count("--short") == 2
    assert count("--full") == 40
    assert count("--hours=6") == 30
    assert count("--hours=1") == 10
    assert count("--hours=60") == 40
    assert count("--scale=0.25") == 2
    assert count("--scale=0.001") == 1


@pytest.mark.parametrize("words", [["--only", "R99"], ["--short", "--full"], ["--scale", "0"], ["--hours", "-1"]])
def test_an_option_that_makes_no_sense_is_refused(words, capsys):
    with pytest.raises(SystemExit):
        run.parse(words)
    assert "usage" in capsys.readouterr().err


def test_only_these_promises():
    assert [one.id for one in run.parse(["--only", "r7, R2"]).only] == ["R7", "R2"]


PAGE = """# Page
<!-- promises: made by tests/faults/run.py -->
<!-- end of promises -->
<!-- results: made by tests/faults/run.py -->

| R1 | 40 | 10 cases | 0 | 5 | yesterday | it stood |
| R2 | 40 | 10 cases | 0 | 5 | yesterday | so did this |

<!-- end of results -->
<!-- machine: made by tests/faults/run.py -->
<!-- end of machine -->
The end.
"""


def test_the_page_gets_the_rows_of_this_run_and_keeps_the_others(tmp_path, monkeypatch, capsys):
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    monkeypatch.setattr(results, "PAGE", page)
    monkeypatch.setattr(run, "PROMISES", [promise("good", number=number) for number in (1, 2, 3)])
    run.write([Row("R1", "done", 10, 12, 1, 3.0, "a | note with `ticks`")], options(tmp_path))
    text = page.read_text()
    rows = results.between(text, "results")
    assert f"| R1 | 40 | 12 cases | 1 | 3 | {results.when()} | a note with ticks |" in rows
    assert "| R2 | 40 | 10 cases | 0 | 5 | yesterday | so did this |" in rows
    assert "| R3 | 40 |  | not run |  |  |  |" in rows
    assert "with the seed 7" in results.between(text, "machine")
    assert results.between(text, "promises").count("It stands.") == 3
    assert text.startswith("# Page\n")
    assert text.endswith("The end.\n")
    run.write([Row("R2", "done", 10, 10)], options(tmp_path, "--scale=0.5"))
    run.write([Row("R2", "done", 10, 10)], options(tmp_path, "--short"))
    assert page.read_text() == text, "a run with fewer cases has no place on the page"
    assert "R1" in capsys.readouterr().out


def test_the_seeded_faults_have_a_line_each():
    from faults.r16_table import MUTANTS

    lines = results.mutants()
    assert len(lines) == 2 + len(MUTANTS)
    assert all(line.startswith("| ") and line.endswith(" |") for line in lines)
