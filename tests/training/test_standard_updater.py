"""StandardUpdater with objects that have the methods of Chainer's. The real ones are tried in tests/compat."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from holdfast.iterators import BatchIterator
from holdfast.training import Trainer
from holdfast.training.updaters.standard_updater import StandardUpdater
from training.chainers_parts import Link, Momentum, as_it_is, batches_of, new_optimizer, new_updater
from training.serializers import saved


@pytest.fixture
def chainer(monkeypatch):
    """What the updater uses of the module chainer."""

    class Converter:
        def __call__(self, batch, device):
            return (self.given(device),)

    class Device:
        def __init__(self, name):
            self.name, self.xp = name, {"cpu": np, "gpu": cupy, "chainerx": None}[name]
            self.device = SimpleNamespace(id=3)

    cupy = SimpleNamespace()
    module = ModuleType("chainer")
    module.get_device, module.backend = Device, SimpleNamespace(Device=Device)
    module.dataset = SimpleNamespace(Converter=Converter, concat_examples=lambda batch, device=None: np.array(batch))
    module.backends = SimpleNamespace(cuda=SimpleNamespace(cupy=cupy))
    monkeypatch.setitem(sys.modules, "chainer", module)
    return module


@pytest.fixture
def no_chainer(monkeypatch):
    monkeypatch.setitem(sys.modules, "chainer", None)


class TestConstruction:
    def test_the_arguments_are_chainers_in_their_order(self, chainer):
        batches, optimizer = batches_of(), new_optimizer()
        updater = StandardUpdater(batches, optimizer, as_it_is, "cpu", max, 8.0, False, input_device="gpu")
        assert updater.get_iterator("main") is batches
        assert updater.get_optimizer("main") is optimizer
        assert (updater.converter, updater.loss_func, updater.loss_scale) == (as_it_is, max, 8.0)
        assert (updater.device.name, updater.input_device.name) == ("cpu", "gpu")
        assert (updater.auto_new_epoch, updater.iteration) == (False, 0)
        with pytest.raises(TypeError, match="output_device"):
            StandardUpdater(batches, optimizer, output_device=0)

    def test_no_device_leaves_the_model_where_it_is(self, no_chainer):
        updater = new_updater()
        assert updater.device is updater.input_device is None
        assert updater.get_optimizer("main").target.device is None

    def test_a_device_is_where_every_model_and_the_input_go(self, chainer):
        optimizers = {"gen": new_optimizer(), "dis": new_optimizer()}
        updater = StandardUpdater(batches_of(), optimizers, device="gpu")
        assert updater.input_device is updater.device
        assert [one.target.device for one in optimizers.values()] == [updater.device] * 2

    def test_an_input_device_alone_leaves_the_model_where_it_is(self, chainer):
        updater = new_updater(input_device="gpu")
        assert updater.device is None
        assert updater.get_optimizer("main").target.device is None

    def test_every_optimizer_is_told_of_the_loss_scale_and_the_epochs(self):
        optimizers = {"gen": new_optimizer(), "dis": new_optimizer()}
        StandardUpdater(batches_of(), optimizers, loss_scale=128.0)
        assert [(one.loss_scale, one.use_auto_new_epoch) for one in optimizers.values()] == [(128.0, True)] * 2

    def test_an_optimizer_that_is_to_be_left_alone_is_told_nothing(self):
        updater = new_updater(auto_new_epoch=False)
        optimizer = updater.get_optimizer("main")
        assert optimizer.loss_scale is None
        assert not optimizer.use_auto_new_epoch

    @pytest.mark.parametrize("iterator", [[1, 2], {"main": batches_of(), "other": [1, 2]}])
    def test_what_gives_no_batches_is_refused(self, iterator):
        with pytest.raises(TypeError, match=r"is a list, which gives no next batch; want chainer.iterators.Serial"):
            StandardUpdater(iterator, new_optimizer())

    def test_an_iterator_that_cannot_save_its_place_is_refused(self):
        with pytest.raises(TypeError, match="'main': a list_iterator cannot save its place"):
            StandardUpdater(iter([1, 2]), new_optimizer())

    def test_an_optimizer_without_a_model_is_refused_with_the_way_out(self):
        with pytest.raises(TypeError, match=r"'gen', a SimpleNamespace, has no `target`.*TorchUpdater"):
            StandardUpdater(batches_of(), {"gen": SimpleNamespace(param_groups=[])})

    def test_names_are_str_as_they_are_keys(self):
        with pytest.raises(TypeError, match="the name of an optimizer must be a str, not 0"):
            StandardUpdater(batches_of(), {0: new_optimizer()})

    @pytest.mark.parametrize("argument", ["converter", "loss_func"])
    def test_what_cannot_be_called_is_refused(self, argument):
        with pytest.raises(TypeError, match=f"{argument} must be a function or None, not int"):
            StandardUpdater(batches_of(), new_optimizer(), **{argument: 3})

    @pytest.mark.parametrize("argument", ["device", "input_device"])
    def test_a_device_without_chainer_says_what_is_missing(self, no_chainer, argument):
        with pytest.raises(ModuleNotFoundError, match=f"{argument} is a matter of Chainer's here, and chainer is not"):
            StandardUpdater(batches_of(), new_optimizer(), **{argument: 0})


class TestConverter:
    def test_the_default_is_chainers(self, chainer):
        updater = StandardUpdater(BatchIterator([1, 2, 3], 2), new_optimizer(), loss_func=lambda array: None)
        updater.get_optimizer("main").target.gradients = {}
        assert updater.converter is chainer.dataset.concat_examples
        updater.update()
        [(_, [array], _)] = updater.get_optimizer("main").calls
        np.testing.assert_array_equal(array, [1, 2])

    def test_the_default_without_chainer_says_what_to_pass(self, no_chainer):
        updater = StandardUpdater(batches_of(), new_optimizer())
        with pytest.raises(ModuleNotFoundError, match="chainer is not installed; install it, or pass converter="):
            updater.update()
        assert updater.iteration == 0

    def test_it_can_be_set(self, no_chainer):
        updater = StandardUpdater(batches_of(), new_optimizer())
        updater.converter = as_it_is
        updater.update()
        assert updater.converter is as_it_is

    @pytest.mark.parametrize(("device", "number"), [(None, None), ("cpu", -1), ("gpu", 3)])
    def test_a_function_is_given_the_device_as_a_number(self, chainer, device, number):
        given = []
        updater = new_updater(input_device=device)
        updater.converter = lambda batch, device: given.append(device) or batch
        updater.update()
        assert given == [number]

    def test_one_of_chainers_class_is_given_the_device(self, chainer):
        given = []
        updater = new_updater(input_device="chainerx", loss_func=lambda array: None)
        updater.converter = chainer.dataset.Converter()
        updater.converter.given = given.append
        updater.update()
        assert given == [updater.input_device]

    def test_a_function_cannot_be_told_of_a_device_without_a_number(self, chainer):
        updater = new_updater(input_device="chainerx")
        with pytest.raises(RuntimeError, match=r"knows devices by their number.*chainer.dataset.converter"):
            updater.update()


class TestUpdate:
    @pytest.mark.parametrize(
        ("arrays", "args", "kwargs"),
        [((1, 2), (1, 2), {}), ({"x": 1, "y": 2}, (), {"x": 1, "y": 2}), ([1, 2], ([1, 2],), {})],
    )
    def test_what_the_converter_made_becomes_the_arguments_of_the_loss(self, arrays, args, kwargs):
        def loss_func(*args, **kwargs):
            return None

        optimizer = new_optimizer()
        StandardUpdater(batches_of(), optimizer, lambda batch, device: arrays, loss_func=loss_func).update()
        assert optimizer.calls == [(loss_func, args, kwargs)]

    def test_the_loss_is_the_target_where_no_other_is_given(self):
        class Empty(Link):
            def __len__(self):
                return 0  # a ChainList without links, say, is a function all the same

        other = Empty()
        for loss_func in (None, other):
            updater = new_updater(loss_func=loss_func)
            optimizer = updater.get_optimizer("main")
            updater.update()
            assert optimizer.calls[0][0] is (loss_func if loss_func is not None else optimizer.target)

    def test_iterations_and_epochs_are_counted(self):
        updater = new_updater()
        for _ in range(4):
            updater.update()
        assert (updater.iteration, updater.epoch, updater.is_new_epoch) == (4, 1, True)
        assert (updater.epoch_detail, updater.previous_epoch_detail) == (1 + 2 / 14, 12 / 14)
        assert updater.get_optimizer("main").epoch == 1

    def test_new_epochs_are_the_users_where_he_says_so(self):
        updater = new_updater(auto_new_epoch=False)
        for _ in range(4):
            updater.update()
        assert updater.get_optimizer("main").epoch == 0

    def test_a_failing_update_does_not_count(self):
        updater = new_updater(loss_func=lambda x, y: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            updater.update()
        assert updater.iteration == 0

    def test_an_iterator_with_next_alone_will_do_and_so_will_one_with_dunder_next(self):
        class Old:
            is_new_epoch = False

            def next(self):
                return 1

            def serialize(self, serializer):
                pass

        class New:
            is_new_epoch = False
            __next__, serialize = Old.next, Old.serialize

        for iterator in (Old(), New()):
            optimizer = new_optimizer()
            StandardUpdater(iterator, optimizer, as_it_is, loss_func=lambda one: None).update()
            assert optimizer.calls[0][1] == (1,)

    def test_the_model_reports_under_main(self, tmp_path):
        trainer = Trainer(new_updater(), (1, "iteration"), out=tmp_path)
        trainer.run()
        assert list(trainer.observation) == ["main/loss"]

    def test_an_optimizer_without_a_target_says_what_to_call(self):
        updater = StandardUpdater(batches_of(), Momentum(), as_it_is)
        with pytest.raises(ValueError, match=r"'main' has no target yet: call its setup\(model\) first"):
            updater.update()
        with pytest.raises(ValueError, match="has no target yet"):
            saved(updater)


class TestParts:
    def test_each_is_found_by_its_name(self):
        optimizers = {"gen": new_optimizer(), "dis": new_optimizer()}
        iterators = {"main": batches_of(), "B": batches_of()}
        updater = StandardUpdater(iterators, optimizers, as_it_is)
        assert updater.get_iterator("B") is iterators["B"]
        assert updater.get_optimizer("dis") is optimizers["dis"]
        assert updater.get_all_optimizers() == optimizers
        with pytest.raises(KeyError, match="there is no optimizer 'main'; the optimizers are 'gen', 'dis'"):
            updater.get_optimizer("main")
        with pytest.raises(KeyError, match="there is no iterator 'A'; the iterators are 'main', 'B'"):
            updater.get_iterator("A")

    def test_without_a_main_iterator_epochs_are_nobodys(self):
        updater = StandardUpdater({"A": batches_of()}, new_optimizer(), as_it_is)
        assert not hasattr(updater, "epoch_detail")
        with pytest.raises(AttributeError, match=r"StandardUpdater.epoch is what.*the iterators are 'A'"):
            _ = updater.epoch

    def test_an_iterator_that_counts_no_epochs_says_what_to_do(self):
        class Endless:
            serialize = next = __next__ = lambda self, *_: 0

        updater = StandardUpdater(Endless(), new_optimizer())
        with pytest.raises(AttributeError, match="a Endless, has no is_new_epoch: use triggers that count iterations"):
            _ = updater.is_new_epoch

    def test_every_iterator_is_finalized_whatever_the_others_raise(self):
        closed = []
        iterators = {name: batches_of() for name in ("main", "B", "C")}
        iterators["main"].finalize = lambda: closed.append("main")
        iterators["B"].finalize = lambda: closed.append("B") or 1 / 0
        iterators["C"].finalize = lambda: closed.append("C")
        with pytest.raises(ZeroDivisionError):
            StandardUpdater(iterators, new_optimizer()).finalize()
        assert closed == ["main", "B", "C"]
