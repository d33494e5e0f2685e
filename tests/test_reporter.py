from __future__ import annotations

import math
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import holdfast.reporter
from holdfast.reporter import DictSummary, Reporter, Summary, detach, get_current_reporter, report, report_scope
from training.serializers import loaded, restored, saved, tree_of


class TestReporter:
    def test_values_go_into_the_observation_of_the_scope(self):
        reporter, observation = Reporter(), {}
        with reporter.scope(observation):
            reporter.report({"x": 1})
        reporter.report({"y": 2})
        assert observation == {"x": 1}
        assert reporter.observation == {"y": 2}

    def test_the_name_of_an_observer_stands_before_the_values(self):
        reporter, observer = Reporter(), object()
        reporter.add_observer("main", observer)
        reporter.report({"loss": 1}, observer)
        assert reporter.observation == {"main/loss": 1}

    def test_several_observers_get_a_prefix(self):
        reporter, parts = Reporter(), [[], []]
        reporter.add_observers("main", [("/l1", parts[0]), ("/l2", parts[1])])
        reporter.report({"norm": 1}, parts[0])
        reporter.report({"norm": 2}, parts[1])
        assert reporter.observation == {"main/l1/norm": 1, "main/l2/norm": 2}

    def test_an_observer_that_is_not_registered_is_an_error_that_says_which_are(self):
        reporter = Reporter()
        reporter.add_observer("main", [])
        with pytest.raises(KeyError, match=r"of type list is not registered .*'main'"):
            reporter.report({"loss": 1}, [])

    def test_an_error_inside_a_scope_ends_it(self):
        reporter, before = Reporter(), {}
        reporter.observation = before
        with pytest.raises(ZeroDivisionError), reporter.scope({}):
            _ = 1 / 0
        assert reporter.observation is before
        with pytest.raises(RuntimeError, match="no reporter is current"):
            get_current_reporter()


class TestCurrentReporter:
    def test_report_without_one_does_nothing(self):
        report({"loss": 1}, object())

    def test_report_goes_to_the_innermost(self):
        outer, inner = Reporter(), Reporter()
        with outer:
            with inner:
                assert get_current_reporter() is inner
                report({"a": 1})
            report({"b": 2})
        assert (outer.observation, inner.observation) == ({"b": 2}, {"a": 1})

    def test_report_scope_changes_the_observation_of_the_current_one(self):
        observation = {}
        with Reporter() as reporter:
            with report_scope(observation):
                report({"a": 1})
            report({"b": 2})
        assert observation == {"a": 1}
        assert reporter.observation == {"b": 2}

    def test_report_scope_without_one_is_an_error(self):
        with pytest.raises(RuntimeError, match="no reporter is current"), report_scope({}):
            pass

    def test_another_thread_has_its_own(self):
        found = []

        def look():
            with pytest.raises(RuntimeError, match="no reporter is current"):
                get_current_reporter()
            found.append(True)

        with Reporter():
            thread = threading.Thread(target=look)
            thread.start()
            thread.join()
        assert found == [True]


class TestDetaching:
    def test_a_reported_tensor_holds_no_graph(self):
        torch = pytest.importorskip("torch")
        weight = torch.ones(3, requires_grad=True)
        loss = (weight * 2).sum()
        reporter = Reporter()
        reporter.report({"loss": loss, "parts": [(loss, 1)], "named": {"loss": loss}})
        observation = reporter.observation
        for found in (observation["loss"], observation["parts"][0][0], observation["named"]["loss"]):
            assert found == 6
            assert not found.requires_grad

    def test_other_values_stay_the_same_objects(self):
        values = [object(), [1], np.zeros(3)]
        assert all(detach(value) is value or detach(value) == value for value in values)

    def test_nothing_is_cut_where_torch_is_not_loaded(self, monkeypatch):
        monkeypatch.delitem(holdfast.reporter.sys.modules, "torch", raising=False)
        value = [1]
        assert detach(value) is value


class TestSummary:
    def test_mean_and_deviation(self):
        summary = Summary()
        for value in (1.0, np.float32(2.0), np.array(6)):
            summary.add(value)
        assert summary.compute_mean() == 3.0
        assert summary.make_statistics() == (3.0, pytest.approx(math.sqrt(14 / 3)))

    def test_weights(self):
        summary = Summary()
        summary.add(1.0, weight=3)
        summary.add(5.0)
        assert summary.compute_mean() == 2.0
        assert summary.make_statistics() == (2.0, pytest.approx(math.sqrt(3.0)))

    def test_before_anything_was_added_there_is_no_mean(self):
        mean, deviation = Summary().make_statistics()
        assert math.isnan(mean)
        assert math.isnan(deviation)

    @settings(deadline=None)
    @given(value=st.floats(-1e9, 1e9), count=st.integers(1, 50))
    def test_equal_values_deviate_by_a_number_however_they_are_rounded(self, value, count):
        summary = Summary()
        for _ in range(count):
            summary.add(value)
        assert summary.make_statistics()[1] >= 0

    def test_the_keys_are_chainers(self):
        summary = Summary()
        summary.add(2.0)
        assert saved(summary) == {"_x": 2.0, "_x2": 4.0, "_n": 1.0}

    def test_one_of_chainers_own_files_can_be_read(self):
        stored = {"_x": np.float32(6.0), "_x2": np.float32(14.0), "_n": np.int64(3)}
        assert all(np.can_cast(value, np.float64, "safe") for value in stored.values())
        assert loaded(stored, Summary()).compute_mean() == 2.0

    def test_chainer_can_read_it_which_wants_a_sum_of_weights_that_is_an_int(self):
        summary = Summary()
        summary.add(2.0, weight=3.0)
        state = saved(summary)
        assert {name: type(value) for name, value in state.items()} == {"_x": float, "_x2": float, "_n": int}
        assert saved(loaded(state, Summary())) == state

    def test_weights_that_are_no_ints_are_kept(self):
        summary = Summary()
        summary.add(2.0, weight=0.5)
        assert saved(loaded(saved(summary), Summary()))["_n"] == 0.5

    def test_a_file_without_the_keys_warns_and_changes_nothing(self):
        summary = Summary()
        summary.add(2.0)
        with pytest.warns(UserWarning, match="The previous statistics are not saved"):
            loaded({"_x": 5.0}, summary)
        assert summary.compute_mean() == 2.0


class TestDictSummary:
    def test_real_scalars_are_summarised_and_all_else_is_passed_over(self):
        torch = pytest.importorskip("torch")
        summary = DictSummary()
        others = {"text": "no", "vector": np.ones(3), "none": None, "complex": 1j, "matrix": torch.ones(2, 2)}
        zero_dimensional = {"c": np.array(1j), "t": np.array("text"), "ct": torch.tensor(1j), "triple": (1, 2, 3)}
        summary.add({"a": 1, "b": np.float16(0.5), "c0": np.array(3), "d": torch.tensor(4.0), "e": True})
        summary.add({**others, **zero_dimensional, "a": 2})
        assert summary.compute_mean() == {"a": 1.5, "b": 0.5, "c0": 3.0, "d": 4.0, "e": 1.0}

    def test_a_jax_scalar_is_one(self):
        jax = pytest.importorskip("jax")
        summary = DictSummary()
        summary.add({"loss": jax.numpy.float32(0.5)})
        assert summary.compute_mean() == {"loss": 0.5}

    def test_a_tensor_with_a_graph_is_read(self):
        torch = pytest.importorskip("torch")
        summary = DictSummary()
        summary.add({"loss": torch.ones((), requires_grad=True) * 2})
        assert summary.compute_mean() == {"loss": 2.0}

    def test_pairs_have_a_weight(self):
        summary = DictSummary()
        summary.add({"a": (1.0, 3)})
        summary.add({"a": 5.0})
        assert summary.compute_mean() == {"a": 2.0}
        with pytest.raises(ValueError, match="weight given to 'a' is no scalar but a str"):
            summary.add({"a": (1.0, "heavy")})

    def test_statistics_have_two_names_for_each(self):
        summary = DictSummary()
        for value in (1.0, 3.0):
            summary.add({"a": value})
        assert summary.make_statistics() == {"a": 2.0, "a.std": 1.0}

    @settings(deadline=None)
    @given(st.lists(st.dictionaries(st.sampled_from(["a", "b/c", "é"]), st.floats(allow_nan=False)), max_size=8))
    def test_it_comes_back_bit_for_bit_in_the_same_order(self, observations):
        summary = DictSummary()
        for observation in observations:
            summary.add(observation)
        for other in (loaded(saved(summary), DictSummary()), restored_with_keys(summary)):
            assert str(other.make_statistics()) == str(summary.make_statistics())
            assert str(saved(other)) == str(saved(summary))

    def test_what_was_in_it_is_gone_when_it_is_restored(self):
        summary, other = DictSummary(), DictSummary()
        summary.add({"a": 1.0})
        other.add({"b": 2.0, "a": 5.0})
        assert loaded(saved(summary), other).compute_mean() == {"a": 1.0}

    def test_a_file_without_names_warns_and_leaves_it_empty(self):
        summary = DictSummary()
        summary.add({"a": 1.0})
        with pytest.warns(UserWarning, match="The names of statistics are not saved"):
            loaded({}, summary)
        assert summary.compute_mean() == {}


class Holder:
    """The part of a trainer in which a summary stands; its keys may differ, as those of extensions may."""

    keys_may_differ = True

    def __init__(self, summary):
        self.summary = summary

    def serialize(self, serializer):
        self.summary.serialize(serializer["summary"])


def restored_with_keys(summary):
    """A new summary, through holdfast's own capture and restore."""
    return restored(tree_of(Holder(summary)), Holder(DictSummary())).summary
