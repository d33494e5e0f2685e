"""Evaluator with Chainer, for which a small module stands in; the real one is tried in tests/compat."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import holdfast
from holdfast.iterators import BatchIterator
from holdfast.training.extensions.evaluator import Evaluator
from training import fake_chainer


def named(evaluator, name="validation"):
    """As a trainer that it is registered in would name it."""
    evaluator.name = name
    return evaluator


@pytest.fixture
def chainer(monkeypatch):
    modules = fake_chainer.make()
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return modules["chainer"]


class TestChainer:
    @pytest.fixture
    def link(self, chainer):
        class Classifier(fake_chainer.Link):
            def __call__(self, x, y):
                assert not chainer.config.train
                assert not chainer.config.enable_backprop
                loss = chainer.Variable(np.abs(x - y).mean())
                chainer.report({"loss": loss, "weighted": (loss, len(x))}, self)
                chainer.report({"norm": np.float32(x.max())}, self.children["l1"])
                return {"loss": 99}

        return Classifier(l1=fake_chainer.Link())

    def iterator(self):
        return fake_chainer.Iterator([(1, 0), (2, 0), (3, 0), (8, 0)], 3)

    def test_a_link_reports_by_chainers_own_function(self, link, chainer):
        found = named(Evaluator(self.iterator(), link))()
        assert found == {
            "validation/main/loss": 5.0,
            "validation/main/weighted": 3.5,
            "validation/main/l1/norm": 5.5,
        }
        assert chainer.config.train
        assert chainer.config.enable_backprop

    def test_holdfasts_function_takes_variables_too(self, chainer):
        link = fake_chainer.Link()
        evaluator = Evaluator(
            self.iterator(), link, eval_func=lambda x, y: holdfast.report({"loss": chainer.Variable(x.mean())}, link)
        )
        assert evaluator() == {"main/loss": 5.0}

    def test_nothing_is_left_current_there(self, link, chainer):
        Evaluator(self.iterator(), link)()
        chainer.report({"lost": 1})
        with pytest.raises(IndexError), chainer.report_scope({}):
            pass

    def test_chainers_scope_is_the_current_reporters(self, link, chainer):
        class Own(Evaluator):
            def evaluate(self):
                observation = {}
                with chainer.report_scope(observation):
                    self.get_target("main")(np.ones(2), np.zeros(2))
                    holdfast.report({"more": 1}, link)
                found = {name: one for name, one in observation.items() if not isinstance(one, tuple)}
                return {name: float(getattr(one, "array", one)) for name, one in found.items()}

        evaluator = named(Own(self.iterator(), link))
        with chainer.no_backprop_mode():  # this evaluate does not switch it itself
            found = evaluator()
        assert found == {"validation/main/loss": 1, "validation/main/l1/norm": 1, "validation/main/more": 1}

    def test_an_observer_that_nobody_knows_is_an_error(self, chainer):
        with pytest.raises(KeyError, match="not registered"):
            Evaluator(self.iterator(), lambda x, y: chainer.report({"a": 1}, object()))()

    def test_lists_of_examples_are_put_together(self, chainer):
        seen = []
        Evaluator(self.iterator(), lambda x, y: seen.append((x.tolist(), y.tolist())))()
        assert seen == [([1, 2, 3], [0, 0, 0]), ([8], [0])]
        seen.clear()
        link = fake_chainer.Link()
        for data in ([(1, 0), (2, 0)], (np.array([1, 2]), np.array([0, 0]))):
            batches = BatchIterator(data, 2, repeat=False)
            Evaluator(batches, link, eval_func=lambda x, y: seen.append((x.tolist(), y.tolist())))()
        assert seen == [([1, 2], [0, 0])] * 2

    def test_a_device_is_chainers(self, chainer):
        seen = []
        evaluator = Evaluator(self.iterator(), lambda x, y, device: seen.append(device.name), device="@numpy")
        evaluator()
        assert isinstance(evaluator.device, fake_chainer.Device)
        assert seen == ["@numpy"] * 2

    @pytest.mark.parametrize(("xp", "number"), [(np, -1), ("cupy", 3)])
    def test_a_converter_that_knows_numbers_gets_one(self, chainer, monkeypatch, xp, number):
        seen = []
        monkeypatch.setattr(chainer, "get_device", lambda name: fake_chainer.Device(fake_chainer, xp))
        monkeypatch.setattr(fake_chainer.Device, "device", type("Card", (), {"id": 3}), raising=False)
        Evaluator(self.iterator(), len, lambda batch, device: seen.append(device) or batch, 0)()
        assert seen == [number] * 2

    def test_a_converter_of_chainers_gets_the_device_itself(self, chainer):
        class Own(fake_chainer.Converter):
            def __call__(self, batch, device):
                seen.append(device.name)
                return batch

        seen = []
        Evaluator(self.iterator(), len, Own(), 0)()
        assert seen == [0, 0]

    def test_a_device_without_a_number_needs_a_converter_of_chainers(self, chainer, monkeypatch):
        monkeypatch.setattr(chainer, "get_device", lambda name: fake_chainer.Device(name, "chainerx"))
        with pytest.raises(RuntimeError, match=r"decorate it with chainer.dataset.converter\(\)"):
            Evaluator(self.iterator(), len, lambda batch, device: batch, "native")()

    def test_its_iterator_is_reset_and_finalized(self, chainer):
        iterator = self.iterator()
        evaluator = Evaluator(iterator, lambda x, y: {"n": len(x)})
        assert evaluator() == evaluator() == {"main/n": 2}
        evaluator.finalize()
        assert iterator.finalized == 1

    def test_one_that_repeats_is_warned_about(self, chainer):
        with pytest.warns(UserWarning, match="repeat=True"):
            Evaluator(fake_chainer.Iterator([1], 1, repeat=True), len)
