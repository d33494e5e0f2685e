"""What campaigns share: outcomes, and jobs in processes of their own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from faults.campaign_examples import cannot, chatters, dies, fails, twice, waits_or_fails, which_holdfast
from faults.campaigns import KEPT, Outcome, Unavailable, in_processes, merge


def test_all_bad_cases_are_counted_and_the_first_are_kept():
    outcome = Outcome(tried=500, bad=tuple(map(str, range(300))))
    assert outcome.bad_count == 300
    assert outcome.bad == tuple(map(str, range(KEPT)))
    assert Outcome(tried=5, bad=("one",), bad_count=4).bad_count == 4


def test_outcomes_are_merged():
    one = Outcome(tried=3, bad=("a",), bad_count=7, notes="peak 2 x file")
    merged = merge([one, Outcome(tried=4, bad=("b",), notes="slow"), Outcome(tried=5, notes="slow")])
    assert merged == Outcome(tried=12, bad=("a", "b"), bad_count=8, notes="peak 2 x file; slow")
    assert merge([]) == Outcome(tried=0)


def test_jobs_run_in_new_interpreters_and_their_results_are_in_order():
    found = in_processes(twice, [(3,), (1,), (2,)])
    assert [value for value, _, _ in found] == [6, 2, 4]
    pids = {pid for _, pid, _ in found}
    assert len(pids) == 3
    assert os.getpid() not in pids
    assert not any(forked for _, _, forked in found), "this process has imported that, a new one has not"


def test_an_exception_of_a_job_comes_back_with_its_name_text_and_traceback():
    with pytest.raises(RuntimeError, match=r"builtins\.KeyError in .*fails\(1\): 'value 1'") as caught:
        in_processes(fails, [(0,), (1,), (2,)])
    assert "in fails" in str(caught.value)


def test_unavailable_comes_back_as_it_is():
    with pytest.raises(Unavailable, match=r"^no 7 here$"):
        in_processes(cannot, [(7,)])


def test_the_death_of_a_process_is_an_error_that_has_its_last_words():
    with pytest.raises(RuntimeError, match=r"(?s)ended with -9: .*some last words"):
        in_processes(dies, [()])


def test_after_a_failure_nothing_is_waited_for(tmp_path: Path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)  # nobody ever writes into it
    with pytest.raises(RuntimeError, match="at once"):
        in_processes(waits_or_fails, [(str(pipe),), ("",), (str(pipe),)])


def test_what_a_job_prints_is_not_printed(capfd: pytest.CaptureFixture[str]):
    assert in_processes(chatters, [()]) == [3]
    assert capfd.readouterr() == ("", "")


def test_a_copy_of_the_package_on_pythonpath_is_what_a_job_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "holdfast").mkdir()
    (tmp_path / "holdfast" / "__init__.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert in_processes(which_holdfast, [()]) == [str(tmp_path / "holdfast" / "__init__.py")]


def test_what_another_process_cannot_import_is_refused():
    with pytest.raises(ValueError, match="cannot import"):
        in_processes(lambda: None, [()])
