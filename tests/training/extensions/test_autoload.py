"""What a run is resumed from, and when."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

import holdfast
from holdfast import training
from holdfast.training import extensions
from training.extensions.runs import Training, names


@pytest.fixture
def out(tmp_path):
    return tmp_path / "result"


def damage(path):
    data = bytearray(path.read_bytes())
    data[-3] ^= 4
    path.write_bytes(data)


def every(out, stop, *more, trigger=(1, "iteration"), **options):
    """A run that takes a snapshot of the trainer after each iteration, and is resumed."""
    return Training(out, stop).run(extensions.snapshot(autoload=True, **options), *more, trigger=trigger)


def test_a_fresh_folder_is_no_error_and_says_nothing(out, caplog):
    with caplog.at_level(logging.WARNING, "holdfast"):
        run = every(out, (2, "iteration"))
    assert run.updater.iteration == 2
    assert caplog.text == ""


@pytest.mark.parametrize("stopped", range(1, 12))
def test_a_run_goes_on_bit_for_bit_from_any_iteration(out, stopped):
    ended = Training(out / "calm", (12, "iteration")).run()
    every(out, (stopped, "iteration"))
    again = every(out, (12, "iteration"))
    np.testing.assert_array_equal(again.weights, ended.weights)
    assert again.noise.bit_generator.state == ended.noise.bit_generator.state


def test_what_was_loaded_is_said_in_one_line(out, caplog):
    every(out, (3, "iteration"))
    with caplog.at_level(logging.INFO, "holdfast"):
        every(out, (4, "iteration"))
    [line] = [record.message for record in caplog.records if "resumed" in record.message]
    assert str(out / "snapshot_iter_3") in line


def test_a_damaged_snapshot_is_passed_over_with_a_warning_and_never_deleted(out, caplog):
    every(out, (3, "iteration"))
    damage(out / "snapshot_iter_3")
    again = every(out, (3, "iteration"), trigger=(100, "iteration"))
    assert again.updater.iteration == 3
    assert "snapshot_iter_3" in caplog.text
    with pytest.raises(holdfast.DamagedError):
        holdfast.verify(out / "snapshot_iter_3")


def test_where_every_snapshot_is_damaged_the_run_does_not_start_from_zero(out):
    every(out, (2, "iteration"))
    for name in names(out):
        damage(out / name)
    with pytest.raises(holdfast.DamagedError, match="every snapshot is damaged"):
        every(out, (4, "iteration"))


def test_a_truncated_npz_is_passed_over(out):
    options = {"filename": "it_{.updater.iteration}.npz"}
    ended = Training(out / "calm", (4, "iteration")).run()
    every(out, (3, "iteration"), **options)
    path = out / "it_3.npz"
    path.write_bytes(path.read_bytes()[:-50])
    again = every(out, (4, "iteration"), trigger=(100, "iteration"), **options)
    np.testing.assert_array_equal(again.weights, ended.weights)


def test_npz_files_are_ordered_by_their_numbers(out):
    options = {"filename": "it_{.updater.iteration}.npz"}
    every(out, (11, "iteration"), **options)
    again = every(out, (11, "iteration"), trigger=(100, "iteration"), **options)
    assert again.updater.iteration == 11


def test_a_target_that_does_not_fit_is_an_error_before_anything_is_changed(out):
    Training(out, (2, "iteration")).run(extensions.snapshot_object({"a": np.zeros(3)}, "o_{.updater.iteration}"))
    target = {"a": np.full(4, 7.0)}
    with pytest.raises(holdfast.MismatchError, match="'a'"):
        Training(out, (4, "iteration")).run(extensions.snapshot_object(target, "o_{.updater.iteration}", autoload=True))
    np.testing.assert_array_equal(target["a"], np.full(4, 7.0))


def test_an_object_is_loaded_by_itself(out):
    saved, loaded = np.arange(3.0), np.zeros(3)
    Training(out, (2, "iteration")).run(extensions.snapshot_object(saved, "o_{.updater.iteration}"))
    Training(out, (0.5, "iteration")).run(extensions.snapshot_object(loaded, "o_{.updater.iteration}", autoload=True))
    np.testing.assert_array_equal(loaded, saved)


def test_what_cannot_change_in_place_says_what_to_do(out):
    Training(out, (1, "iteration")).run(extensions.snapshot_object((1, 2), "o"))
    with pytest.raises(holdfast.MismatchError, match="in place"):
        Training(out, (2, "iteration")).run(extensions.snapshot_object((3, 4), "o", autoload=True))


def test_the_same_template_with_another_format_spec_finds_the_files(out):
    every(out, (2, "iteration"), filename="it_{.updater.iteration}")
    again = every(out, (2, "iteration"), filename="it_{0.updater.iteration:06d}", trigger=(100, "iteration"))
    assert again.updater.iteration == 2


def test_a_changed_template_never_starts_from_zero_in_silence(out, caplog):
    every(out, (2, "iteration"), filename="gen_{.updater.iteration}")
    every(out, (1, "iteration"), filename="dis_{.updater.iteration}")
    assert "gen_2" in caplog.text


def test_a_trainers_snapshot_and_an_objects_are_not_confused(out):
    run = Training(out, (1, "iteration"))
    run.run(extensions.snapshot_object(run.weights, "s_{.updater.iteration}"))
    again = every(out, (2, "iteration"), filename="s_{.updater.iteration}", trigger=(100, "iteration"))
    assert again.updater.iteration == 2
    assert again.weights.any()


def test_with_two_autoloads_the_trainers_own_has_the_last_word(out, caplog):
    run = Training(out, (2, "iteration"))
    run.run(extensions.snapshot_object(run.weights, "w_{.updater.iteration}"), extensions.snapshot())
    holdfast.restore(out / "w_2", run.weights)
    (out / "w_2").unlink()
    again = Training(out, (2, "iteration"))
    again.trainer.extend(extensions.snapshot(autoload=True))
    again.trainer.extend(extensions.snapshot_object(again.weights, "w_{.updater.iteration}", autoload=True))
    with caplog.at_level(logging.INFO, "holdfast"):
        again.trainer.run()
    np.testing.assert_array_equal(again.weights, run.weights)
    assert "restored with the trainer" in caplog.text


def test_an_object_beside_the_trainer_is_loaded_as_well(out):
    beside = np.arange(3.0)
    Training(out, (2, "iteration")).run(
        extensions.snapshot_object(beside, "b_{.updater.iteration}"), extensions.snapshot()
    )
    beside[:] = 0
    Training(out, (2, "iteration")).run(
        extensions.snapshot_object(beside, "b_{.updater.iteration}", autoload=True), extensions.snapshot(autoload=True)
    )
    np.testing.assert_array_equal(beside, np.arange(3.0))


def test_autoload_happens_before_any_extension_is_initialized(out):
    seen = []

    @training.make_extension(initializer=lambda trainer: seen.append(trainer.updater.iteration), priority=10_000)
    def looks(trainer):
        pass

    every(out, (3, "iteration"), looks)
    every(out, (3, "iteration"), looks)
    assert seen == [0, 3]


def test_global_generators_are_set_after_an_initialize_that_draws(out):
    drawn = []

    @training.make_extension(initializer=lambda trainer: np.random.random(7), trigger=(1, "iteration"))
    def draws(trainer):
        drawn.append(float(np.random.random()))

    np.random.seed(3)
    every(out / "calm", (6, "iteration"), draws)
    expected, drawn[:] = drawn[:], []
    np.random.seed(3)
    every(out, (2, "iteration"), draws)
    np.random.seed(99)
    every(out, (6, "iteration"), draws)
    assert drawn == expected


def test_a_new_extension_is_named_and_does_not_stop_the_run(out, caplog):
    every(out, (2, "iteration"))
    again = every(out, (3, "iteration"), extensions.LogReport())
    assert again.updater.iteration == 3
    assert "LogReport" in caplog.text


def test_an_extension_that_is_gone_is_named_and_does_not_stop_the_run(out, caplog):
    every(out, (2, "iteration"), extensions.LogReport())
    again = every(out, (3, "iteration"))
    assert again.updater.iteration == 3
    assert "LogReport" in caplog.text


def test_restore_of_a_trainer_is_strict_about_extensions_unless_told_otherwise(out):
    every(out, (2, "iteration"))
    run = Training(out, (3, "iteration"))
    run.trainer.extend(extensions.LogReport())
    run.trainer.extend(extensions.snapshot(), trigger=(1, "iteration"))
    with pytest.raises(holdfast.MismatchError, match="extensions/LogReport"):
        holdfast.restore(out / "snapshot_iter_2", run.trainer)
    assert run.updater.iteration == 0
    holdfast.restore(out / "snapshot_iter_2", run.trainer, strict=False)
    assert run.updater.iteration == 2


def test_a_foreign_savefun_needs_a_loadfun_at_construction():
    with pytest.raises(ValueError, match="loadfun"):
        extensions.snapshot(lambda path, mapping: None, autoload=True)


def test_a_custom_writer_needs_a_loadfun_at_construction():
    with pytest.raises(ValueError, match="loadfun"):
        extensions.snapshot(writer=lambda name, outdir, mapping: None, autoload=True)


def test_a_loadfun_restores_what_a_savefun_wrote(out):
    def savefun(path, mapping):
        with open(path, "wb") as file:
            np.savez(file, **{name.replace("/", "|"): array for name, array in mapping.items()})

    def loadfun(path, target):
        with np.load(path, allow_pickle=False) as file:
            target.updater.iteration = int(file["updater|iteration"])
            target.updater.targets["weights"][...] = file["updater|weights"]

    options = {"savefun": savefun, "loadfun": loadfun, "filename": "mine_{.updater.iteration}"}
    first = every(out, (2, "iteration"), **options)
    again = every(out, (2, "iteration"), **options)
    np.testing.assert_array_equal(again.weights, first.weights)


def _foreign(read):
    """Options of an extension whose files say which iteration they are of; a damaged one says nothing."""

    def loadfun(path, target):
        target.updater.iteration = read(path)

    return {
        "savefun": lambda path, mapping: Path(path).write_text(str(mapping["updater/iteration"])),
        "loadfun": loadfun,
        "filename": "mine_{.updater.iteration}",
    }


def test_what_a_loadfun_cannot_read_is_passed_over_whatever_it_raises(out, caplog):
    options = _foreign(lambda path: int(Path(path).read_text()))
    every(out, (3, "iteration"), **options)
    (out / "mine_3").write_bytes(b"\0")
    again = Training(out, (3, "iteration"))
    again.trainer.extend(extensions.snapshot(autoload=True, **options), trigger=(100, "iteration"))
    with caplog.at_level(logging.INFO, "holdfast"):
        again.run()
    assert again.updater.iteration == 3
    assert f"passed over: {out / 'mine_3'}: ValueError: invalid literal" in caplog.text
    assert f"{out / 'mine_2'}: resumed from this file" in caplog.text


def test_where_a_loadfun_can_read_no_file_the_run_does_not_start_from_zero(out):
    options = _foreign(lambda path: int("none"))
    every(out, (2, "iteration"), **options)
    said = r"none that loadfun can read: .*mine_2: ValueError.*mine_1: ValueError"
    with pytest.raises(holdfast.DamagedError, match=said) as error:
        every(out, (3, "iteration"), **options)
    assert isinstance(error.value.__cause__.__cause__, ValueError)


@pytest.mark.parametrize("kind", [MemoryError, holdfast.MismatchError, FileNotFoundError])
def test_what_a_loadfun_raises_that_says_nothing_of_the_file_ends_the_run(out, kind):
    def read(path):
        raise kind("what")

    options = _foreign(read)
    every(out, (2, "iteration"), **options)
    with pytest.raises(kind, match=r"^what$"):
        every(out, (3, "iteration"), **options)


def test_a_loadfun_without_a_savefun_is_refused():
    with pytest.raises(ValueError, match="loadfun"):
        extensions.snapshot(loadfun=lambda path, target: None)


def test_resuming_past_the_stop_trigger_stops_at_once(out):
    every(out, (5, "iteration"))
    assert every(out, (3, "iteration")).updater.iteration == 5


def test_the_snapshot_that_a_run_resumed_from_stays_until_as_many_newer_ones_are_there(out):
    every(out, (2, "iteration"), n_retains=2)
    seen = []

    @training.make_extension(trigger=(1, "iteration"))
    def look(trainer):
        seen.append(names(out))

    every(out, (5, "iteration"), look, n_retains=2)
    assert all("snapshot_iter_2" in found for found in seen[:2])
    assert names(out) == ["snapshot_iter_4", "snapshot_iter_5"]


def test_the_run_keeps_its_id_and_its_elapsed_time(out):
    every(out, (2, "iteration"))
    every(out, (3, "iteration"))
    first, second = holdfast.info(out / "snapshot_iter_2"), holdfast.info(out / "snapshot_iter_3")
    assert first.run_id == second.run_id
    assert first.sequence < second.sequence
    assert holdfast.load(out / "snapshot_iter_3")["_snapshot_elapsed_time"] > 0


def test_another_process_in_the_same_folder_is_refused(out, program):
    out.mkdir()
    other = program(
        "import sys; from holdfast import lock; held = lock.acquire(sys.argv[1]); print('held', flush=True); input()",
        out,
    )
    assert other.line() == "held"
    with pytest.raises(holdfast.StoreLockedError, match=str(other.pid)):
        every(out, (1, "iteration"))
    other.go_on()
    other.end()
    assert every(out, (1, "iteration")).updater.iteration == 1
