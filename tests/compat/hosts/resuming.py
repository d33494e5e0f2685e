"""Cases of resuming from snapshots; each is run in every host. `host` is a Host of adapters.py, `out` a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import holdfast
from compat.hosts.adapters import Host, Run, damage, logged, raised, started
from holdfast import serializers, writers
from holdfast.state.capture import capture
from holdfast.state.flat import flatten
from holdfast.training import extensions
from training.extensions.runs import names

NPZ = "it_{.updater.iteration}.npz"


def _resumed(host: Host, out: Path, stop: int, *more: Any, trigger: Any = (1, "iteration"), **options: Any) -> Run:
    """A run that began with other weights, and goes on from the newest snapshot."""
    return started(host, out, stop, *more, extensions.snapshot(autoload=True, **options), trigger=trigger, seed=99)


def _assert_same(run: Run, other: Run) -> None:
    assert run.iteration == other.iteration
    np.testing.assert_array_equal(run.weights(), other.weights())


def a_run_goes_on_bit_for_bit_from_any_iteration(host: Host, out: Path) -> None:
    calm = started(host, out / "calm", 9)
    for stopped in range(1, 9):
        folder = out / str(stopped)
        started(host, folder, stopped, extensions.snapshot())
        _assert_same(_resumed(host, folder, 9), calm)


def one_that_is_stopped_after_every_iteration_ends_like_one_that_is_not(host: Host, out: Path) -> None:
    calm = started(host, out / "calm", 9, host.log_report())
    started(host, out, 1, host.log_report(), extensions.snapshot())
    for stop in range(2, 10):
        run = _resumed(host, out, stop, host.log_report(), n_retains=2)
    _assert_same(run, calm)
    report, expected = run.host.get_extension("LogReport").log, calm.host.get_extension("LogReport").log
    assert [row["iteration"] for row in report] == [row["iteration"] for row in expected] == [2, 4, 6, 8]
    loss = next(name for name in expected[0] if name.endswith("loss"))
    assert [row[loss] for row in report] == [row[loss] for row in expected]


def an_npz_file_is_resumed_from_as_well(host: Host, out: Path) -> None:
    calm = started(host, out / "calm", 6)
    started(host, out, 3, extensions.snapshot(filename=NPZ))
    _assert_same(_resumed(host, out, 6, filename=NPZ), calm)


def so_is_a_file_of_holdfasts_savefuns(host: Host, out: Path) -> None:
    calm = started(host, out / "calm", 6, host.log_report())
    for savefun in (serializers.save_npz, serializers.save_hdf5):
        folder = out / savefun.__name__
        started(host, folder, 3, host.log_report(), extensions.snapshot(savefun))
        again = _resumed(host, folder, 6, host.log_report(), savefun=savefun)
        _assert_same(again, calm)
        assert len(again.host.get_extension("LogReport").log) == 3


def one_is_resumed_from_whatever_writer_wrote_it(host: Host, out: Path) -> None:
    calm = started(host, out / "calm", 5)
    for kind in ("SimpleWriter", "ThreadWriter", "ProcessWriter", "ThreadQueueWriter", "ProcessQueueWriter"):
        writer = getattr(writers, kind)
        started(host, out / kind, 3, extensions.snapshot(writer=writer()))
        _assert_same(_resumed(host, out / kind, 5, writer=writer()), calm)


def a_fresh_folder_is_no_error(host: Host, out: Path) -> None:
    with logged() as messages:
        run = _resumed(host, out, 2)
    assert run.iteration == 2
    assert not any("resumed" in message for message in messages)


def what_was_loaded_is_said_once(host: Host, out: Path) -> None:
    started(host, out, 3, extensions.snapshot())
    with logged() as messages:
        _resumed(host, out, 4)
    [line] = [message for message in messages if "resumed" in message]
    assert str(out / "snapshot_iter_3") in line


def a_run_that_is_at_its_end_stops_at_once(host: Host, out: Path) -> None:
    ended = started(host, out, 4, extensions.snapshot())
    _assert_same(_resumed(host, out, 4), ended)


def a_damaged_one_is_passed_over(host: Host, out: Path) -> None:
    calm = started(host, out / "calm", 6)
    for folder, options in ((out / "own", {}), (out / "npz", {"filename": NPZ})):
        started(host, folder, 3, extensions.snapshot(**options))
        damage(folder / names(folder)[-1])
        with logged() as messages:
            _assert_same(_resumed(host, folder, 6, **options), calm)
        assert any("passed over" in message and names(folder)[2] in message for message in messages)


def where_all_are_damaged_the_run_does_not_begin_anew(host: Host, out: Path) -> None:
    started(host, out, 2, extensions.snapshot())
    for name in names(out):
        damage(out / name)
    assert "every snapshot is damaged" in raised(holdfast.DamagedError, _resumed, host, out, 3)


def a_good_one_is_taken_rather_than_a_later_one_on_an_error(host: Host, out: Path) -> None:
    calm = started(host, out / "calm", 6)
    run = host.new(out, 6, fails_at=5)
    run.extend(extensions.snapshot(snapshot_on_error=True), trigger=(3, "iteration"))
    raised(ZeroDivisionError, run.run)
    assert names(out)[-2:] == ["snapshot_iter_3", "snapshot_iter_4"]
    _assert_same(_resumed(host, out, 6, trigger=(3, "iteration")), calm)


def the_two_ways_to_name_the_iteration_are_two_templates(host: Host, out: Path) -> None:
    started(host, out, 2, extensions.snapshot(filename="a_{.updater.iteration}"))
    with logged() as messages:
        run = _resumed(host, out, 1, filename="a_{.iteration}")
    assert run.iteration == 1
    assert any("a_2" in message and "nothing to resume from" in message for message in messages)


def an_object_is_resumed_by_itself(host: Host, out: Path) -> None:
    run = host.new(out, 3)
    run.extend(extensions.snapshot_object(run.model, "model_{.iteration}"))
    run.run()
    again, begun_with = host.new(out, 1, seed=99), []

    def look(given: Any) -> None:
        begun_with.append(flatten(capture(again.model)))

    again.extend(look, trigger=(9, "iteration"), call_before_training=True)
    again.extend(extensions.snapshot_object(again.model, "model_{.iteration}", autoload=True))
    again.run()
    expected = flatten(capture(run.model))
    assert begun_with[0].keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(begun_with[0][name], array)


def an_object_in_the_trainer_is_not_loaded_beside_it(host: Host, out: Path) -> None:
    run = host.new(out, 2)
    run.extend(extensions.snapshot())
    run.extend(extensions.snapshot_object(run.model, "model_{.iteration}"))
    run.run()
    (out / "model_2").unlink()
    for own_first in (True, False):
        again = host.new(out, 2, seed=99)
        both = [
            extensions.snapshot(autoload=True),
            extensions.snapshot_object(again.model, "model_{.iteration}", autoload=True),
        ]
        for extension in both if own_first else reversed(both):
            again.extend(extension)
        with logged() as messages:
            again.run()
        _assert_same(again, run)
        assert any("restored with the trainer" in message for message in messages)


def so_it_is_with_every_part_of_the_trainer(host: Host, out: Path) -> None:
    ended = started(host, out, 2, extensions.snapshot())
    for number in range(len(ended.parts)):
        again = host.new(out, 2, seed=99)
        again.extend(extensions.snapshot_object(again.parts[number], "part_{.iteration}", autoload=True))
        again.extend(extensions.snapshot(autoload=True))
        with logged() as messages:
            again.run()
        assert any("part_{.iteration}: not loaded by itself" in message for message in messages), number
        _assert_same(again, ended)


def an_object_beside_the_trainer_is(host: Host, out: Path) -> None:
    beside = {"x": np.arange(3.0)}
    started(host, out, 2, extensions.snapshot(), extensions.snapshot_object(beside, "beside_{.iteration}"))
    beside["x"][:] = 0
    _resumed(host, out, 2, extensions.snapshot_object(beside, "beside_{.iteration}", autoload=True))
    np.testing.assert_array_equal(beside["x"], np.arange(3.0))


def a_new_extension_is_named_and_does_not_stop_the_run(host: Host, out: Path) -> None:
    calm = started(host, out / "calm", 4)
    started(host, out, 2, extensions.snapshot())
    with logged() as messages:
        run = _resumed(host, out, 4, host.log_report())
    _assert_same(run, calm)
    assert run.host.get_extension("LogReport").log[-1]["iteration"] == 4
    assert any("'LogReport'" in message for message in messages)


def a_new_trigger_does_not_catch_up(host: Host, out: Path) -> None:
    started(host, out, 2, extensions.snapshot())
    again, fired = host.new(out, 6, seed=99), []

    def look(given: Any) -> None:
        fired.append(again.iteration)

    again.extend(look, trigger=(2, "iteration"))
    again.extend(extensions.snapshot(autoload=True))
    again.run()
    assert fired == [4, 6]


def an_extension_that_is_gone_is_named_and_does_not_stop_the_run(host: Host, out: Path) -> None:
    calm = started(host, out / "calm", 4)
    started(host, out, 2, host.log_report(), extensions.snapshot())
    with logged() as messages:
        run = _resumed(host, out, 4)
    _assert_same(run, calm)
    assert any("'LogReport'" in message for message in messages)


def one_that_does_not_fit_changes_nothing(host: Host, out: Path) -> None:
    started(host, out, 2, extensions.snapshot_object({"a": np.zeros(3)}, "o_{.iteration}"))
    target = {"a": np.full(4, 7.0)}
    again = host.new(out, 3)
    again.extend(extensions.snapshot_object(target, "o_{.iteration}", autoload=True))
    assert "'a'" in raised(holdfast.MismatchError, again.run)
    np.testing.assert_array_equal(target["a"], np.full(4, 7.0))


def a_loadfun_is_given_the_host(host: Host, out: Path) -> None:
    loaded = []

    def savefun(path: str, mapping: Any) -> None:
        Path(path).write_text("mine")

    def loadfun(path: str, target: Any) -> None:
        loaded.append((Path(path).name, target))

    started(host, out, 2, extensions.snapshot(savefun, "{.iteration}.txt"))
    run = _resumed(host, out, 1, savefun=savefun, loadfun=loadfun, filename="{.iteration}.txt")
    assert loaded == [("2.txt", run.host)]


def a_run_keeps_its_id(host: Host, out: Path) -> None:
    started(host, out, 1, extensions.snapshot())
    _resumed(host, out, 2)
    first, second = (holdfast.info(out / f"snapshot_iter_{number}") for number in (1, 2))
    assert first.run_id == second.run_id
    assert first.sequence < second.sequence


def an_extension_whose_trigger_has_ended_does_no_harm(host: Host, out: Path) -> None:
    class Ended:
        finished = True

        def __call__(self, given: Any) -> bool:
            return False

    run = host.new(out, 6, fails_at=2)
    run.extend(extensions.snapshot(snapshot_on_error=True), trigger=Ended())
    assert raised(ZeroDivisionError, run.run) == "the loss is gone"
    assert names(out) == ["snapshot_iter_1"]
