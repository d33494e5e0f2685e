from __future__ import annotations

import numpy as np
import pytest
import torch

import holdfast
from holdfast.iterators import BatchIterator
from holdfast.training.extensions.evaluator import Evaluator
from training.fakes import CountingUpdater


class Copied:
    """Gives 1, 2, 3 from where it stands, and cannot be reset."""

    def __init__(self, place=0):
        self.place = place

    def __iter__(self):
        return self

    def __next__(self):
        if self.place == 3:
            raise StopIteration
        self.place += 1
        return self.place


def value(batch):
    return {"value": batch}


def named(evaluator, name="validation"):
    """As a trainer that it is registered in would name it."""
    evaluator.name = name
    return evaluator


class TestResult:
    def test_means_are_reported_under_its_name_and_that_of_the_target(self, make):
        seen = []
        trainer = make(CountingUpdater(2), (4, "iteration"))
        trainer.extend(Evaluator([1.0, 2.0, 6.0], value))
        trainer.extend(lambda trainer: seen.append(dict(trainer.observation)), name="look")
        trainer.run()
        assert [observation.get("validation/main/value") for observation in seen] == [None, 3.0, None, 3.0]
        assert "loss" in seen[1]

    def test_two_evaluators_have_names_of_their_own(self, make):
        trainer = make(CountingUpdater(2), (2, "iteration"), extensions=[Evaluator([1], value), Evaluator([2], value)])
        trainer.extend(Evaluator([3], value), name="test")
        trainer.run()
        keys = ("validation/main/value", "validation_1/main/value", "test/main/value")
        assert [trainer.observation[key] for key in keys] == [1, 2, 3]

    def test_it_can_be_called_by_anybody_and_returns_what_it_reports(self):
        with holdfast.Reporter() as current:
            assert Evaluator([1, 3], value)() == {"main/value": 2}
        assert current.observation == {"main/value": 2}
        assert Evaluator([1, 3], value)() == {"main/value": 2}

    def test_a_function_may_report_by_itself(self):
        def measure(batch):
            holdfast.report({"double": 2 * batch}, measure)
            holdfast.report({"bare": batch})

        assert named(Evaluator([1, 3], measure))() == {"validation/main/double": 4, "bare": 2}

    def test_a_mean_is_over_batches_unless_weights_are_reported(self):
        batches = [np.array([1.0, 1.0, 1.0]), np.array([5.0])]
        evaluator = Evaluator(batches, lambda x: {"plain": x.mean(), "weighted": (x.mean(), len(x))})
        assert evaluator() == {"main/plain": 3.0, "main/weighted": 2.0}

    def test_what_is_no_scalar_is_left_out(self):
        assert Evaluator([1], lambda batch: {"value": 1, "logits": np.zeros(3), "text": "x"})() == {"main/value": 1}

    def test_what_is_returned_and_no_mapping_is_left_alone(self):
        assert Evaluator([1], lambda batch: 3.0)() == {}

    def test_the_reporter_of_the_training_takes_in_nothing_else(self):
        with holdfast.Reporter() as current:
            Evaluator([1, 2], value)()
        assert list(current.observation) == ["main/value"]


class TestArguments:
    @pytest.mark.parametrize(
        ("batch", "arguments"),
        [
            ((1, 2), ((1, 2), {})),
            ({"x": 1, "y": 2}, ((), {"x": 1, "y": 2})),
            ([1, 2], (([1, 2],), {})),
            (3, ((3,), {})),
        ],
    )
    def test_a_tuple_a_dict_and_the_rest(self, batch, arguments):
        seen = []
        Evaluator([batch], lambda *args, **kwargs: seen.append((args, kwargs)))()
        assert seen == [arguments]

    def test_eval_func_takes_the_place_of_the_target(self):
        def target(batch):
            raise AssertionError("the target was called")

        assert Evaluator([2], target, eval_func=value)() == {"main/value": 2}
        assert Evaluator([2], None, eval_func=value)() == {"main/value": 2}

    def test_a_converter_gets_the_batch_and_the_device_as_it_is(self):
        seen = []

        def convert(batch, device):
            seen.append((batch, device))
            return batch + 1

        assert Evaluator([1, 2], value, convert, "somewhere")() == {"main/value": 2.5}
        assert seen == [(1, "somewhere"), (2, "somewhere")]

    def test_without_one_tensors_are_sent_to_the_device(self):
        seen = []
        batch = {"x": torch.zeros(2), "more": [torch.ones(1), "text"]}
        Evaluator([batch], lambda **batch: seen.append(batch), device="meta")()
        assert seen[0]["x"].device.type == seen[0]["more"][0].device.type == "meta"
        assert seen[0]["more"][1] == "text"
        assert batch["x"].device.type == "cpu"

    def test_the_converter_is_a_function_in_any_case(self):
        evaluator = Evaluator([1], value)
        assert evaluator.converter((1, 2), evaluator.device) == (1, 2)
        evaluator.converter = lambda batch, device: 7
        assert evaluator() == {"main/value": 7}

    def test_the_hook_is_called_before_each_evaluation(self):
        calls = []
        evaluator = Evaluator([1, 2], calls.append, eval_hook=calls.append)
        evaluator()
        evaluator()
        assert calls == [evaluator, 1, 2, evaluator, 1, 2]

    def test_iterators_and_targets_may_be_named(self):
        first, second = [1], [2]
        evaluator = Evaluator({"main": first, "more": second}, {"main": value, "other": len})
        assert evaluator.get_iterator("more") is second
        assert evaluator.get_all_iterators() == {"main": first, "more": second}
        assert evaluator.get_target("other") is len
        assert evaluator.get_all_targets() == {"main": value, "other": len}
        with pytest.raises(KeyError, match="no iterator 'third'; the iterators are 'main', 'more'"):
            evaluator.get_iterator("third")
        with pytest.raises(KeyError, match="no target 'third'; the targets are 'main', 'other'"):
            evaluator.get_target("third")
        assert Evaluator(first, value).get_iterator("main") is first
        assert Evaluator(first, value).get_target("main") is value


class TestIterators:
    def test_one_with_reset_is_reset_each_time(self):
        evaluator = Evaluator(BatchIterator(np.arange(6), 4, repeat=False), lambda batch: {"n": len(batch)})
        assert evaluator() == evaluator() == {"main/n": 3}

    def test_one_that_was_used_before_is_gone_through_from_its_start(self):
        iterator = BatchIterator(np.arange(6.0), 4, repeat=False)
        next(iterator)
        assert Evaluator(iterator, lambda batch: {"min": batch.min()})() == {"main/min": 2}

    def test_one_without_is_copied_with_chainers_warning(self):
        iterator = Copied()
        evaluator = Evaluator(iterator, value)
        for _ in range(2):
            with pytest.warns(DeprecationWarning, match="a Copied has no reset"):
                assert evaluator() == {"main/value": 2}
        assert iterator.place == 0

    def test_a_loader_is_begun_anew(self):
        data = torch.utils.data.TensorDataset(torch.arange(5.0))
        loader = torch.utils.data.DataLoader(data, 2)
        evaluator = Evaluator(loader, lambda batch: {"mean": batch[0].mean()})
        assert evaluator() == evaluator() == {"main/mean": pytest.approx((0.5 + 2.5 + 4) / 3)}

    def test_a_generator_is_refused(self):
        with pytest.raises(TypeError, match="'main' is a generator, which can be gone through only once"):
            Evaluator((i for i in range(3)), value)

    def test_one_that_never_ends_is_warned_about(self):
        with pytest.warns(UserWarning, match="'main', a BatchIterator, was made with repeat=True") as caught:
            Evaluator(BatchIterator(np.arange(4), 2), value)
        assert caught[0].filename == __file__

    def test_one_without_a_batch_is_an_error(self):
        with pytest.raises(ValueError, match="'main', a list, gave no batch at all"):
            Evaluator([], value)()
        spent = Evaluator(Copied(3), value)
        with pytest.warns(DeprecationWarning, match="no reset"), pytest.raises(ValueError, match="gave no batch"):
            spent()

    def test_each_is_finalized_whatever_the_others_raise(self):
        class Held(Copied):
            def finalize(self):
                calls.append(self)
                raise OSError("busy")

        calls, first, second = [], Held(), Held()
        with pytest.raises(OSError, match="busy"):
            Evaluator({"main": first, "more": second, "list": []}, value).finalize()
        assert calls == [first, second]


class TestMistakes:
    @pytest.mark.parametrize("option", ["converter", "eval_hook", "eval_func"])
    def test_what_is_no_function_is_refused(self, option):
        with pytest.raises(TypeError, match=f"{option} must be a function or None, not int"):
            Evaluator([1], value, **{option: 3})

    def test_what_gives_no_batches_is_refused(self):
        with pytest.raises(TypeError, match="'main' must give batches, and a int cannot"):
            Evaluator(3, value)

    @pytest.mark.parametrize(
        ("target", "said"),
        [
            (None, "no target"),
            ({"net": value}, "the targets 'net'"),
            ({"main": 3}, "'main', a int, which cannot be called"),
        ],
    )
    def test_nothing_to_call_is_refused(self, target, said):
        with pytest.raises(TypeError, match=said):
            Evaluator([1], target)

    def test_the_main_iterator_must_have_its_name(self):
        with pytest.raises(TypeError, match="must be named 'main'; the iterators are 'valid'"):
            Evaluator({"valid": [1]}, value)

    def test_progress_bar_is_a_keyword(self):
        with pytest.raises(TypeError):
            Evaluator([1], value, None, None, None, None, True)


class TestOverriding:
    def test_a_subclass_may_evaluate_in_its_own_way(self, make):
        class Own(Evaluator):
            def evaluate(self):
                observation = {}
                with holdfast.report_scope(observation):
                    holdfast.report({"best": max(self.get_iterator("valid"))}, self.get_target("net"))
                return {**observation, "bare": 1}

        net = object()
        trainer = make(CountingUpdater(2), (2, "iteration"), extensions=[Own({"valid": [3, 5]}, {"net": net})])
        trainer.get_extension("validation").finalize()
        trainer.run()
        assert trainer.observation["validation/net/best"] == 5
        assert trainer.observation["bare"] == 1
