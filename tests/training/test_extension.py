from __future__ import annotations

import pytest

from holdfast import training
from holdfast.state.flat import flatten
from holdfast.training import Extension, make_extension
from training.fakes import CountingUpdater
from training.serializers import saved, tree_of


def test_the_priorities_are_chainers():
    assert (training.PRIORITY_WRITER, training.PRIORITY_EDITOR, training.PRIORITY_READER) == (300, 200, 100)


class TestExtension:
    def test_a_subclass_that_says_nothing_is_called_in_each_iteration_as_a_reader_under_the_name_of_its_class(self):
        class Mine(Extension):
            pass

        mine = Mine()
        assert (mine.trigger, mine.priority, mine.name, mine.default_name) == ((1, "iteration"), 100, None, "Mine")
        assert (mine.is_snapshot, mine.resume_last) == (False, False)

    def test_hooks_that_are_not_overridden_do_nothing(self, tmp_path):
        trainer = training.Trainer(CountingUpdater(), (1, "iteration"), out=tmp_path, extensions=[Extension()])
        trainer.run()
        assert Extension().on_error(trainer, ValueError(), None) is None

    def test_one_without_a_state_takes_no_place_in_a_snapshot(self, tmp_path):
        trainer = training.Trainer(CountingUpdater(), out=tmp_path, extensions=[Extension()])
        assert not any(key.startswith("extensions/") for key in saved(trainer))
        assert not any(key.startswith("extensions/") for key in flatten(tree_of(trainer)))

    def test_default_name_can_be_replaced_by_a_class_attribute(self):
        class Mine(Extension):
            default_name = "theirs"

        assert Mine().default_name == "theirs"


class TestMakeExtension:
    def test_everything_left_out_has_the_default_of_the_class(self):
        @make_extension()
        def function(trainer):
            pass

        assert (function.trigger, function.priority, function.default_name) == ((1, "iteration"), 100, "function")
        assert (function.finalize, function.initialize, function.on_error) == (None, None, None)

    def test_the_function_gets_what_is_given_and_stays_itself(self):
        def function(trainer):
            return "called"

        def begin(trainer):
            pass

        def end():
            pass

        def fail(trainer, exc, tb):
            pass

        made = make_extension((5, "epoch"), "name", 7, end, begin, fail)(function)
        assert made is function
        assert (made.trigger, made.default_name, made.priority) == ((5, "epoch"), "name", 7)
        assert (made.finalize, made.initialize, made.on_error) == (end, begin, fail)
        assert made(None) == "called"

    def test_an_unknown_argument_is_named(self):
        with pytest.raises(TypeError, match="invoke_before_training"):
            make_extension(invoke_before_training=True)
