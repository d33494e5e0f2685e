from __future__ import annotations

import os

import pytest

from holdfast.training.extensions.output_files import fields_of, replacing


def test_a_file_takes_the_place_of_an_older_one_only_when_it_is_whole(tmp_path):
    (tmp_path / "log").write_text("old")
    with replacing(tmp_path, "log") as path:
        with open(path, "w") as file:
            file.write("new")
        assert (tmp_path / "log").read_text() == "old"
    assert (tmp_path / "log").read_text() == "new"
    assert os.listdir(tmp_path) == ["log"]


def test_where_the_block_fails_the_older_file_stays_and_nothing_else(tmp_path):
    def write_half():
        with replacing(tmp_path, "log") as path, open(path, "w") as file:
            file.write("ne")
            raise ZeroDivisionError

    (tmp_path / "log").write_text("old")
    with pytest.raises(ZeroDivisionError):
        write_half()
    assert (tmp_path / "log").read_text() == "old"
    assert os.listdir(tmp_path) == ["log"]


def test_a_block_that_fails_before_it_writes_is_no_other_error(tmp_path):
    with pytest.raises(ZeroDivisionError), replacing(tmp_path, "log"):
        1 / 0  # noqa: B018
    assert os.listdir(tmp_path) == []


def test_a_sub_folder_is_made(tmp_path):
    with replacing(tmp_path, "a/b/log") as path, open(path, "w"):
        pass
    assert os.listdir(tmp_path / "a" / "b") == ["log"]


def test_what_a_killed_run_left_half_written_is_gone_after_the_next_one(tmp_path):
    (tmp_path / ".log.partial").write_text("hal")
    with replacing(tmp_path, "log") as path, open(path, "w"):
        pass
    assert os.listdir(tmp_path) == ["log"]


def test_the_fields_of_a_name_are_their_roots():
    assert fields_of("LogReport", "{main/loss:.3f}_{row[0]}_{epoch}_{{x}}") == ["main/loss", "row", "epoch"]
