from __future__ import annotations

import types

import numpy as np
import pytest

from holdfast.training.extensions.variable_statistics import Reservoir, Statistician, part_of, variables_of
from training.serializers import loaded, saved

PERCENTILES = (0, 0.13, 2.28, 15.87, 50, 84.13, 97.72, 99.87, 100)


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


class TestReservoir:
    def test_it_holds_everything_until_it_is_full_sorted_by_index(self):
        reservoir = Reservoir(4, (2,))
        for x, idx in ((3, 30), (1, 10), (2, 20)):
            reservoir.add([x, -x], idx)
        idxs, data = reservoir.get_data()
        assert idxs.tolist() == [10, 20, 30]
        assert data.tolist() == [[1, -1], [2, -2], [3, -3]]

    def test_an_index_is_the_count_by_default_and_may_be_zero(self):
        reservoir = Reservoir(3, ())
        for idx in (None, None, 0):
            reservoir.add(1.0, idx)
        assert reservoir.get_data()[0].tolist() == [0, 0, 1]

    def test_an_item_stays_with_its_index(self):
        reservoir = Reservoir(10, ())
        for i in range(500):
            reservoir.add(2 * i, i)
        idxs, data = reservoir.get_data()
        assert len(set(idxs)) == 10
        assert (data == 2 * idxs).all()

    def test_every_item_has_the_same_chance(self):
        reservoir = Reservoir(500, ())
        for i in range(10_000):
            reservoir.add(i, i)
        idxs, _ = reservoir.get_data()
        counts = np.histogram(idxs, bins=10, range=(0, 10_000))[0]
        assert counts.sum() == 500
        assert ((counts > 20) & (counts < 85)).all()  # 50 each; beyond 5 standard deviations

    def test_it_leaves_numpys_global_generator_alone(self):
        before = np.random.get_state(legacy=False)["state"]
        reservoir = Reservoir(2, ())
        for i in range(20):
            reservoir.add(i)
        after = np.random.get_state(legacy=False)["state"]
        assert before["pos"] == after["pos"]
        assert (before["key"] == after["key"]).all()

    def test_one_that_is_saved_and_restored_goes_on_as_the_same(self):
        whole, state = Reservoir(3, (2,)), {}
        for i in range(30):
            for item in (loaded(state, Reservoir(3, (2,))) if state else Reservoir(3, (2,)), whole):
                item.add([i, i], i)
                state = saved(item)
        assert [part.tolist() for part in item.get_data()] == [part.tolist() for part in whole.get_data()]


class TestStatistician:
    def test_all_elements_of_all_arrays_are_taken_together(self):
        parts = [np.array([[1.0, 2.0], [3.0, 4.0]]), np.array(10.0)]
        statistician = Statistician(True, True, (0, 50, 100))
        assert statistician.columns == ["mean", "std", "0", "50", "100"]
        wanted = [4.0, np.std([1, 2, 3, 4, 10]), 1.0, 3.0, 10.0]
        assert statistician(parts) == pytest.approx(np.array(wanted, np.float32))

    @pytest.mark.parametrize(
        ("options", "wanted"),
        [
            ((True, False, ()), [2.5]),
            ((False, True, ()), [np.sqrt(1.25)]),
            ((False, False, (25, 99.87)), [1.75, 3.9961]),
        ],
    )
    def test_only_what_is_wanted_is_found(self, options, wanted):
        assert Statistician(*options)([np.arange(1.0, 5.0)]) == pytest.approx(np.array(wanted, np.float32))

    @pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32", "uint8", "bool"])
    def test_numbers_of_any_kind_are_taken(self, dtype):
        values = np.array([0, 1, 1, 1], dtype)
        assert Statistician(True, True, (50,))([values]) == pytest.approx([0.75, np.sqrt(0.1875), 1.0])

    def test_half_precision_does_not_overflow(self):
        assert Statistician(True, True, ())([np.full(10, 60_000, np.float16)]).tolist() == [60_000, 0]

    def test_no_elements_and_nan_make_nan(self):
        statistician = Statistician(True, True, (0, 50))
        assert np.isnan(statistician([])).all()
        assert np.isnan(statistician([np.zeros((0, 3))])).all()
        assert np.isnan(statistician([np.array([1.0, np.nan])])).all()

    def test_infinite_values_warn_nobody(self):
        found = Statistician(True, True, (0, 50, 100))([np.array([1.0, np.inf, 2.0])])
        assert found[0] == np.inf
        assert np.isnan(found[1])
        assert found[2:].tolist() == [1.0, 2.0, np.inf]

    def test_complex_numbers_are_refused(self):
        with pytest.raises(TypeError, match=r"no percentiles of complex numbers \(complex64\)"):
            Statistician(True, True, (50,))([np.zeros(3, np.complex64)])

    def test_tensors_give_what_arrays_give(self, torch):
        values = np.random.default_rng(0).normal(size=(17, 5)).astype(np.float32)
        statistician = Statistician(True, True, PERCENTILES)
        tensors = [torch.tensor(values[:9], requires_grad=True), torch.tensor(values[9:])]
        assert statistician(tensors).tolist() == statistician([values]).tolist()

    @pytest.mark.parametrize("given", ["finite", "nan", "inf", "one"])
    def test_a_tensor_that_stays_on_its_device_gives_the_same(self, torch, given):
        values = np.random.default_rng(0).normal(size=1 if given == "one" else 1001).astype(np.float32)
        if given in ("nan", "inf"):
            values[[3, 700]] = float(given)
        statistician = Statistician(True, True, PERCENTILES)
        found, wanted = statistician._of_tensor(torch.tensor(values)), statistician([values])
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)

    def test_more_than_16_million_elements_on_a_device_are_no_matter(self, torch):
        found = Statistician(True, False, (50, 100))._of_tensor(torch.ones(16_777_300))
        assert found.tolist() == [1.0, 1.0, 1.0]

    def test_half_precision_sparse_and_complex_tensors(self, torch):
        statistician = Statistician(True, False, (50,))
        assert statistician([torch.tensor([1.0, 2.0], dtype=torch.bfloat16)]).tolist() == [1.5, 1.5]
        assert statistician([torch.tensor([0.0, 4.0]).to_sparse()]).tolist() == [2.0, 2.0]
        with pytest.raises(TypeError, match=r"complex numbers \(torch.complex64\)"):
            statistician([torch.zeros(2, dtype=torch.complex64)])

    def test_arrays_and_tensors_may_be_mixed(self, torch):
        assert Statistician(True, False, ())([np.array([1.0]), torch.tensor([3.0])]).tolist() == [2.0]


class TestVariables:
    def test_those_of_a_module_are_its_parameters(self, torch):
        module = torch.nn.Linear(2, 3)
        wanted = [*module.parameters(), module.bias]
        assert list(map(id, variables_of([module, [module.bias]]))) == list(map(id, wanted))

    def test_those_of_a_link_are_its_params(self):
        params = [types.SimpleNamespace(data=np.ones(2), grad=None) for _ in range(2)]
        assert variables_of(types.SimpleNamespace(params=lambda: iter(params))) == params

    def test_arrays_and_variables_are_themselves(self):
        array, variable = np.zeros(2), types.SimpleNamespace(data=np.ones(2), grad=np.ones(2))
        found = variables_of((array, [variable]))
        assert found[0] is array
        assert found[1] is variable

    @pytest.mark.parametrize("wrong", [None, "model", {"w": 1}, [3.0]])
    def test_anything_else_is_refused(self, wrong):
        with pytest.raises(TypeError, match="targets must be variables, links, modules, tensors or numpy arrays"):
            variables_of(wrong)

    def test_data_and_gradients_are_found_wherever_there_are_some(self, torch):
        array = np.zeros(2)
        assert part_of(array, "data") is array
        assert part_of(array, "grad") is None
        weight = torch.ones(2, requires_grad=True)
        assert part_of(weight, "grad") is None
        inner = weight * 2
        inner.sum().backward()
        assert part_of(weight, "grad").tolist() == [2.0, 2.0]
        assert part_of(inner, "grad") is None
        assert part_of(torch.nn.LazyLinear(3).weight, "data") is None
        variable = types.SimpleNamespace(data=None, grad=None)
        assert part_of(variable, "data") is None
