"""R16: each seeded fault is noticed by the test that is named for it."""

from __future__ import annotations

import re

from faults.broken import PACKAGE, TESTS
from faults.r16_mutant import Mutant
from faults.r16_mutants import SHORT, campaign, complaint_of, complaint_of_sound
from faults.r16_table import MUTANTS

QUICK = "test_retention.py::test_nothing_makes_an_empty_plan"


def test_the_first_faults_of_the_table_are_noticed(tmp_path):
    outcome = campaign(SHORT, folder=tmp_path)
    assert outcome.bad == ()
    assert outcome.tried >= SHORT


def test_there_are_many_and_they_differ():
    assert len(MUTANTS) >= 20
    assert len({one.name for one in MUTANTS}) == len({(one.file, one.old, one.new) for one in MUTANTS}) == len(MUTANTS)


def test_what_a_fault_changes_stands_exactly_once_in_its_file():
    counts = {one.name: (PACKAGE / one.file).read_text(encoding="utf-8").count(one.old) for one in MUTANTS}
    assert {name: count for name, count in counts.items() if count != 1} == {}


def test_the_test_of_each_fault_is_there():
    missing = []
    for one in MUTANTS:
        file, *_, name = one.caught_by.split("::")
        name = name.partition("[")[0]
        places = [TESTS / file, TESTS / "storage" / "conformance.py"]
        if not any(re.search(rf"def {name}\(", place.read_text(encoding="utf-8")) for place in places):
            missing.append(one.caught_by)
    assert missing == []


def test_a_fault_that_no_test_notices_is_told(tmp_path):
    harmless = Mutant("nothing", "_version.py", "__version__ = ", "__version__ = ", QUICK)
    assert complaint_of(harmless, tmp_path) == f"nothing (_version.py): {QUICK} passes"


def test_a_test_that_cannot_be_run_notices_nothing(tmp_path):
    absent = Mutant("nothing", "_version.py", "__version__ = ", "__version__ = ", "test_retention.py::test_of_nothing")
    assert "could not be run (pytest ended with 4)" in complaint_of(absent, tmp_path / "absent")
    unloadable = Mutant("no package", "errors.py", "from __future__", "from __past__", QUICK)
    assert "could not be run" in complaint_of(unloadable, tmp_path / "unloadable")


def test_a_test_that_fails_without_a_fault_is_told(tmp_path):
    assert complaint_of_sound(["test_retention.py::test_of_nothing"], tmp_path).startswith("without a fault, pytest")
