from __future__ import annotations

import io

import pytest

from holdfast.training import Trainer
from holdfast.training.extensions import LogReport, PrintReport
from training.fakes import CountingUpdater
from training.serializers import loaded, restored, saved, tree_of


def run(out, *extensions, iterations=9, resume_from=None):
    trainer = Trainer(CountingUpdater(4), (iterations, "iteration"), out=out, extensions=extensions)
    if resume_from is not None:
        restored(resume_from, trainer)
    trainer.run()
    return trainer


@pytest.fixture
def screen():
    return io.StringIO()


class TestTable:
    def test_columns_are_chainers(self, tmp_path, screen):
        def change(row):
            row["main/accuracy"] = 0.123456789
            if row["iteration"] == 8:
                del row["loss"]

        report = PrintReport(["epoch", "iteration", "main/accuracy", "loss"], out=screen)
        run(tmp_path, LogReport(postprocess=change), report)
        assert screen.getvalue().splitlines() == [
            "epoch       iteration   main/accuracy  loss      ",
            "1           4           0.123457       0.173611    ",
            "2           8           0.123457                   ",
        ]

    def test_the_names_come_at_the_first_call_and_each_row_when_it_is_made(self, tmp_path, screen):
        lines = []
        trainer = Trainer(CountingUpdater(2), (5, "iteration"), out=tmp_path)
        trainer.extend(LogReport())
        trainer.extend(PrintReport(["iteration"], out=screen))
        trainer.extend(lambda trainer: lines.append(screen.getvalue().count("\n")), name="look")
        trainer.run()
        assert lines == [1, 2, 2, 3, 3]

    def test_a_text_in_a_row_is_printed_as_it_is(self, tmp_path, screen):
        log = LogReport(postprocess=lambda row: row.update(phase="warm-up, then cold", none=None, flag=True))
        run(tmp_path, log, PrintReport(["phase", "none", "flag"], out=screen), iterations=4)
        assert screen.getvalue().splitlines()[1] == "warm-up, then cold              1           "

    def test_standard_output_is_the_one_of_the_moment(self, tmp_path, capsys):
        run(tmp_path, LogReport(), PrintReport(["iteration"]), iterations=4)
        assert capsys.readouterr().out == "iteration \n4           \n"

    def test_a_stream_needs_nothing_but_write(self, tmp_path):
        class Stream:
            text = ""

            def write(self, text):
                self.text += text

        stream = Stream()
        run(tmp_path, LogReport(), PrintReport(["iteration"], out=stream), iterations=4)
        assert stream.text == "iteration \n4           \n"

    def test_no_control_characters_are_written_where_there_is_no_terminal(self, tmp_path, screen):
        run(tmp_path, LogReport(), PrintReport(["iteration"], out=screen))
        assert "\033" not in screen.getvalue()


class TestLogReport:
    def test_another_name_can_be_given(self, tmp_path, screen):
        trainer = Trainer(CountingUpdater(4), (4, "iteration"), out=tmp_path)
        trainer.extend(LogReport(), name="mine")
        trainer.extend(PrintReport(["iteration"], "mine", out=screen))
        trainer.run()
        assert len(screen.getvalue().splitlines()) == 2

    def test_a_name_that_is_not_registered_is_an_error_that_says_which_are(self, tmp_path, screen):
        with pytest.raises(ValueError, match="extension LogReport not found; registered: PrintReport"):
            run(tmp_path, PrintReport(["iteration"], out=screen))

    def test_one_of_its_own_is_called_by_it_and_kept_in_its_state(self, tmp_path, screen):
        report = PrintReport(["iteration"], LogReport(), out=screen)
        run(tmp_path, report)
        assert [line.strip() for line in screen.getvalue().splitlines()] == ["iteration", "4", "8"]
        state = saved(report)
        assert {key.split("/")[0] for key in state} == {"_log_report"}
        own = LogReport()
        loaded(state, PrintReport(["iteration"], own))
        assert [row["iteration"] for row in own.log] == [4, 8]

    def test_one_of_its_own_writes_the_rows_again_that_a_killed_run_spoilt(self, tmp_path, screen):
        tree = tree_of(run(tmp_path, PrintReport(["iteration"], LogReport(), out=screen), iterations=5))
        (tmp_path / "log").write_text("spoilt")
        run(tmp_path, PrintReport(["iteration"], LogReport(), out=screen), iterations=5, resume_from=tree)
        assert (tmp_path / "log").read_text().startswith("[")

    @pytest.mark.parametrize("wrong", [None, 3, LogReport])
    def test_anything_else_is_refused(self, wrong):
        with pytest.raises(TypeError, match="log_report must be a LogReport or the name of one"):
            PrintReport(["iteration"], wrong)

    def test_one_string_for_entries_is_refused(self):
        with pytest.raises(TypeError, match=r"\['epoch'\], not 'epoch'"):
            PrintReport("epoch")


def test_a_resumed_run_prints_the_earlier_rows_first(tmp_path):
    first, second = io.StringIO(), io.StringIO()
    tree = tree_of(run(tmp_path, LogReport(), PrintReport(["epoch", "iteration"], out=first), iterations=9))
    resumed = LogReport(), PrintReport(["epoch", "iteration"], out=second)
    run(tmp_path, *resumed, iterations=12, resume_from=tree)
    lines = second.getvalue().splitlines()
    assert lines[:3] == first.getvalue().splitlines()
    assert lines[3].split() == ["3", "12"]


def test_it_has_no_state_where_the_log_report_is_another_extension():
    assert saved(PrintReport(["epoch"])) == {}
