"""Cases of taking snapshots; each is run in every host. `host` is a Host of adapters.py, `out` a folder to be made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

import holdfast
from compat.hosts.adapters import Host, logged, raised, started
from holdfast import keep, serializers, writers
from holdfast.training import extensions
from training.extensions.runs import names


def every_snapshot_has_its_name_and_its_facts(host: Host, out: Path) -> None:
    started(host, out, 3, extensions.snapshot())
    assert names(out) == ["snapshot_iter_1", "snapshot_iter_2", "snapshot_iter_3"]
    found = holdfast.verify(out / "snapshot_iter_3")
    assert (found.role, found.step, found.epoch, found.reason) == ("trainer", 3, 0.75, "trigger")


def the_extension_is_known_by_chainers_name_and_priority(host: Host, out: Path) -> None:
    extension = extensions.snapshot()
    run = host.new(out, 1)
    run.host.extend(extension)
    assert run.host.get_extension("_Snapshot") is extension
    assert (extension.name, extension.priority) == ("_Snapshot", -100)
    assert run.host._extensions["_Snapshot"].priority == -100


def left_to_itself_it_is_due_once_an_epoch(host: Host, out: Path) -> None:
    run = host.new(out, 8)
    run.host.extend(extensions.snapshot())
    run.run()
    assert names(out) == ["snapshot_iter_4", "snapshot_iter_8"]


def both_ways_to_name_the_iteration_resolve(host: Host, out: Path) -> None:
    templates = [
        "a_{.updater.iteration:03d}",
        "b_{.iteration}",
        "c_{0.updater.epoch}_{0.epoch_detail}",
        "d/{.iteration}",
    ]
    started(host, out, 4, *[extensions.snapshot_object({"x": 1}, one, n_retains=1) for one in templates])
    assert names(out) == ["a_004", "b_4", "c_1_1.0", "d/4"]


def a_field_that_the_host_lacks_is_an_error_that_names_it(host: Host, out: Path) -> None:
    run = host.new(out, 1)
    run.extend(extensions.snapshot_object({}, "x_{.nothing}"))
    assert "nothing" in raised(AttributeError, run.run)
    assert names(out) == []


def a_function_that_makes_names_is_given_the_host(host: Host, out: Path) -> None:
    seen = []

    def name(given: Any) -> str:
        seen.append(given)
        return "by_hand"

    run = started(host, out, 1, extensions.snapshot_object({"x": 1}, name))
    assert names(out) == ["by_hand"]
    assert seen == [run.host]


def a_snapshot_of_an_object_holds_that_object(host: Host, out: Path) -> None:
    run = host.new(out, 2)
    run.extend(extensions.snapshot_object(run.model, "model_{.iteration}"))
    run.run()
    assert names(out) == ["model_1", "model_2"]
    assert holdfast.info(out / "model_2").role == "object"
    before = run.weights()
    holdfast.restore(out / "model_1", run.model)
    assert not np.array_equal(run.weights(), before)
    holdfast.restore(out / "model_2", run.model)
    np.testing.assert_array_equal(run.weights(), before)


def the_newest_are_retained_and_nothing_else_is_touched(host: Host, out: Path) -> None:
    out.mkdir()
    (out / "snapshot_iter_best").write_text("mine")
    started(
        host, out, 11, extensions.snapshot(n_retains=2), extensions.snapshot(filename="z_{.iteration}.npz", n_retains=1)
    )
    assert names(out) == ["snapshot_iter_10", "snapshot_iter_11", "snapshot_iter_best", "z_11.npz"]


def a_policy_reads_what_was_observed(host: Host, out: Path) -> None:
    values = iter([3.0, 1.0, 2.0, 4.0])

    def measure(given: Any) -> None:
        given.observation["error"] = next(values)

    policy = keep.best(1, "error", mode="min") | keep.last(1)
    started(host, out, 4, measure, extensions.snapshot(keep=policy))
    assert names(out) == ["snapshot_iter_2", "snapshot_iter_4"]
    assert holdfast.info(out / "snapshot_iter_2").metrics["error"] == 1


def the_loss_that_the_host_reports_is_among_the_metrics(host: Host, out: Path) -> None:
    started(host, out, 1, extensions.snapshot())
    metrics = holdfast.info(out / "snapshot_iter_1").metrics
    assert {name.rpartition("/")[2] for name in metrics} == {"loss"}
    assert all(np.isfinite(value) for value in metrics.values())


def a_condition_decides(host: Host, out: Path) -> None:
    answers = iter([False, True, False])
    started(host, out, 3, extensions.snapshot(condition=lambda: next(answers)))
    assert names(out) == ["snapshot_iter_2"]


def every_writer_of_holdfasts_writes_and_is_finalized(host: Host, out: Path) -> None:
    kinds = ["SimpleWriter", "ThreadWriter", "ProcessWriter", "ThreadQueueWriter", "ProcessQueueWriter"]
    run = host.new(out, 3)
    for kind in kinds:
        run.extend(
            extensions.snapshot(filename=kind + "_{.updater.iteration}", writer=getattr(writers, kind)(), n_retains=1)
        )
    run.run()
    assert names(out) == sorted(f"{kind}_3" for kind in kinds)
    for kind in kinds:
        assert holdfast.verify(out / f"{kind}_3").step == 3


def a_callable_is_a_writer_with_arrays_of_its_own(host: Host, out: Path) -> None:
    calls: list[Any] = []

    class Writer:
        def __call__(self, filename: str, outdir: str, mapping: Any) -> None:
            calls.append((filename, outdir, mapping))

        def finalize(self) -> None:
            calls.append("finalized")

    started(host, out, 2, extensions.snapshot(writer=Writer()))
    assert [call[:2] for call in calls[:2]] == [(f"snapshot_iter_{number}", str(out)) for number in (1, 2)]
    assert calls[2:] == ["finalized"]
    first, second = calls[0][2], calls[1][2]  # views of what is trained would be the same by now
    assert any(name in first and not np.array_equal(first[name], second[name]) for name in second)


def a_savefun_gets_a_path_and_a_mapping_in_every_host(host: Host, out: Path) -> None:
    def savefun(path: str, mapping: Any) -> None:
        with open(path, "w") as file:
            json.dump(sorted(mapping), file)

    run = host.new(out, 1)
    run.extend(extensions.snapshot(savefun, "{.iteration}.json"))
    run.extend(extensions.snapshot(serializers.save_npz, "{.iteration}.npz"))
    run.run()
    with np.load(out / "1.npz", allow_pickle=True) as file:
        assert json.loads((out / "1.json").read_text()) == sorted(file.files)


def a_failing_update_leaves_a_snapshot_that_says_so(host: Host, out: Path) -> None:
    run = host.new(out, 6, fails_at=3)
    run.extend(extensions.snapshot(snapshot_on_error=True, condition=lambda: False))
    assert raised(ZeroDivisionError, run.run) == "the loss is gone"
    assert names(out) == ["snapshot_iter_2"]
    assert holdfast.verify(out / "snapshot_iter_2").reason == "error"


def a_failing_extension_leaves_one_too(host: Host, out: Path) -> None:
    def fails(given: Any) -> None:
        raise ZeroDivisionError("an extension has failed")

    run = host.new(out, 6)
    run.extend(fails, trigger=(2, "iteration"))
    run.extend(extensions.snapshot(snapshot_on_error=True), trigger=(5, "iteration"))
    assert raised(ZeroDivisionError, run.run) == "an extension has failed"
    assert names(out) == ["snapshot_iter_2"]
    assert holdfast.verify(out / "snapshot_iter_2").reason == "error"


def a_snapshot_on_an_error_stands_beside_a_good_one(host: Host, out: Path) -> None:
    run = host.new(out, 6, fails_at=3)
    run.extend(extensions.snapshot(snapshot_on_error=True))
    run.extend(extensions.snapshot(filename="{.iteration}.npz", snapshot_on_error=True))
    raised(ZeroDivisionError, run.run)
    assert names(out) == [
        "1.npz",
        "2.npz",
        "2.npz.error",
        "snapshot_iter_1",
        "snapshot_iter_2",
        "snapshot_iter_2.error",
    ]


def a_snapshot_on_an_error_that_fails_does_not_hide_the_error(host: Host, out: Path) -> None:
    run = host.new(out, 6, fails_at=2)
    run.extend(extensions.snapshot_object({"x": object()}, "x", snapshot_on_error=True), trigger=(5, "iteration"))
    with logged() as messages:
        assert raised(ZeroDivisionError, run.run) == "the loss is gone"
    assert any("snapshot of the failed run was not taken" in message for message in messages)


def no_snapshot_on_an_error_is_taken_unasked(host: Host, out: Path) -> None:
    run = host.new(out, 6, fails_at=2)
    run.extend(extensions.snapshot(), trigger=(5, "iteration"))
    raised(ZeroDivisionError, run.run)
    assert names(out) == []


def a_failure_to_write_ends_the_run_or_costs_that_snapshot(host: Host, out: Path) -> None:
    def full(path: str, mapping: Any) -> None:
        raise OSError(28, "No space left on device")

    run = host.new(out, 3)
    run.extend(extensions.snapshot(full, "a_{.iteration}"))
    assert "No space left" in raised(OSError, run.run)
    assert run.iteration == 1
    with logged() as messages:
        run = started(host, out / "warn", 3, extensions.snapshot(full, "a_{.iteration}", on_failure="warn"))
    assert run.iteration == 3
    assert sum("No space left" in message for message in messages) == 3


def with_warn_a_failure_in_the_background_costs_that_snapshot_and_a_mistake_ends_the_run(host: Host, out: Path) -> None:
    def full(path: str, mapping: Any) -> None:
        if path.endswith(("2", "4")):  # in the middle, and as the last
            raise OSError(28, "No space left on device")
        with open(path, "w"):
            pass

    writer = writers.ThreadWriter(full)
    with logged() as messages:
        run = started(host, out, 4, extensions.snapshot(filename="a_{.iteration}", writer=writer, on_failure="warn"))
    assert run.iteration == 4
    assert names(out) == ["a_1", "a_3"]
    told = [message for message in messages if "training goes on" in message]
    assert [sum(name in message for message in told) for name in ("a_2", "a_4")] == [1, 1]
    assert all("No space left" in message and " are free in " in message for message in told)

    def mistaken(path: str, mapping: Any) -> None:
        raise TypeError("this is no path")

    run = host.new(out, 3)
    run.extend(extensions.snapshot(mistaken, "b_{.iteration}", on_failure="warn"))
    assert raised(TypeError, run.run) == "this is no path"


def the_folder_is_locked_while_the_run_writes_and_free_afterwards(host: Host, out: Path) -> None:
    taken = []

    def ask(given: Any = None) -> None:
        program = "import sys\nfrom holdfast import lock\nlock.acquire(sys.argv[1])"
        ended = subprocess.run([sys.executable, "-c", program, str(out)], capture_output=True, text=True, check=False)
        taken.append("StoreLockedError" not in ended.stderr)
        assert ended.returncode == 0 or not taken[-1], ended.stderr

    started(host, out, 1, ask, extensions.snapshot())
    ask()
    assert taken == [False, True]


def an_extension_is_finalized_with_or_without_the_host(host: Host, out: Path) -> None:
    finalized = []

    class Writer:
        def __call__(self, filename: str, outdir: str, mapping: Any) -> None: ...

        def finalize(self) -> None:
            finalized.append(self)

    extension = extensions.snapshot(writer=Writer())
    run = started(host, out, 1, extension)
    extension.finalize()
    extension.finalize(run.host)
    assert len(finalized) == 3


def the_umask_is_obeyed(host: Host, out: Path) -> None:
    before = os.umask(0o027)
    try:
        started(host, out, 1, extensions.snapshot())
    finally:
        os.umask(before)
    assert (out / "snapshot_iter_1").stat().st_mode & 0o777 == 0o640


def it_has_one_state_in_both_protocols(host: Host, out: Path) -> None:
    extension = extensions.snapshot()
    started(host, out, 1, extension)
    saved: dict[str, Any] = {}
    extension.serialize(serializers.DictionarySerializer(saved))
    assert extension.state_dict() == saved == {}
    extension.load_state_dict(extension.state_dict())
