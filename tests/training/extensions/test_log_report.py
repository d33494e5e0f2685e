from __future__ import annotations

import json
import os

import pytest

from holdfast import reporter
from holdfast.training import Trainer, make_extension
from holdfast.training.extensions import LogReport, log_report
from training.fakes import CountingUpdater
from training.serializers import loaded, restored, saved, tree_of


def run(out, report, iterations=10, resume_from=None, updater=None):
    trainer = Trainer(updater or CountingUpdater(4), (iterations, "iteration"), out=out, extensions=[report])
    if resume_from is not None:
        restored(resume_from, trainer)
    trainer.run()
    return trainer


def rows_in(file):
    return json.loads(file.read_text())


def lines_in(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def without_time(rows):
    return [{key: value for key, value in row.items() if key != "elapsed_time"} for row in rows]


def mean(*iterations):
    return sum(1 / (3 * i) for i in iterations) / len(iterations)


class TestRows:
    def test_a_row_has_the_means_since_the_last_one_and_where_the_training_is(self, tmp_path, clock):
        report = LogReport()
        run(tmp_path, report)
        assert report.log == [
            {"loss": pytest.approx(mean(1, 2, 3, 4)), "epoch": 1, "iteration": 4, "elapsed_time": 0.0},
            {"loss": pytest.approx(mean(5, 6, 7, 8)), "epoch": 2, "iteration": 8, "elapsed_time": 0.0},
        ]

    def test_its_own_trigger_says_when_a_row_is_made(self, tmp_path):
        report = LogReport(trigger=(3, "iteration"))
        run(tmp_path, report)
        assert [row["iteration"] for row in report.log] == [3, 6, 9]

    def test_only_keys_are_taken_in(self, tmp_path):
        @make_extension(priority=300)
        def more(trainer):
            reporter.report({"norm": 1.0, "noise": 2.0})

        report = LogReport(keys=(key for key in ["norm", "never reported"]))
        trainer = Trainer(CountingUpdater(4), (4, "iteration"), out=tmp_path, extensions=[more, report])
        trainer.run()
        assert set(report.log[0]) == {"norm", "epoch", "iteration", "elapsed_time"}

    def test_one_string_for_keys_is_refused(self):
        with pytest.raises(TypeError, match=r"\['loss'\], not 'loss'"):
            LogReport(keys="loss")

    def test_postprocess_may_change_a_row(self, tmp_path):
        def double(row):
            row["double"] = 2 * row["iteration"]
            del row["loss"]

        report = LogReport(postprocess=double)
        run(tmp_path, report)
        assert [row["double"] for row in report.log] == [8, 16]
        assert "loss" not in report.log[0]
        assert rows_in(tmp_path / "log") == report.log

    def test_what_json_has_no_word_for_is_refused_and_earlier_rows_stay(self, tmp_path):
        def spoil(row):
            if row["iteration"] == 8:
                row["shape"] = {1, 2}

        report = LogReport(postprocess=spoil)
        with pytest.raises(TypeError, match="the row of iteration 8 cannot be written as JSON"):
            run(tmp_path, report)
        assert [row["iteration"] for row in rows_in(tmp_path / "log")] == [4]

    def test_a_row_reads_the_same_in_memory_and_in_the_file(self, tmp_path):
        report = LogReport(postprocess=lambda row: row.update(pair=(1, 2)))
        run(tmp_path, report)
        assert report.log == rows_in(tmp_path / "log")

    def test_a_training_that_counts_no_epochs_has_rows_without(self, tmp_path):
        class NoEpochs(CountingUpdater):
            @property
            def epoch(self):
                raise AttributeError("no epochs")

        report = LogReport(trigger=(5, "iteration"))
        run(tmp_path, report, updater=NoEpochs(4))
        assert [set(row) for row in report.log] == [{"loss", "iteration", "elapsed_time"}] * 2

    def test_there_is_one_before_training_where_it_is_called_then(self, tmp_path):
        report = LogReport()
        trainer = Trainer(CountingUpdater(4), (5, "iteration"), out=tmp_path)
        trainer.extend(report, call_before_training=True)
        trainer.run()
        assert [(row["iteration"], row["epoch"], "loss" in row) for row in report.log] == [(0, 0, False), (4, 1, True)]


class TestFile:
    def test_it_is_a_json_array_indented_as_chainers(self, tmp_path):
        report = LogReport()
        run(tmp_path, report)
        assert (tmp_path / "log").read_text() == json.dumps(report.log, indent=4)
        assert os.listdir(tmp_path) == ["log"]

    def test_the_name_may_be_made_of_the_row(self, tmp_path):
        run(tmp_path, LogReport(filename="logs/at_{iteration}"))
        assert sorted(os.listdir(tmp_path / "logs")) == ["at_4", "at_8"]
        assert [row["iteration"] for row in rows_in(tmp_path / "logs" / "at_8")] == [4, 8]

    @pytest.mark.parametrize(
        ("name", "error", "said"),
        [
            ("logs/", ValueError, "must end in the name of a file"),
            ("log_{}", ValueError, "filled by name"),
            ("log_{", ValueError, "no format string"),
            (3, TypeError, "filename must be a str"),
        ],
    )
    def test_a_name_that_cannot_be_made_is_refused(self, name, error, said):
        with pytest.raises(error, match=f"LogReport: .*{said}"):
            LogReport(filename=name)

    def test_there_need_not_be_one(self, tmp_path):
        report = LogReport(filename=None)
        run(tmp_path, report)
        assert os.listdir(tmp_path) == []
        assert len(report.log) == 2

    def test_a_process_that_dies_while_writing_leaves_the_file_of_before(self, tmp_path, monkeypatch):
        class Killed(BaseException):
            pass

        def die(source, destination):
            raise Killed

        run(tmp_path, LogReport(), iterations=4)
        before = (tmp_path / "log").read_text()
        monkeypatch.setattr(log_report.os, "replace", die)
        with pytest.raises(Killed):
            run(tmp_path, LogReport())
        assert (tmp_path / "log").read_text() == before
        monkeypatch.undo()
        run(tmp_path, LogReport())
        assert os.listdir(tmp_path) == ["log"]


class TestJsonLines:
    def test_a_name_that_ends_so_has_a_row_a_line(self, tmp_path):
        report = LogReport(filename="log.jsonl", postprocess=lambda row: row.update(note="two\nlines, é"))
        run(tmp_path, report)
        text = (tmp_path / "log.jsonl").read_text()
        assert text.endswith("}\n")
        assert [json.loads(line) for line in text.splitlines()] == report.log
        assert len(report.log) == 2
        assert os.listdir(tmp_path) == ["log.jsonl"]

    def test_the_name_may_be_made_of_the_row(self, tmp_path):
        run(tmp_path, LogReport(filename="at_{iteration}.jsonl"))
        assert {name: len(lines_in(tmp_path / name)) for name in os.listdir(tmp_path)} == {
            "at_4.jsonl": 1,
            "at_8.jsonl": 2,
        }

    def test_rows_of_a_killed_run_after_its_last_snapshot_are_gone_wherever_that_was(self, tmp_path):
        seen = []

        def training(out, iterations, resume_from=None):
            trainer = Trainer(CountingUpdater(4), (iterations, "iteration"), out=tmp_path / out)
            trainer.extend(LogReport(trigger=(3, "iteration"), filename="log.jsonl"))
            if resume_from is not None:
                trainer.extend(lambda trainer: seen.append(lines_in(tmp_path / out / "log.jsonl")), name="look")
                restored(resume_from, trainer)
            trainer.run()
            return trainer

        training("whole", 30)
        for stop in range(1, 30):
            tree = tree_of(training("cut", stop))
            training("cut", 30)  # was killed, after it wrote rows that no snapshot has
            seen.clear()
            training("cut", 30, resume_from=tree)
            made = [[row["iteration"] for row in rows] for rows in seen]
            assert made == [list(range(3, iteration + 1, 3)) for iteration in range(stop + 1, 31)]
            assert without_time(seen[-1]) == without_time(lines_in(tmp_path / "whole" / "log.jsonl"))


class TestOldName:
    def test_log_name_still_works(self, tmp_path):
        with pytest.warns(DeprecationWarning, match="log_name is deprecated; use filename") as warned:
            report = LogReport(log_name="old")
        assert warned[0].filename == __file__
        run(tmp_path, report)
        assert os.listdir(tmp_path) == ["old"]

    def test_log_name_may_be_none_as_in_chainer(self, tmp_path):
        with pytest.warns(DeprecationWarning, match="log_name is deprecated"):
            report = LogReport(log_name=None)
        run(tmp_path, report)
        assert os.listdir(tmp_path) == []
        assert len(report.log) == 2

    def test_both_names_are_refused(self):
        with pytest.raises(TypeError, match="filename and its old name log_name were both given"):
            LogReport(filename="a", log_name="b")


class TestResuming:
    def test_every_row_is_the_same_bit_for_bit_wherever_the_run_was_stopped(self, tmp_path):
        whole = LogReport(trigger=(3, "iteration"))
        run(tmp_path / "whole", whole, iterations=20)
        for stop in range(1, 20):
            tree = tree_of(run(tmp_path / "cut", LogReport(trigger=(3, "iteration")), iterations=stop))
            report = LogReport(trigger=(3, "iteration"))
            run(tmp_path / "cut", report, iterations=20, resume_from=tree)
            assert without_time(report.log) == without_time(whole.log)
            assert rows_in(tmp_path / "cut" / "log") == report.log

    def test_rows_that_a_killed_run_wrote_after_its_last_snapshot_are_gone(self, tmp_path):
        tree = tree_of(run(tmp_path, LogReport(), iterations=5))
        run(tmp_path, LogReport(), iterations=16)
        seen = []
        report = LogReport()
        trainer = Trainer(CountingUpdater(4), (7, "iteration"), out=tmp_path, extensions=[report])
        trainer.extend(lambda trainer: seen.append(rows_in(tmp_path / "log")), name="look", trigger=(1, "iteration"))
        restored(tree, trainer)
        trainer.run()
        assert [[row["iteration"] for row in rows] for rows in seen] == [[4], [4]]

    def test_rows_of_a_killed_run_are_gone_also_where_the_snapshot_has_none(self, tmp_path):
        tree = tree_of(run(tmp_path, LogReport(), iterations=3))
        run(tmp_path, LogReport(), iterations=8)
        run(tmp_path, LogReport(), iterations=3, resume_from=tree)
        assert rows_in(tmp_path / "log") == []

    def test_no_file_is_made_where_there_was_none(self, tmp_path):
        tree = tree_of(run(tmp_path, LogReport(), iterations=3))
        run(tmp_path, LogReport(), iterations=3, resume_from=tree)
        assert os.listdir(tmp_path) == []

    def test_a_file_that_is_gone_or_damaged_is_written_again(self, tmp_path):
        tree = tree_of(run(tmp_path, LogReport(), iterations=5))
        (tmp_path / "log").write_text('[{"iteration"')
        run(tmp_path, LogReport(), iterations=5, resume_from=tree)
        assert [row["iteration"] for row in rows_in(tmp_path / "log")] == [4]

    def test_a_run_that_begins_anew_leaves_an_old_file_until_its_first_row(self, tmp_path):
        run(tmp_path, LogReport(), iterations=8)
        run(tmp_path, LogReport(), iterations=3)
        assert len(rows_in(tmp_path / "log")) == 2
        run(tmp_path, LogReport(), iterations=4)
        assert len(rows_in(tmp_path / "log")) == 1

    def test_the_keys_are_chainers(self, tmp_path):
        report = LogReport()
        run(tmp_path, report, iterations=5)
        state = saved(report)
        assert set(state) == {
            *["_trigger/previous_iteration", "_trigger/previous_epoch_detail", "_log", "_summary/_names"],
            *["_summary/_summaries/0/_x", "_summary/_summaries/0/_x2", "_summary/_summaries/0/_n"],
        }
        assert json.loads(state["_log"]) == report.log
        other = loaded(state, LogReport())
        assert saved(other) == state

    def test_a_trigger_without_a_state_is_none_of_the_state(self):
        report = LogReport(trigger=lambda trainer: True)
        assert set(saved(report)) == {"_log", "_summary/_names"}

    def test_values_that_are_no_numbers_stay_the_same(self, tmp_path):
        report = LogReport(postprocess=lambda row: row.update(loss=float("nan"), note="é", none=None))
        run(tmp_path, report, iterations=4)
        other = loaded(saved(report), LogReport())
        assert str(other.log) == str(report.log)
