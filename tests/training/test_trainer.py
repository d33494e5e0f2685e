from __future__ import annotations

import pytest

import holdfast.training
from holdfast import reporter
from holdfast.training import Extension, Trainer, make_extension, triggers
from training.fakes import CountingUpdater, Recorder, Resuming, nothing
from training.serializers import loaded, saved


class TestNames:
    def test_an_extension_is_named_by_argument_name_default_name_or_the_name_of_the_function(self, make):
        class Plain(Extension):
            pass

        class Named(Extension):
            name = "its own"

        def function(trainer):
            pass

        trainer = make()
        for extension, name in ((Plain(), "argument"), (Named(), None), (Plain(), None), (function, None)):
            trainer.extend(extension, name)
        for name in ("argument", "its own", "Plain", "function"):
            assert trainer.get_extension(name).name == name

    def test_a_name_that_is_taken_gets_a_number(self, make):
        trainer = make(extensions=[Extension(), Extension(), Extension()])
        found = [trainer.get_extension(name) for name in ("Extension", "Extension_1", "Extension_2")]
        assert [extension.name for extension in found] == ["Extension", "Extension_1", "Extension_2"]

    def test_an_extension_without_any_name_is_refused(self, make):
        class Nameless:
            def __call__(self, trainer):
                pass

        with pytest.raises(TypeError, match="extend\\(extension, name="):
            make().extend(Nameless())

    def test_the_name_training_is_refused(self, make):
        with pytest.raises(ValueError, match="training"):
            make().extend(nothing, name="training")

    def test_what_cannot_be_told_its_name_is_registered_all_the_same(self, make, journal):
        trainer = make()
        trainer.extend(Recorder("r", journal).initialize, name="method")
        trainer.run()
        assert journal == ["r.initialize"] * 3

    def test_what_cannot_be_called_is_refused(self, make):
        with pytest.raises(TypeError, match="a str cannot be called"):
            make().extend("LogReport")

    def test_asking_for_an_unknown_name_says_which_there_are(self, make):
        trainer = make(extensions=[nothing])
        with pytest.raises(ValueError, match="extension LogReport not found; registered: nothing"):
            trainer.get_extension("LogReport")


class TestTriggersAndOrder:
    @pytest.mark.parametrize(
        ("own", "given", "called"),
        [
            ("none", None, [1, 2, 3, 4]),
            ((2, "iteration"), None, [2, 4]),
            ((2, "iteration"), (3, "iteration"), [3]),
            (None, None, []),
            ("none", triggers.every(steps=4), [4]),
        ],
    )
    def test_the_trigger_is_the_argument_or_the_extensions_own_or_every_iteration(self, make, own, given, called):
        seen = []

        def extension(trainer):
            seen.append(trainer.updater.iteration)

        if own != "none":
            extension.trigger = own
        trainer = make(stop=(4, "iteration"))
        trainer.extend(extension, trigger=given)
        trainer.run()
        assert seen == called

    def test_higher_priorities_are_called_earlier_and_equal_ones_as_they_were_registered(self, make, journal):
        trainer = make(stop=(1, "iteration"))
        for label, priority in (("low", 1), ("first", 5), ("second", 5)):
            trainer.extend(Recorder(label, journal, priority=priority))
        trainer.extend(Recorder("high", journal, priority=1), priority=9)
        trainer.run()
        assert [line for line in journal if "call" in line] == ["high.call", "first.call", "second.call", "low.call"]

    def test_snapshots_come_after_everything_else_whatever_their_priority(self, make, journal):
        def noting(label, fires):
            def trigger(trainer):
                journal.append(f"{label}?")
                return fires

            return trigger

        trainer = make(stop=lambda trainer: journal.append("stop?") or trainer.updater.iteration == 1)
        trainer.extend(Recorder("snapshot", journal, is_snapshot=True, priority=900), trigger=noting("snapshot", True))
        trainer.extend(Recorder("other", journal, is_snapshot=True), trigger=noting("other", True))
        trainer.extend(Recorder("reader", journal, priority=-500), trigger=noting("reader", True))
        trainer.extend(Recorder("idle", journal, priority=-900), trigger=noting("idle", False))
        trainer.run()
        loop = [line for line in journal if not line.endswith(("initialize", "finalize"))]
        assert loop == [
            "stop?",
            *["reader?", "reader.call", "idle?", "snapshot?", "other?", "stop?", "snapshot.call", "other.call"],
        ]

    def test_each_iteration_has_a_fresh_observation_and_extensions_report_into_it(self, make):
        seen = []

        @make_extension(trigger=(2, "iteration"), priority=holdfast.training.PRIORITY_WRITER)
        def validate(trainer):
            reporter.report({"accuracy": trainer.updater.iteration})

        trainer = make(extensions=[lambda trainer: seen.append(dict(trainer.observation)), validate])
        trainer.run()
        assert seen == [{"loss": 1 / 3}, {"loss": 1 / 6, "accuracy": 2}, {"loss": 1 / 9}]

    def test_the_snapshot_of_the_whole_trainer_is_the_last(self, make, journal):
        trainer = make(stop=(1, "iteration"))
        trainer.extend(Resuming("whole", journal, is_snapshot=True, resume_last=True, priority=900))
        trainer.extend(Resuming("part", journal, is_snapshot=True))
        trainer.run()
        assert [line for line in journal if "call" in line] == ["part.call", "whole.call"]


class TestHooks:
    def test_hooks_are_called_in_this_order(self, make, journal):
        class Updater(CountingUpdater):
            def update(self):
                journal.append("update")
                super().update()

            def finalize(self):
                journal.append("updater.finalize")

        class Generators(Resuming):
            def resume(self, trainer):
                super().resume(trainer)
                trainer.before_first_update(lambda: journal.append("before the first update"))

        trainer = make(Updater(), stop=(2, "iteration"))
        trainer.extend(Generators("whole", journal, resume_last=True, is_snapshot=True), trigger=(2, "iteration"))
        trainer.extend(Recorder("low", journal, priority=1), trigger=(2, "iteration"), call_before_training=True)
        trainer.extend(Resuming("part", journal, priority=7), trigger=None)
        trainer.extend(Resuming("last", journal, resume_last=True, priority=900), trigger=(9, "iteration"))
        trainer.run()
        assert journal == [
            *["part.resume", "whole.resume", "last.resume"],
            *["last.initialize", "whole.initialize", "part.initialize", "low.initialize"],
            *["low.call", "before the first update"],
            *["update", "part.call", "update", "part.call", "low.call", "whole.call"],
            *["last.finalize", "whole.finalize", "part.finalize", "low.finalize", "updater.finalize"],
        ]

    def test_a_run_that_goes_on_calls_nothing_before_training(self, make, journal):
        updater = CountingUpdater()
        updater.iteration = 2
        trainer = make(updater)
        trainer.extend(Recorder("r", journal), call_before_training=True)
        trainer.run()
        assert journal == ["r.initialize", "r.call", "r.finalize"]

    def test_no_update_left_to_do_means_nothing_before_the_first_update(self, make):
        updater = CountingUpdater()
        updater.iteration = 3
        trainer = make(updater)
        trainer.before_first_update(lambda: pytest.fail("there is no first update"))
        trainer.run()
        assert updater.iteration == 3

    def test_a_callback_that_comes_after_the_first_update_is_refused(self, make):
        trainer = make(extensions=[lambda trainer: trainer.before_first_update(print)])
        with pytest.raises(RuntimeError, match="the first update has begun"):
            trainer.run(show_loop_exception_msg=False)

    def test_hooks_that_are_missing_or_none_are_none(self, make):
        calls = []

        @make_extension()
        def decorated(trainer):
            calls.append("decorated")

        trainer = make(stop=(1, "iteration"), extensions=[decorated, nothing, lambda trainer: calls.append("lambda")])
        assert decorated.initialize is None
        trainer.run()
        assert calls == ["decorated", "lambda"]

    def test_an_extension_that_has_hooks_only_need_not_be_callable_by_itself(self, make):
        class Hooks(Extension):
            begun = False

            def initialize(self, trainer):
                self.begun = True

        hooks = Hooks()
        make(extensions=[hooks]).run()
        assert hooks.begun

    def test_what_will_never_be_triggered_again_is_not_initialized(self, make, journal):
        def over(trainer):
            return False

        over.finished = True
        trainer = make()
        trainer.extend(Recorder("r", journal), trigger=over)
        trainer.run()
        assert journal == ["r.finalize"]


class TestRun:
    def test_the_folder_is_made_with_its_parents(self, tmp_path):
        Trainer(CountingUpdater(), (1, "iteration"), out=str(tmp_path / "a" / "b")).run()
        assert (tmp_path / "a" / "b").is_dir()

    def test_a_folder_that_cannot_be_made_stops_the_run_before_it_begins(self, tmp_path):
        (tmp_path / "file").write_text("")
        trainer = Trainer(CountingUpdater(), (1, "iteration"), out=tmp_path / "file")
        with pytest.raises(FileExistsError):
            trainer.run()
        assert trainer.updater.iteration == 0

    def test_it_runs_once(self, make):
        trainer = make()
        trainer.run()
        with pytest.raises(RuntimeError, match="multiple times"):
            trainer.run()

    def test_extending_a_trainer_that_was_run_is_refused(self, make):
        trainer = make()
        trainer.run()
        with pytest.raises(RuntimeError, match="extend the trainer before run"):
            trainer.extend(nothing)

    def test_a_stop_trigger_may_be_any_callable(self, make):
        trainer = make(stop=lambda trainer: trainer.updater.iteration >= 5)
        trainer.run()
        assert trainer.updater.iteration == 5

    @pytest.mark.parametrize("stop", [(3, "iteration"), (0.3, "epoch"), triggers.every(steps=3) | (9, "epoch")])
    def test_resuming_past_the_stop_trigger_stops_at_once(self, make, stop):
        updater = CountingUpdater()
        updater.iteration = 7
        trainer = make(updater, stop)
        loaded({**saved(trainer), "stop_trigger/previous_iteration": 7}, trainer)
        trainer.run()
        assert updater.iteration == 7

    def test_a_run_that_ended_goes_on_when_it_is_resumed_with_a_longer_one(self, make):
        short = make()
        short.run()
        longer = loaded(saved(short), make(stop=(5, "iteration")))
        longer.run()
        assert longer.updater.iteration == 5

    def test_the_stop_trigger_sees_what_was_observed(self, make):
        trainer = make(stop=lambda trainer: trainer.observation.get("loss", 1) < 0.1)
        trainer.run()
        assert trainer.updater.iteration == 4

    def test_models_of_chainers_optimizers_and_the_links_in_them_are_observers(self, make):
        class Link:
            def __init__(self, *parts):
                self.parts = parts

            def namedlinks(self, skipself=False):
                assert skipself
                return [(f"/{name}", part) for name, part in self.parts]

        class Optimizer:
            target = Link(("l1", Link()))

        class WithOptimizer(CountingUpdater):
            def get_all_optimizers(self):
                return {"main": Optimizer()}

            def update(self):
                super().update()
                reporter.report({"loss": 1}, Optimizer.target)
                reporter.report({"norm": 2}, Optimizer.target.parts[0][1])

        trainer = make(WithOptimizer(), stop=(1, "iteration"))
        trainer.run()
        assert trainer.observation == {"loss": 1 / 3, "main/loss": 1, "main/l1/norm": 2}
