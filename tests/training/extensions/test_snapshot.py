"""What snapshot and snapshot_object write, when, under which name and by whom: what is as in Chainer, and better."""

from __future__ import annotations

import inspect
import os
import stat

import numpy as np
import pytest

import holdfast
from holdfast import keep, serializers, training
from holdfast.training import extensions
from holdfast.training.extensions import snapshot_writers
from training.extensions.runs import Training, names


@pytest.fixture
def out(tmp_path):
    return tmp_path / "result"


def weights_of(path):
    return np.array(holdfast.load(path)["updater"]["weights"])


# the extension itself


@pytest.mark.parametrize("make", [extensions.snapshot, lambda: extensions.snapshot_object({}, "x")])
def test_an_extension_is_due_once_an_epoch_and_has_chainers_attributes(make):
    extension = make()
    assert extension.trigger == (1, "epoch")
    assert extension.priority == -100
    assert extension.default_name == "_Snapshot"
    assert (extension.n_retains, extension.autoload) == (-1, False)
    assert extension.condition() is True
    assert callable(extension.writer)
    assert extension.filename in ("x", "snapshot_iter_{.updater.iteration}")


def test_extensions_are_registered_under_chainers_names(out):
    run = Training(out)
    run.trainer.extend(extensions.snapshot_object({}, "a"))
    run.trainer.extend(extensions.snapshot())
    assert run.trainer.get_extension("_Snapshot_1").filename == "snapshot_iter_{.updater.iteration}"


def test_the_signatures_are_chainers_with_holdfasts_own_keywords_after():
    own = ["num_retain", "keep", "loadfun", "on_failure"]
    chainers = ["condition", "writer", "snapshot_on_error", "n_retains", "autoload"]
    assert list(inspect.signature(extensions.snapshot_object).parameters) == [
        "target",
        "filename",
        "savefun",
        *chainers,
        *own,
    ]
    assert list(inspect.signature(extensions.snapshot).parameters) == ["savefun", "filename", "target", *chainers, *own]


@pytest.mark.parametrize("function", [extensions.snapshot, extensions.snapshot_object])
def test_an_unknown_keyword_is_named_with_the_function_that_was_called(function):
    arguments = () if function is extensions.snapshot else ({}, "x")
    with pytest.raises(TypeError, match=rf"^{function.__name__}\(\).*'every'"):
        function(*arguments, every=3)


def test_a_snapshot_is_taken_between_iterations_whatever_its_priority(out):
    drawn = []

    @training.make_extension(priority=-1000)
    def draws_late(trainer):
        drawn.append(np.random.random())

    np.random.seed(1)
    Training(out, (2, "iteration")).run(extensions.snapshot(), draws_late)
    state = holdfast.load(out / "snapshot_iter_1")
    assert "extensions" not in state or "draws_late" not in state["extensions"]
    Training(out, (2, "iteration")).run(extensions.snapshot(autoload=True), draws_late)
    np.random.seed(1)
    assert drawn == list(np.random.random(2))  # the second run had nothing left to do


# target


def test_a_target_of_its_own_is_what_the_file_holds(out):
    run = Training(out, (2, "iteration"))
    run.run(extensions.snapshot_object(run.weights, "w_{.updater.iteration}"))
    np.testing.assert_array_equal(holdfast.load(out / "w_2"), run.weights)
    snapshot = holdfast.info(out / "w_2")
    assert (snapshot.step, snapshot.epoch, snapshot.role, snapshot.reason) == (2, 0.5, "object", "trigger")


def test_no_target_means_the_trainer_in_both(out):
    run = Training(out, (1, "iteration"))
    run.run(extensions.snapshot_object(None, "whole"), extensions.snapshot())
    assert holdfast.info(out / "whole").role == holdfast.info(out / "snapshot_iter_1").role == "trainer"
    np.testing.assert_array_equal(weights_of(out / "whole"), run.weights)


def test_a_target_that_cannot_be_kept_ends_the_run_with_its_path_and_leaves_nothing(out):
    run = Training(out, (1, "iteration"))
    with pytest.raises(holdfast.CaptureError, match="'a/b'"):
        run.run(extensions.snapshot_object({"a": {"b": object()}}, "x"))
    assert names(out) == []


# filename


@pytest.mark.parametrize(
    ("filename", "name"),
    [
        ("it_{.updater.iteration:06d}", "it_000002"),
        ("{0.updater.epoch}_{0.updater.iteration}", "0_2"),
        ("{{literal}}_{.updater.iteration}", "{literal}_2"),
        (lambda trainer: f"by_hand_{trainer.updater.iteration}", "by_hand_2"),
        ("sub/dir/it_{.updater.iteration}", "sub/dir/it_2"),
    ],
)
def test_a_name_is_made_from_the_trainer(out, filename, name):
    Training(out, (2, "iteration")).run(extensions.snapshot_object({"a": 1}, filename))
    assert name in names(out)
    assert holdfast.load(out / name) == {"a": 1}


def test_a_path_like_filename_is_a_template(out, tmp_path):
    class Template:
        def __fspath__(self):
            return "it_{.updater.iteration}"

    Training(out, (1, "iteration")).run(extensions.snapshot_object({}, Template()))
    assert names(out) == ["it_1"]


@pytest.mark.parametrize("filename", ["/abs", "../up", "a/../b", "", "a//b", "{", "{x}", "{1.updater}", "nul\0"])
def test_a_filename_that_cannot_be_used_is_refused_at_once(filename):
    with pytest.raises(ValueError, match="filename"):
        extensions.snapshot_object({}, filename)


def test_a_filename_of_another_type_is_refused_at_once():
    with pytest.raises(TypeError, match="filename"):
        extensions.snapshot_object({}, 3)


def test_a_function_that_returns_a_name_outside_is_refused_before_anything_is_written(out):
    with pytest.raises(ValueError, match="is no name inside a storage"):
        Training(out, (1, "iteration")).run(extensions.snapshot_object({}, lambda trainer: "../stolen"))
    assert not (out.parent / "stolen").exists()


def test_the_name_is_made_before_the_target_is_serialized(out):
    class Target:
        def serialize(self, serializer):
            raise AssertionError("the name comes first")

    with pytest.raises(AttributeError, match="nothing"):
        Training(out, (1, "iteration")).run(extensions.snapshot_object(Target(), "{.nothing}"))


@pytest.mark.parametrize("option", [{"n_retains": 1}, {"autoload": True}, {"keep": keep.last(1)}])
def test_a_function_as_filename_cannot_be_used_to_find_files_again(option):
    with pytest.raises(ValueError, match="format"):
        extensions.snapshot_object({}, lambda trainer: "x", **option)


def test_a_name_that_ends_in_npz_makes_an_npz_file(out):
    run = Training(out, (2, "iteration"))
    run.run(extensions.snapshot(filename="it_{.updater.iteration}.npz"))
    with np.load(out / "it_2.npz", allow_pickle=False) as file:
        np.testing.assert_array_equal(file["updater/weights"], run.weights)
        assert int(file["updater/iteration"]) == 2


def test_a_fixed_name_is_replaced(out):
    run = Training(out, (3, "iteration"))
    run.run(extensions.snapshot(filename="latest"))
    assert names(out) == ["latest"]
    assert holdfast.verify(out / "latest").step == 3


def test_the_files_mode_follows_the_umask(out):
    before = os.umask(0o027)
    try:
        Training(out, (1, "iteration")).run(extensions.snapshot(), extensions.snapshot(filename="x.npz"))
    finally:
        os.umask(before)
    assert {stat.S_IMODE((out / name).stat().st_mode) for name in names(out)} == {0o640}


# savefun


def test_a_savefun_gets_a_path_and_arrays_in_chainers_layout_that_belong_to_it(out):
    kept = []

    def savefun(path, mapping):
        kept.append(mapping)
        with open(path, "wb") as file:
            np.save(file, mapping["updater/weights"])

    run = Training(out, (2, "iteration"))
    run.run(extensions.snapshot(savefun, "it_{.updater.iteration}.npy"))
    assert names(out) == ["it_1.npy", "it_2.npy"]
    np.testing.assert_array_equal(np.load(out / "it_2.npy"), run.weights)
    assert not np.array_equal(kept[0]["updater/weights"], kept[1]["updater/weights"])  # no view of what trains on
    assert kept[1]["updater/iteration"] == 2


def test_a_savefun_that_writes_another_file_is_refused_with_what_it_left(out):
    with pytest.raises(holdfast.CommitError, match=r"'it_1'.*left 'it_1\.npz'"):
        Training(out, (1, "iteration")).run(
            extensions.snapshot(lambda path, m: np.savez(path, a=1), "it_{.updater.iteration}")
        )
    assert names(out) == []
    assert os.listdir(out) == [".holdfast-lock"]


def test_a_savefun_that_fails_leaves_the_older_file(out):
    def savefun(path, mapping):
        with open(path, "w") as file:
            file.write(str(mapping["updater/iteration"]))
            if mapping["updater/iteration"] == 2:
                raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        Training(out, (3, "iteration")).run(extensions.snapshot(savefun, "fixed"))
    assert (out / "fixed").read_text() == "1"
    assert names(out) == ["fixed"]


@pytest.mark.parametrize("savefun", [serializers.save_npz, holdfast.save])
def test_holdfasts_own_savefuns_need_no_loadfun(out, savefun):
    ended = Training(out, (6, "iteration")).run()
    Training(out, (3, "iteration")).run(extensions.snapshot(savefun, "it_{.updater.iteration}"))
    again = Training(out, (6, "iteration")).run(extensions.snapshot(savefun, "it_{.updater.iteration}", autoload=True))
    np.testing.assert_array_equal(again.weights, ended.weights)


def test_savefun_and_writer_exclude_each_other():
    with pytest.raises(TypeError, match=r"^savefun and writer arguments cannot be specified together\.$"):
        extensions.snapshot(holdfast.save, writer=snapshot_writers.SimpleWriter())


# condition


def test_a_condition_that_does_not_hold_means_that_nothing_happens(out):
    answers = iter([False, True, False])

    class Target:
        def serialize(self, serializer):
            assert answers.__length_hint__() == 1

    Training(out, (3, "iteration")).run(
        extensions.snapshot_object(Target(), "it_{.updater.iteration}", condition=lambda: next(answers))
    )
    assert names(out) == ["it_2"]


@pytest.mark.parametrize("name", ["condition", "writer", "savefun", "loadfun"])
def test_what_is_to_be_called_must_be_callable(name):
    with pytest.raises(TypeError, match=name):
        extensions.snapshot(**{name: 3})


# writer


def test_any_callable_is_a_writer_and_is_finalized_if_it_can_be(out):
    calls = []

    class Writer:
        def __call__(self, filename, outdir, mapping):
            calls.append((filename, outdir, mapping["updater/weights"]))

        def finalize(self):
            calls.append("finalized")

    run = Training(out, (2, "iteration"))
    run.run(extensions.snapshot(writer=Writer()))
    assert [call[:2] for call in calls[:2]] == [("snapshot_iter_1", str(out)), ("snapshot_iter_2", str(out))]
    assert calls[2] == "finalized"
    assert not np.array_equal(calls[0][2], calls[1][2])
    assert not np.shares_memory(calls[1][2], run.weights)


def test_a_plain_function_is_a_writer(out):
    seen = []
    Training(out, (2, "iteration")).run(extensions.snapshot(writer=lambda name, outdir, mapping: seen.append(name)))
    assert seen == ["snapshot_iter_1", "snapshot_iter_2"]


def test_simple_writer_writes_snapshot_files_that_can_be_resumed_from(out):
    ended = Training(out, (6, "iteration")).run()
    Training(out, (3, "iteration")).run(extensions.snapshot(writer=snapshot_writers.SimpleWriter()))
    assert holdfast.verify(out / "snapshot_iter_3").role == "trainer"
    again = Training(out, (6, "iteration"))
    again.run(extensions.snapshot(writer=snapshot_writers.SimpleWriter(), autoload=True))
    np.testing.assert_array_equal(again.weights, ended.weights)


def test_simple_writer_passes_keywords_on_to_its_savefun(out):
    writer = snapshot_writers.SimpleWriter(savefun=serializers.save_npz, compression=False)
    Training(out, (1, "iteration")).run(extensions.snapshot(writer=writer))
    with np.load(out / "snapshot_iter_1", allow_pickle=False) as file:
        assert {one.compress_type for one in file.zip.infolist()} == {0}


def test_a_subclass_of_writer_saves_as_in_chainer_and_runs_the_hooks(out):
    class Loud(snapshot_writers.Writer):
        def __call__(self, filename, outdir, target):
            self.save(filename, outdir, target, serializers.save_npz, compression=False)

    writer, hooks = Loud(), []
    writer._add_cleanup_hook(lambda: hooks.append(names(out)))
    Training(out, (2, "iteration")).run(extensions.snapshot(writer=writer))
    assert hooks == [["snapshot_iter_1"], ["snapshot_iter_1", "snapshot_iter_2"]]
