"""The list of promises is what there is: campaigns, tests, and the page that tells of them."""

from __future__ import annotations

import pytest

from faults import results
from faults.promises import PROMISES
from faults.run import HOURS

name_of = [promise.id for promise in PROMISES]


def test_all_have_a_campaign():
    assert name_of == [f"R{number}" for number in range(1, 18)]


@pytest.mark.parametrize("promise", PROMISES, ids=name_of)
def test_each_has_a_campaign_and_a_test_that_runs_it(promise):
    module = results.ROOT / "tests" / "faults" / f"{promise.module}.py"
    assert "\ndef campaign(count: int, *, seed: int = 0, folder: Path) -> Outcome:\n" in module.read_text()
    assert promise.module in (results.ROOT / promise.test).read_text()


@pytest.mark.parametrize("promise", PROMISES, ids=name_of)
def test_counts_grow_from_the_suite_to_what_is_to_stand(promise):
    assert 0 < promise.short <= promise.usual <= promise.long
    assert promise.words.endswith(".")
    assert promise.how.endswith(".")


def test_the_usual_counts_fit_into_the_hours_that_are_promised():
    assert sum(promise.seconds for promise in PROMISES) <= HOURS * 3600


def test_the_page_has_the_promises_as_they_are_listed():
    found = results.between(results.PAGE.read_text(), "promises").strip().splitlines()
    assert found == results.promises(PROMISES)


def test_the_page_has_a_result_of_each():
    page = results.PAGE.read_text()
    rows = [line.split(" | ")[0] for line in results.between(page, "results").splitlines() if line.startswith("| R")]
    assert rows == [f"| {name}" for name in name_of]
    assert "not run" not in results.between(page, "results")
