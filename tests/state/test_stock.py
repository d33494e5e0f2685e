"""Modules and optimizers of torch's own are loaded without copies of what they had; whoever changes a method is not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from holdfast import files
from holdfast.errors import MismatchError
from holdfast.state import stock
from holdfast.state.capture import capture
from holdfast.state.restore import restore
from state.nets import net, step, trained
from state.same import refused, state_of


class WithExtra(torch.nn.Linear):
    def get_extra_state(self):
        return {"seen": getattr(self, "seen", 0)}

    def set_extra_state(self, state):
        self.seen = state["seen"]


class WithSetExtra(torch.nn.Linear):
    def set_extra_state(self, state):
        self.seen = state


class WithLoad(torch.nn.Linear):
    def load_state_dict(self, state, *arguments, **named):
        self.loaded = True
        return super().load_state_dict(state, *arguments, **named)


class WithPartialLoad(torch.nn.Linear):
    def _load_from_state_dict(self, *arguments):
        self.loaded = True
        super()._load_from_state_dict(*arguments)


class WithState(torch.nn.Linear):
    def state_dict(self, *arguments, **named):
        state = super().state_dict(*arguments, **named)
        return type(state)((key, value.clone()) for key, value in state.items())


class WithSave(torch.nn.Linear):
    def _save_to_state_dict(self, destination, prefix, keep_vars):
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "more"] = torch.ones(1)


def hooked(register: str) -> torch.nn.Module:
    module = torch.nn.Linear(2, 2)
    getattr(module, register)(lambda *arguments: None)
    return module


def patched(name: str) -> torch.nn.Module:
    module = torch.nn.Linear(2, 2)
    setattr(module, name, lambda *arguments, **named: None)
    return module


def shared() -> torch.nn.Module:
    module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    module[1].weight = module[0].weight
    return module


STOCK = {
    "nested": lambda: net(0),
    "tied": shared,
    "batch norm": lambda: torch.nn.BatchNorm2d(3),
    "lstm": lambda: torch.nn.LSTM(2, 2),
    "attention": lambda: torch.nn.MultiheadAttention(2, 1),
    "parametrized": lambda: torch.nn.utils.parametrizations.orthogonal(torch.nn.Linear(2, 2)),
    "user's own": lambda: type("Own", (torch.nn.Linear,), {})(2, 2),
    "dict": lambda: torch.nn.ModuleDict({"a": torch.nn.ParameterList([torch.ones(2)])}),
}
OTHERS = {
    "extra state": lambda: WithExtra(2, 2),
    "setting extra state": lambda: WithSetExtra(2, 2),
    "load_state_dict": lambda: WithLoad(2, 2),
    "_load_from_state_dict": lambda: WithPartialLoad(2, 2),
    "state_dict": lambda: WithState(2, 2),
    "_save_to_state_dict": lambda: WithSave(2, 2),
    "lazy": lambda: torch.nn.LazyLinear(2),
    "patched": lambda: patched("load_state_dict"),
    "patched part": lambda: patched("_load_from_state_dict"),
    **{
        name: lambda name=name: hooked(name)
        for name in (
            "_register_state_dict_hook",
            "register_state_dict_pre_hook",
            "register_load_state_dict_pre_hook",
            "register_load_state_dict_post_hook",
        )
    },
}


@pytest.mark.parametrize("name", STOCK)
def test_a_module_that_loads_as_torch_does_is_a_set_of_arrays(name):
    assert stock.is_module(STOCK[name]())


@pytest.mark.parametrize("name", OTHERS)
def test_a_module_with_a_mind_of_its_own_is_not_and_neither_is_one_that_holds_it(name):
    assert not stock.is_module(OTHERS[name]())
    assert not stock.is_module(torch.nn.Sequential(torch.nn.Linear(1, 1), OTHERS[name]()))


def test_a_module_whose_parameters_are_swapped_when_it_loads_is_not():
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        assert not stock.is_module(net(0))
    finally:
        torch.__future__.set_swap_module_params_on_conversion(False)


@pytest.mark.parametrize("value", [None, 1, np.ones(1), torch.ones(1), torch.nn.Linear])
def test_what_is_no_module_is_none(value):
    assert not stock.is_module(value)
    assert not stock.is_optimizer(value)


@pytest.mark.parametrize("name", STOCK)
def test_such_a_module_is_restored_in_place(name):
    torch.manual_seed(1)
    saved = STOCK[name]()
    target = STOCK[name]()
    with torch.no_grad():
        for tensor in target.state_dict().values():
            tensor.zero_()
    before = {key: value.data_ptr() for key, value in target.state_dict().items()}
    restore(capture(saved), target)
    assert state_of(target) == state_of(saved)
    assert {key: value.data_ptr() for key, value in target.state_dict().items()} == before


def test_no_load_method_is_called_for_it(monkeypatch):
    monkeypatch.setattr(torch.nn.Module, "load_state_dict", lambda *arguments, **named: pytest.fail("was called"))
    target = net(1)
    restore(capture(net(0)), target)
    assert state_of(target) == state_of(net(0))


@pytest.mark.parametrize("kind", [WithLoad, WithPartialLoad])
def test_a_load_method_of_a_user_is_called(kind):
    target = torch.nn.Sequential(kind(2, 2)) if kind is WithPartialLoad else kind(2, 2)
    restore(capture(type(target)(kind(2, 2)) if kind is WithPartialLoad else kind(2, 2)), target)
    assert (target[0] if kind is WithPartialLoad else target).loaded


def test_extra_state_comes_back():
    saved, target = WithExtra(2, 2), WithExtra(2, 2)
    saved.seen = 7
    restore(capture(saved), target)
    assert target.seen == 7


def test_none_in_the_place_of_a_parameter_is_refused():
    state = {**net(0).state_dict(), "0.weight": None}
    refused({"net": state, "w": np.ones(2)}, {"net": net(1), "w": np.zeros(2)}, "'net'.* was put back")


def test_a_module_whose_parameters_cannot_be_written_to_is_refused_and_nothing_changes():
    with torch.inference_mode():
        module = torch.nn.Linear(2, 2)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    with pytest.raises(MismatchError):
        restore(capture({"w": np.ones(2), "net": torch.nn.Linear(2, 2)}), {"w": np.zeros(2), "net": module})
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


def test_another_dtype_is_converted_where_that_is_allowed():
    saved, target = net(0), net(1).double()
    refused(saved, target, "casting='no' does not allow it")
    restore(capture(saved), target, casting="safe")
    assert torch.equal(target[0].weight, saved[0].weight.double())


def test_a_module_takes_what_there_is_where_keys_may_be_missing():
    saved, target = net(0).state_dict(), net(1)
    bias = target[2].bias.detach().clone()
    del saved["2.bias"]
    restore(capture(saved), target, strict=False)
    assert torch.equal(target[2].bias, bias)
    assert torch.equal(target[0].weight, saved["0.weight"])


@pytest.mark.parametrize("target", [torch.zeros(100_000), torch.zeros(2), torch.nn.Linear(2, 2)])
def test_autograd_finds_out_that_a_tensor_was_overwritten(target):
    weight = target.weight if isinstance(target, torch.nn.Module) else target.requires_grad_()
    kept = (weight * weight).sum()
    saved = torch.nn.Linear(2, 2) if isinstance(target, torch.nn.Module) else torch.ones_like(target)
    restore(capture(saved), target)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        kept.backward()


# --- optimizers -------------------------------------------------------------------------------------------------------


class Later:
    """Fails after an optimizer that stands before it was loaded."""

    keys_may_differ = True

    def state_dict(self):
        return {"a": 1}

    def load_state_dict(self, state):
        raise RuntimeError("out of luck")


def hooked_optimizer(register: str) -> torch.optim.Optimizer:
    optimizer = torch.optim.Adam(net(0).parameters())
    getattr(optimizer, register)(lambda *arguments: None)
    return optimizer


@pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD", "RMSprop", "Adagrad", "LBFGS", "NAdam"])
def test_an_optimizer_of_torch_is_one_that_leaves_alone_what_it_had(name):
    assert stock.is_optimizer(getattr(torch.optim, name)(net(0).parameters(), lr=0.1))


@pytest.mark.parametrize(
    "optimizer",
    [
        type("Adam", (torch.optim.Adam,), {})(net(0).parameters()),
        hooked_optimizer("register_load_state_dict_pre_hook"),
        hooked_optimizer("register_load_state_dict_post_hook"),
        hooked_optimizer("register_state_dict_pre_hook"),
        hooked_optimizer("register_state_dict_post_hook"),
    ],
    ids=["a user's of the same name", "load pre", "load post", "state pre", "state post"],
)
def test_an_optimizer_with_a_mind_of_its_own_is_not(optimizer):
    assert not stock.is_optimizer(optimizer)


def test_an_optimizer_is_put_back_with_the_very_tensors_that_it_had():
    saved = {"opt": trained(0)[1], "it": Later()}
    module, optimizer = trained(1)
    parameter = module[0].weight
    moments, groups = dict(optimizer.state[parameter]), optimizer.param_groups
    said = refused(saved, {"opt": optimizer, "it": Later()}, "out of luck")
    assert "'opt' was put back" in said
    assert all(optimizer.state[parameter][name] is moment for name, moment in moments.items())
    assert optimizer.param_groups is groups
    step(module, optimizer)


def test_an_optimizer_that_refuses_half_way_is_put_back(monkeypatch):
    saved, (_, optimizer) = trained(0)[1], trained(1)
    before = state_of(optimizer)

    def refuse(self, state):
        self.__dict__.update(state)
        raise KeyError("step")

    monkeypatch.setattr(torch.optim.Adam, "__setstate__", refuse)
    with pytest.raises(MismatchError, match="the target was put back"):
        restore(capture(saved), optimizer)
    assert state_of(optimizer) == before


def test_what_an_optimizer_is_given_is_private_and_large_moments_lie_together(tmp_path):
    module = torch.nn.Linear(300, 300)
    optimizer = torch.optim.Adam(module.parameters())
    module(torch.ones(1, 300)).sum().backward()
    optimizer.step()
    files.save(tmp_path / "it", optimizer)
    target = torch.optim.Adam(torch.nn.Linear(300, 300).parameters())
    files.restore(tmp_path / "it", target)
    assert state_of(target) == state_of(optimizer)
    for moments in target.state.values():
        for moment in moments.values():
            moment += 1
    assert files.verify(tmp_path / "it")
