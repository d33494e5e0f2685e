from __future__ import annotations

import collections
import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from holdfast.errors import CaptureError
from holdfast.iterators import BatchIterator
from holdfast.training import Trainer
from holdfast.training.extensions import snapshot
from holdfast.training.extensions.fail_on_non_number import FailOnNonNumber
from holdfast.training.updaters import FunctionUpdater
from training.extensions.runs import Training, names
from training.fakes import CountingUpdater


class Link:
    """As Chainer's: parameters by their paths, with an array each, which may not be there yet."""

    def __init__(self, **arrays):
        self.arrays = arrays

    def namedparams(self):
        for path, array in self.arrays.items():
            yield "/" + path.replace("__", "/"), SimpleNamespace(array=array)


class LinkUpdater(CountingUpdater):
    """Has an optimizer of Chainer's, and breaks a parameter of its target in iteration 3."""

    def __init__(self, **arrays):
        super().__init__()
        self.link = Link(**arrays)

    def update(self):
        super().update()
        if self.iteration == 3:
            self.link.arrays["l1__W"][1, 2] = math.inf

    def get_all_optimizers(self):
        return {"main": SimpleNamespace(target=self.link, update=None)}


def at(updater=None, iteration=7):
    updater = updater or SimpleNamespace()
    updater.iteration = iteration
    return SimpleNamespace(updater=updater)


def updating(**targets):
    return FunctionUpdater(BatchIterator(np.arange(4), 2), lambda batch: None, targets=targets)


def error_of(target):
    """What it says of a target; None where it finds nothing."""
    try:
        FailOnNonNumber(target)(at())
    except RuntimeError as error:
        return str(error)
    return None


class TestWhatIsSaid:
    def test_the_array_the_counts_the_first_index_and_the_iteration(self):
        array = np.ones((4, 5), np.float32)
        array[2, 1], array[2, 3], array[3, 0] = math.nan, -math.inf, math.nan
        with pytest.raises(RuntimeError) as raised:
            FailOnNonNumber({"model": {"l1": {"W": array}}})(at(iteration=137))
        assert str(raised.value) == (
            "training has diverged in iteration 137: 'model/l1/W' holds 3 of 20 elements that are no finite numbers (2 "
            "NaN, 1 infinite), the first at [2, 1]; go on from an earlier snapshot with a lower learning rate, or look "
            "for a bad batch"
        )

    def test_an_array_of_no_dimensions_has_no_index(self):
        assert "'a' holds 1 of 1 elements that are no finite numbers (1 NaN, 0 infinite); go on" in error_of(
            {"a": np.array(math.nan)}
        )

    def test_the_others_are_counted_and_a_few_of_them_named(self):
        found = error_of({name: np.full(2, math.nan) for name in "abcdefgh"} | {"z": np.ones(2)})
        assert "'a' holds 2 of 2" in found
        assert "; so do 7 other arrays: 'b', 'c', 'd', 'e', 'f', ...;" in found

    def test_one_bare_array_may_be_the_target(self):
        assert "'the target' holds 1 of 2" in error_of(np.array([1, math.nan]))


class TestTargets:
    @pytest.mark.parametrize(
        "make",
        [
            lambda bad: {"w": np.array([0, bad])},
            lambda bad: {"w": torch.tensor([0, bad])},
            lambda bad: {"w": [np.zeros(2), (torch.zeros(2), np.array([0, bad]))]},
            lambda bad: {"w": np.array([0, bad], np.float16), "n": np.arange(3), "name": "x", "rate": math.nan},
            lambda bad: np.array([0, complex(0, bad)]),
            lambda bad: torch.tensor([0, complex(0, bad)]),
            lambda bad: torch.tensor([0, bad], dtype=torch.bfloat16),
            lambda bad: torch.tensor([0, bad]).to(torch.float8_e5m2),
            lambda bad: collections.OrderedDict(w=np.array([0, bad])),
        ],
    )
    def test_every_kind_of_array_is_looked_at(self, make):
        assert error_of(make(0.0)) is None
        for bad, said in ((math.nan, "(1 NaN, 0 infinite)"), (math.inf, "(0 NaN, 1 infinite)")):
            assert said in error_of(make(bad))
            assert "the first at [1]" in error_of(make(bad))

    def test_arrays_of_jax_and_of_its_own_dtypes(self):
        jax = pytest.importorskip("jax")
        ml_dtypes = pytest.importorskip("ml_dtypes")
        assert error_of({"w": jax.numpy.ones(3), "key": jax.random.key(0)}) is None
        assert "'w' holds 1 of 3" in error_of({"w": jax.numpy.array([1, math.nan, 2])})
        assert "'w' holds 1 of 3" in error_of({"w": np.array([1, math.nan, 2], ml_dtypes.bfloat16)})

    def test_a_module_by_its_parameters_and_not_by_its_buffers(self):
        module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3), torch.nn.LazyLinear(2))
        module.register_buffer("mask", torch.full((3, 3), -math.inf))
        module[1].running_mean[0] = math.nan
        assert error_of(module) is None
        module[0].bias.data[2] = math.nan
        assert (
            "'0.bias' holds 1 of 3 elements that are no finite numbers (1 NaN, 0 infinite), the first at [2]"
            in error_of(module)
        )
        assert "'nets/gen/0.bias' holds 1" in error_of({"nets": {"gen": module}})

    def test_a_link_by_its_parameters(self):
        link = Link(W=np.ones(2), l1__b=None)
        assert error_of(link) is None
        link.arrays["l1__b"] = np.array([math.nan])
        assert "'l1/b' holds 1 of 1" in error_of(link)
        assert "'main/l1/b' holds 1 of 1" in error_of({"main": link})

    def test_an_optimizer_by_its_parameters_and_not_by_its_moments(self):
        parameter = torch.nn.Parameter(torch.ones(2))
        optimizer = torch.optim.SGD([parameter], 0.1, momentum=0.9)
        parameter.sum().backward()
        optimizer.step()
        optimizer.state[parameter]["momentum_buffer"][0] = math.inf
        assert error_of(optimizer) is None
        parameter.data[1] = math.nan
        assert "'optimizer/param_groups/0/params/0' holds 1 of 2" in error_of(optimizer)

    def test_whatever_else_can_be_captured(self):
        class Own:
            def __init__(self):
                self.weights = np.array([1.0, math.nan])

            def serialize(self, serializer):
                serializer("weights", self.weights)
                serializer["rest"]("count", 3)

        @dataclasses.dataclass
        class State:
            step: int
            params: dict

        assert "'weights' holds 1 of 2" in error_of(Own())
        assert "'own/weights' holds 1 of 2" in error_of({"own": Own()})
        assert "'params/w' holds 1 of 1" in error_of(State(3, {"w": np.array([math.nan])}))

    def test_arrays_that_share_memory_in_part_are_both_looked_at(self):
        @dataclasses.dataclass
        class Windows:
            low: np.ndarray
            high: np.ndarray

        memory = np.arange(6.0)
        windows = Windows(memory[:4], memory[2:])
        assert error_of(windows) is None
        memory[5] = math.nan
        assert "'high' holds 1 of 4" in error_of(windows)

    def test_what_cannot_be_looked_into_is_refused_at_once(self):
        with pytest.raises(CaptureError, match="builtin_function_or_method"):
            FailOnNonNumber({"f": len})


class TestOfAnUpdater:
    def test_the_models_of_chainers_optimizers_by_the_names_of_these(self, make, tmp_path):
        trainer = make(LinkUpdater(l1__W=np.zeros((2, 3))), (5, "iteration"), extensions=[FailOnNonNumber()])
        with pytest.raises(RuntimeError, match=r"in iteration 3: 'main/l1/W' holds 1 of 6 .* the first at \[1, 2\]"):
            trainer.run(show_loop_exception_msg=False)

    def test_every_target_by_its_name(self):
        weights = {"w": np.ones(3), "b": np.ones(1)}
        updater = updating(weights=weights, noise=np.random.default_rng(3))
        FailOnNonNumber()(at(updater))
        weights["b"][0] = math.nan
        with pytest.raises(RuntimeError, match="'weights/b' holds 1 of 1"):
            FailOnNonNumber()(at(updater))

    def test_a_parameter_is_called_as_its_model_has_it(self):
        module = torch.nn.Linear(2, 1)
        loose = torch.nn.Parameter(torch.full((1,), math.nan))
        optimizer = torch.optim.SGD([*module.parameters(), loose], 0.1)
        updater = updating(optimizer=optimizer, model=module)
        with pytest.raises(RuntimeError, match="'optimizer/param_groups/0/params/2' holds 1 of 1") as raised:
            FailOnNonNumber()(at(updater))
        assert "other" not in str(raised.value)
        module.weight.data[0, 1] = math.inf
        with pytest.raises(RuntimeError, match=r"'model/weight' holds 1 of 2 .*; so does 1 other array: 'optimizer"):
            FailOnNonNumber()(at(updater))

    def test_gradients_that_are_being_summed_up_may_be_infinite(self):
        class Sums:
            keys_may_differ = True

            def serialize(self, serializer):
                serializer("gradient", np.array([math.inf]))

        model = torch.nn.Linear(1, 1)
        scheduler = torch.optim.lr_scheduler.StepLR(torch.optim.SGD(model.parameters(), 0.1), 3)
        updater = updating(model=model, sums=Sums(), scheduler=scheduler)
        FailOnNonNumber()(at(updater))
        model.bias.data[0] = math.nan
        with pytest.raises(RuntimeError, match="'model/bias'"):
            FailOnNonNumber()(at(updater))

    def test_one_with_nothing_to_look_at_is_refused_before_the_run(self, make):
        trainer = make(extensions=[FailOnNonNumber()])
        with pytest.raises(
            ValueError, match=r"CountingUpdater, has no targets and no optimizers; .*FailOnNonNumber\(model"
        ):
            trainer.run()
        assert trainer.updater.iteration == 0

    def test_a_given_target_is_enough(self, make):
        array = np.zeros(2)

        def spoil(trainer):
            if trainer.updater.iteration == 2:
                array[0] = math.nan

        trainer = make(stop=(5, "iteration"))
        trainer.extend(spoil, priority=300)
        trainer.extend(FailOnNonNumber({"loss": array}))
        with pytest.raises(RuntimeError, match="iteration 2: 'loss' holds 1 of 2"):
            trainer.run(show_loop_exception_msg=False)


class TestInATraining:
    def test_it_looks_in_every_iteration_by_default(self):
        entry = Trainer(LinkUpdater(l1__W=np.zeros((2, 3))), extensions=[FailOnNonNumber()]).entries()[0]
        assert (entry.name, entry.priority, str(entry.trigger)) == (
            "FailOnNonNumber",
            100,
            "IntervalTrigger(1, 'iteration')",
        )

    def test_no_snapshot_is_taken_of_what_has_diverged(self, tmp_path):
        training = Training(tmp_path)

        def spoil(trainer):
            if trainer.updater.iteration == 5:
                training.weights[3] = math.nan

        training.trainer.extend(spoil, priority=300, trigger=(1, "iteration"))
        with pytest.raises(RuntimeError, match=r"'weights' holds 1 of 4 .* the first at \[3\]"):
            training.run(snapshot(), FailOnNonNumber())
        assert names(tmp_path) == [f"snapshot_iter_{iteration}" for iteration in (1, 2, 3, 4)]
        assert training.updater.iteration == 5

    def test_it_changes_nothing(self, tmp_path):
        plain, watched = Training(tmp_path / "a").run(), Training(tmp_path / "b").run(FailOnNonNumber())
        assert plain.weights.tobytes() == watched.weights.tobytes()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_parameters_on_a_gpu():
    module = torch.nn.Linear(3, 2, device="cuda", dtype=torch.bfloat16)
    assert error_of({"model": module, "host": torch.zeros(2)}) is None
    module.weight.data[1, 2] = math.nan
    assert (
        "'model/weight' holds 1 of 6 elements that are no finite numbers (1 NaN, 0 infinite), the first at [1, 2]"
        in error_of({"model": module, "host": torch.zeros(2)})
    )
