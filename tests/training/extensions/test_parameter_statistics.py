from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from holdfast import reporter
from holdfast.training import Trainer, make_extension
from holdfast.training.extensions.parameter_statistics import PERCENTILES, ParameterStatistics
from training.fakes import CountingUpdater
from training.serializers import loaded, restored, saved, tree_of


class Parameter:
    """As Chainer's: arrays under `data` and `grad`, which may not be there yet."""

    def __init__(self, data, grad=None):
        self.data = None if data is None else np.asarray(data, np.float32)
        self.grad = None if grad is None else np.asarray(grad, np.float32)


class Link:
    """As Chainer's: parameters by their paths, and a name that its parent gave it."""

    def __init__(self, name=None, **parameters):
        self.name = name
        self.parameters = {
            path: one if isinstance(one, Parameter) else Parameter(one) for path, one in parameters.items()
        }

    def namedparams(self):
        for path, parameter in self.parameters.items():
            yield "/" + path.replace("__", "/"), parameter


class MLP(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.l1 = torch.nn.Linear(3, 4)
        self.l2 = torch.nn.Linear(4, 2, bias=False)


def at(iteration=1):
    updater = SimpleNamespace(iteration=iteration, epoch_detail=float(iteration), previous_epoch_detail=iteration - 1.0)
    return SimpleNamespace(updater=updater, observation={})


def reported(statistics, times=1):
    """What is reported of so many iterations."""
    with reporter.Reporter() as current:
        for iteration in range(1, times + 1):
            statistics(at(iteration))
    return current.observation


def always(links, statistics="default", **options):
    return ParameterStatistics(links, statistics, trigger=(1, "iteration"), **options)


class TestKeys:
    def test_they_are_chainers(self):
        link = Link("mlp", l1__W=Parameter([[1, 2], [3, 6]], [[0, 1], [0, 0]]))
        found = reported(always(link, prefix="net"))
        names = ["mean", "std", "min", "max", "zeros", *[f"percentile/{number}" for number in range(7)]]
        assert list(found) == [f"net/mlp/l1/W/{attr}/{name}" for attr in ("data", "grad") for name in names]
        assert found["net/mlp/l1/W/data/mean"] == 3
        assert found["net/mlp/l1/W/grad/zeros"] == 3

    def test_a_link_without_a_name_is_none_as_with_chainer(self):
        assert set(reported(always(Link(W=[1.0]), {"max": np.max}))) == {"None/W/data/max"}

    def test_a_module_is_called_by_its_class_or_by_its_name(self):
        module = MLP()
        found = reported(always(module, {"max": np.max}))
        assert set(found) == {f"MLP/{path}/data/max" for path in ("l1/weight", "l1/bias", "l2/weight")}
        module.name = "critic"
        assert set(reported(always(module.l2, {"max": np.max}))) == {"Linear/weight/data/max"}
        assert set(reported(always([module], {"max": np.max}))) == {key.replace("MLP", "critic") for key in found}

    def test_names_may_be_given(self):
        found = reported(always({"gen": MLP().l2, "dis": MLP().l2}, {"max": np.max}, prefix="gan"))
        assert set(found) == {"gan/gen/weight/data/max", "gan/dis/weight/data/max"}

    def test_a_subclass_may_make_others(self):
        class Short(ParameterStatistics):
            report_key_template = "{param_name}:{function_name}"
            default_statistics = {"max": np.max}  # noqa: RUF012

        assert reported(Short(Link("a", W=[1, 2]), trigger=(1, "iteration"))) == {"/W:max": 2}

    def test_only_what_is_wanted_is_reported(self):
        link = Link("a", W=Parameter([1], [2]))
        assert reported(always(link, {"max": np.max}, report_params=False)) == {"a/W/grad/max": 2}
        assert reported(always(link, {"max": np.max}, report_grads=False)) == {"a/W/data/max": 1}
        assert reported(always(link, None)) == {}


class TestStatistics:
    @pytest.fixture
    def values(self):
        values = np.random.default_rng(3).normal(size=(7, 5)).astype(np.float32)
        values[2] = 0
        return values

    def of_numpy(self, values):
        percentiles = np.percentile(values, PERCENTILES)
        return {
            **{name: getattr(np, name)(values) for name in ("mean", "std", "min", "max")},
            "zeros": 5,
            **{f"percentile/{number}": value for number, value in enumerate(percentiles)},
        }

    def test_the_default_ones_are_numpys(self, values):
        found = reported(always(Link("a", W=values), report_grads=False))
        assert found == {f"a/W/data/{name}": pytest.approx(value) for name, value in self.of_numpy(values).items()}

    def test_they_are_the_same_for_a_module(self, values):
        module = torch.nn.Linear(5, 7, bias=False)
        module.weight.data.copy_(torch.from_numpy(values))
        module.weight.grad = 2 * module.weight.detach()
        found = reported(always({"a": module}))
        for attr, scale in (("data", 1), ("grad", 2)):
            for name, value in self.of_numpy(scale * values).items():
                assert found[f"a/weight/{attr}/{name}"] == pytest.approx(value)

    def test_they_take_tensors_of_other_devices_too(self, values):
        for name, function in ParameterStatistics.default_statistics.items():
            expected, found = function(values.ravel()), function(torch.from_numpy(values.ravel()))
            np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=1e-6, err_msg=name)

    def test_a_function_gets_all_elements_in_one_dimension(self, values):
        seen = []
        reported(always([Link("a", W=values), torch.nn.Linear(5, 7)], {"n": lambda x: seen.append(x) or 0}))
        assert [(type(one), one.shape) for one in seen] == [
            (np.ndarray, (35,)),
            (np.ndarray, (35,)),
            (np.ndarray, (7,)),
        ]

    def test_low_precision_that_numpy_lacks_comes_as_single(self):
        module = torch.nn.Linear(2, 2, bias=False, dtype=torch.bfloat16)
        seen = []
        reported(always(module, {"n": lambda x: seen.append(x.dtype) or 0}))
        assert seen == [np.float32]

    def test_a_sparse_gradient_counts_with_its_zeros(self):
        table = torch.nn.Embedding(6, 2, sparse=True)
        table(torch.tensor([1])).sum().backward()
        assert reported(always(table, {"zeros": lambda x: (x == 0).sum()}))["Embedding/weight/grad/zeros"] == 10

    @pytest.mark.parametrize(
        "several", [np.array([1.0, 2.0]), [1.0, 2.0], (1.0, 2.0), torch.tensor([[1.0], [2.0]])], ids=repr
    )
    def test_several_numbers_have_a_key_each(self, several):
        found = reported(always(Link("a", W=[0]), {"two": lambda x: several}))
        assert found == {"a/W/data/two/0": 1, "a/W/data/two/1": 2}

    def test_a_single_one_in_an_array_has_no_position(self):
        assert reported(always(Link("a", W=[3]), {"one": lambda x: x})) == {"a/W/data/one": 3}

    def test_one_may_be_registered_later(self):
        statistics = always(Link("a", W=[3, 4]), {})
        statistics.register_statistics("norm", np.linalg.norm)
        assert reported(statistics) == {"a/W/data/norm": 5}

    def test_the_dict_of_the_caller_and_the_default_stay_as_they_are(self):
        mine = {"max": np.max}
        always(Link("a", W=[1]), mine).register_statistics("norm", np.linalg.norm)
        always(Link("a", W=[1])).register_statistics("norm", np.linalg.norm)
        assert set(mine) == {"max"}
        assert "norm" not in ParameterStatistics.default_statistics

    def test_what_is_not_there_is_left_out(self):
        link = Link("a", W=None, empty=np.zeros((0, 3)), b=[1])
        assert set(reported(always(link, {"max": np.max}))) == {"a/b/data/max"}
        lazy = torch.nn.Sequential(torch.nn.LazyLinear(2), torch.nn.Linear(2, 1, bias=False))
        assert set(reported(always(lazy, {"max": np.max}))) == {"Sequential/1/weight/data/max"}


class TestNaN:
    @pytest.fixture(params=["link", "module"])
    def broken(self, request):
        if request.param == "link":
            return Link("a", weight=[1, math.nan, 3])
        module = torch.nn.Linear(3, 1, bias=False)
        module.weight.data.copy_(torch.tensor([1, math.nan, 3]))
        return {"a": module}

    def test_the_functions_see_it(self, broken):
        found = reported(always(broken, {"max": np.nanmax}))
        assert found == {"a/weight/data/max": 3}

    def test_the_default_ones_are_nan_then_without_a_warning(self, broken):
        found = reported(always(broken, report_grads=False))
        assert {name for name, value in found.items() if not math.isnan(value)} == {"a/weight/data/zeros"}

    def test_it_may_stand_for_all_of_them(self, broken):
        def fail(values):
            raise AssertionError("called with NaN")

        found = reported(always(broken, {"max": fail, "percentile": fail}, skip_nan_params=True))
        assert set(found) == {"a/weight/data/max", "a/weight/data/percentile"}
        assert all(math.isnan(value) for value in found.values())

    def test_infinity_is_none(self):
        found = reported(always(Link("a", W=[math.inf, 1]), {"max": np.max}, skip_nan_params=True))
        assert found == {"a/W/data/max": math.inf}


class TestMeans:
    def test_the_mean_of_the_iterations_of_an_interval_is_reported(self):
        link = Link("a", W=[0])
        statistics = ParameterStatistics(link, {"max": np.max}, trigger=(3, "iteration"))
        seen = []
        for iteration in range(1, 8):
            link.parameters["W"].data[:] = iteration
            with reporter.Reporter() as current:
                statistics(at(iteration))
            seen.append(current.observation.get("a/W/data/max"))
        assert seen == [None, None, 2, None, None, 5, None]

    def test_it_is_there_for_extensions_that_read(self, tmp_path):
        trainer = Trainer(CountingUpdater(4), (4, "iteration"), out=tmp_path)
        trainer.extend(ParameterStatistics(Link("a", W=[2]), {"max": np.max}))
        seen = []
        trainer.extend(lambda trainer: seen.append(trainer.observation.get("a/W/data/max")), name="look")
        trainer.run()
        assert seen == [None, None, None, 2]
        assert trainer.get_extension("parameter_statistics").priority == 300


class TestMistakes:
    @pytest.mark.parametrize(
        "links", [3, np.zeros(2), [Link("a"), "b"], {"a": None}], ids=["number", "array", "text", "none"]
    )
    def test_what_has_no_parameters_is_refused(self, links):
        with pytest.raises(TypeError, match="links must be links of Chainer's or modules of PyTorch"):
            ParameterStatistics(links)

    @pytest.mark.parametrize(
        "statistics", ["mean", [np.mean], {"mean": 3}, {1: np.mean}], ids=["text", "list", "number", "key"]
    )
    def test_statistics_that_are_none_are_refused(self, statistics):
        with pytest.raises(TypeError, match="statistic"):
            ParameterStatistics(Link("a"), statistics)

    def test_two_parameters_of_one_key_are_refused_with_the_way_out(self):
        with pytest.raises(ValueError, match="two parameters would be reported as 'None/W'; give the links names"):
            ParameterStatistics([Link(W=[1]), Link(W=[2])])
        ParameterStatistics([Link(W=[1]), Link(b=[2])])

    def test_a_wrong_trigger_is_refused(self):
        with pytest.raises(ValueError, match="unit"):
            ParameterStatistics(Link("a"), trigger=(1, "day"))


class TestResuming:
    class Walk(CountingUpdater):
        """Moves the parameter of a link by the iteration."""

        def __init__(self):
            super().__init__(7)
            self.link = Link("a", W=Parameter(np.zeros(4), np.zeros(4)))

        def update(self):
            self.iteration += 1
            self.link.parameters["W"].data[:] = np.sin(np.arange(4) + self.iteration)
            self.link.parameters["W"].grad[:] = np.cos(np.arange(4) * self.iteration)

    def run(self, out, trigger, iterations=30, resume_from=None):
        found = {}

        @make_extension(priority=50)
        def look(trainer):
            if trainer.observation:
                found[trainer.updater.iteration] = dict(trainer.observation)

        updater = self.Walk()
        trainer = Trainer(updater, (iterations, "iteration"), out=out)
        trainer.extend(ParameterStatistics(updater.link, trigger=trigger))
        trainer.extend(look)
        if resume_from is not None:
            restored(resume_from, trainer)
        trainer.run()
        return found, trainer

    @pytest.mark.parametrize("trigger", [(1, "epoch"), (4, "iteration")])
    def test_every_mean_is_the_same_bit_for_bit_wherever_the_run_was_stopped(self, tmp_path, trigger):
        whole, _ = self.run(tmp_path, trigger)
        assert len(whole) == 30 // (7 if trigger[1] == "epoch" else 4)
        assert len(whole[28]) == 24
        for stop in range(1, 30):
            before, trainer = self.run(tmp_path, trigger, stop)
            after, _ = self.run(tmp_path, trigger, resume_from=tree_of(trainer))
            assert {**before, **after} == whole
            assert not set(before) & set(after)

    def test_the_keys_of_its_state_are_those_of_a_log_report(self):
        statistics = ParameterStatistics(Link("a", W=[1]), {"max": np.max})
        statistics(at(0))
        state = saved(statistics)
        assert set(state) == {
            *["_trigger/previous_iteration", "_trigger/previous_epoch_detail", "_summary/_names"],
            *["_summary/_summaries/0/_x", "_summary/_summaries/0/_x2", "_summary/_summaries/0/_n"],
        }
        assert saved(loaded(state, ParameterStatistics(Link("a", W=[1])))) == state

    def test_from_a_file_without_them_the_means_begin_here(self, tmp_path):
        updater = self.Walk()
        trainer = Trainer(updater, (30, "iteration"), out=tmp_path)
        trainer.extend(lambda trainer: None, name="parameter_statistics")
        updater.iteration = 10
        tree = tree_of(trainer)
        found, _ = self.run(tmp_path, (1, "epoch"), resume_from=tree)
        assert list(found) == [14, 21, 28]
        whole, _ = self.run(tmp_path, (1, "epoch"))
        assert found[21] == whole[21]
        assert found[14] != whole[14]
