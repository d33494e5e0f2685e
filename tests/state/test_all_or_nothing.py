"""A restore is done wholly or not at all: whatever does not fit is found before anything changes."""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from holdfast.errors import CaptureError, MismatchError
from holdfast.state import arrays
from holdfast.state.capture import capture
from holdfast.state.load import load
from holdfast.state.restore import restore
from state.nets import net, trained
from state.same import refused

# --- found before anything changes ------------------------------------------------------------------------------------


def test_one_bad_shape_in_a_module_is_found_before_the_others_are_loaded():
    said = refused({"net": net(0, width=3)}, {"net": net(1, width=4)}, "nothing was changed")
    assert "'net/0.weight' is F32 (3, 2) in the snapshot but F32 (4, 2) in the target" in said
    assert "'net/2.weight'" in said


def test_a_misfit_anywhere_keeps_everything_else_as_it_is():
    saved = {"net": net(0), "a": np.ones(2), "jax": jnp.ones(2), "l": [1], "n": 3, "d": deque([1]), "e": np.ones(3)}
    target = {"net": net(1), "a": np.zeros(2), "jax": jnp.zeros(2), "l": [2], "n": 4, "d": deque(), "e": np.ones(4)}
    refused(saved, target, r"'e' is F64 \(3,\) in the snapshot but F64 \(4,\)")


@pytest.mark.parametrize(
    ("make", "kind"),
    [(np.asarray, "numpy"), (torch.from_numpy, "torch"), (jnp.asarray, "jax")],
)
def test_another_dtype_is_refused_unless_casting_allows_it(make, kind):
    saved, target = {"a": make(np.array([1.5, 2.0], np.float32))}, {"a": make(np.zeros(2, np.float16))}
    said = refused(saved, target, "F32 .* in the snapshot but F16")
    assert "casting='no' does not allow it" in said
    assert "casting='same_kind' or 'unsafe' converts dtypes" in said
    refused(saved, {"a": make(np.zeros(2, np.int32))}, "does not allow", casting="same_kind")
    assert restore(capture(saved), target, casting="same_kind")["a"].tolist() == [1.5, 2.0]
    assert restore(capture(saved), {"a": make(np.zeros(2, np.int32))}, casting="unsafe")["a"].tolist() == [1, 2]
    assert arrays.framework_of(target["a"]) == kind


def test_another_dtype_in_a_module_is_converted_where_casting_allows_it():
    saved, target = net(0), net(1).half()
    refused(saved, target, "F32 .* in the snapshot but F16")
    restore(capture(saved), target, casting="same_kind")
    assert torch.equal(target[0].weight, saved[0].weight.half())


def test_a_load_method_is_given_the_dtype_that_it_has_where_casting_allows_it():
    class Average:
        def __init__(self, dtype):
            self.mean = np.ones(2, dtype)

        def state_dict(self):
            return {"mean": self.mean}

        def load_state_dict(self, state):
            self.mean = state["mean"]

    target = Average("f4")
    refused(Average("f8"), target, "does not allow")
    restore(capture(Average("f8")), target, casting="same_kind")
    assert target.mean.dtype == "f4"


def test_an_unknown_casting_is_an_error_of_the_caller():
    with pytest.raises(ValueError, match="wanted 'no'"):
        restore(capture(1), 1, casting="maybe")


def test_text_that_is_no_number_is_found_before_anything_changes():
    saved, target = {"a": np.array([1]), "b": np.array(["x"])}, {"a": np.array([0]), "b": np.array([0])}
    refused(saved, target, "'b' is <U1.*invalid literal", casting="unsafe")


KEYS = {
    "dict": ({"a": 1, "b": np.ones(1)}, {"a": 2, "c": np.ones(1)}),
    "nested": ({"a": {"x": 1}, "b": 1}, {"a": {"y": 1}, "b": 2}),
    "module": (torch.nn.ModuleDict({"b": torch.nn.Linear(1, 1)}), torch.nn.ModuleDict({"c": torch.nn.Linear(1, 1)})),
    "tuple": ((np.ones(1), 2), (np.zeros(1), 1, 3)),
    "list of arrays": ([np.ones(1)], [np.zeros(1), np.zeros(1)]),
}


@pytest.mark.parametrize("kind", KEYS)
def test_keys_that_only_one_side_has_are_refused(kind):
    saved, target = KEYS[kind]
    refused({"it": saved}, {"it": target}, "missing in the snapshot: 'it/")
    said = refused({"it": target}, {"it": saved}, "only in the snapshot: 'it/")
    assert "strict=False keeps the target's own values for what is missing and leaves out the rest" in said


@dataclass
class Two:
    a: Any
    b: Any


@dataclass
class Three:
    a: Any
    b: Any
    c: Any


def test_a_field_that_only_one_side_has_is_refused():
    refused(Two(np.ones(1), 2), Three(np.zeros(1), 1, 0), "missing in the snapshot: 'c'")
    refused(Three(np.ones(1), 2, 3), Two(np.zeros(1), 1), "only in the snapshot: 'c'")


@pytest.mark.parametrize(
    ("saved", "target"),
    [
        (1, "a"), ("a", 1), (b"a", "a"), ({"a": 1}, [1]), ([1], {"a": 1}), (np.ones(1), 1), (1, np.ones(1)),
        ({1}, [1]), ([1], {1}), ({"a": 1}, np.ones(1)), (np.ones(1), {"a": 1}), ([1], 3), (3, [1]), (1, Two(1, 2)),
        ([1, 2], Two(1, 2)), (np.random.default_rng(1), 3), (3, np.random.default_rng(1)), (3, jax.random.key(1)),
    ],
)  # fmt: skip
def test_another_kind_of_value_is_refused(saved, target):
    refused({"first": np.ones(1), "it": saved}, {"first": np.zeros(1), "it": target}, "'it")


def test_an_object_with_a_load_method_cannot_become_none():
    refused({"it": None}, {"it": net(1)}, "'it' is None in the snapshot but a .*Sequential")
    refused({"it": None}, {"it": np.random.default_rng(1)}, "'it' is None in the snapshot but a numpy.Generator")


class Colour(enum.Enum):
    RED = 1
    GREEN = 2


class Fewer(enum.Enum):
    RED = 1


def test_a_value_that_no_member_of_an_enum_has_is_found_before_anything_changes():
    saved, target = {"a": np.ones(1), "c": Colour.GREEN}, {"a": np.zeros(1), "c": Fewer.RED}
    refused(saved, target, "Fewer has no member with the value 2")


def test_more_than_a_bounded_deque_holds_is_refused():
    refused({"a": np.ones(1), "d": deque([1, 2, 3])}, {"a": np.zeros(1), "d": deque(maxlen=2)}, "a deque of at most 2")


def test_an_array_that_is_read_only_is_refused():
    target = {"a": np.zeros(1), "b": np.zeros(1)}
    target["b"].flags.writeable = False
    refused({"a": np.ones(1), "b": np.ones(1)}, target, "an array that is read-only")


def test_a_tensor_of_inference_mode_is_refused_outside_of_it():
    with torch.inference_mode():
        frozen = torch.zeros(1)
    target = {"a": np.zeros(1), "b": frozen}
    refused({"a": np.ones(1), "b": torch.ones(1)}, target, r"only inside torch.inference_mode\(\)")
    with torch.inference_mode():
        restore(capture({"a": np.ones(1), "b": torch.ones(1)}), target)
    assert frozen.tolist() == [1]


def test_a_jax_array_that_jax_would_change_is_found_before_anything_changes():
    refused({"a": np.ones(1), "b": np.ones(2)}, {"a": np.zeros(1), "b": jnp.zeros(2)}, "F64 .* but F32")
    wide = jax.ShapeDtypeStruct((2,), np.float64)
    target = {"a": np.zeros(1), "b": wide}
    with pytest.raises(MismatchError, match=r"'b' .*jax_enable_x64"):
        restore(capture({"a": np.ones(1), "b": np.ones(2)}), target)
    assert target["a"].tolist() == [0]


def test_a_target_that_cannot_be_restored_is_refused_by_its_path():
    target = {"a": np.zeros(1), "it": [object()]}
    with pytest.raises(CaptureError, match="'it/~i0' is an object"):
        restore(capture({"a": np.ones(1), "it": [1]}), target)
    assert target["a"].tolist() == [0]


def test_an_optimizer_without_parameters_of_that_shape_takes_no_moments():
    module, optimizer = trained(0)
    state = load(capture({"net": module, "opt": optimizer}))
    state["opt"]["state"][0]["exp_avg"] = np.ones((5, 5), np.float32)
    for fresh in (torch.optim.Adam(net(1).parameters()), trained(1)[1]):
        said = refused(state, {"net": net(2), "opt": fresh}, "opt/state/~i0/exp_avg")
        assert "F32 (5, 5) in the snapshot but" in said
        assert "(3, 2)" in said


def test_moments_that_torch_would_convert_are_refused():
    _, optimizer = trained(0)
    half = torch.optim.Adam(net(1).bfloat16().parameters())
    refused(optimizer, half, "exp_avg.* is F32 .* BF16 .*casting='no'")
    restore(capture(optimizer), half, casting="same_kind")
    assert half.state_dict()["state"][0]["exp_avg"].dtype == torch.bfloat16


def test_moments_of_all_optimizers_of_torch_are_looked_at():
    names = {
        name
        for kind in (
            torch.optim.Adadelta, torch.optim.Adagrad, torch.optim.Adam, torch.optim.Adamax, torch.optim.AdamW,
            torch.optim.ASGD, torch.optim.NAdam, torch.optim.RAdam, torch.optim.RMSprop, torch.optim.Rprop,
            torch.optim.SGD,
        )
        for options in ({}, {"momentum": 0.5}, {"amsgrad": True}, {"centered": True})
        if options.keys() <= set(kind.__init__.__code__.co_varnames)
        for moments in trained(0, kind, **options)[1].state_dict()["state"].values()
        for name, moment in moments.items()
        if isinstance(moment, torch.Tensor) and moment.dim()
    }  # fmt: skip
    from holdfast.state.protocols import MOMENTS

    assert names <= MOMENTS


# --- targets that share memory ----------------------------------------------------------------------------------------


def tied(first: torch.Tensor, second: torch.Tensor | None = None) -> torch.nn.Module:
    module = torch.nn.Module()
    module.a, module.b = torch.nn.Linear(2, 2, bias=False), torch.nn.Linear(2, 2, bias=False)
    module.a.weight = torch.nn.Parameter(first)
    module.b.weight = module.a.weight if second is None else torch.nn.Parameter(second)
    return module


def test_a_tied_module_takes_two_equal_weights_and_refuses_two_others():
    equal, other = tied(torch.ones(2, 2), torch.ones(2, 2)), tied(torch.ones(2, 2), torch.zeros(2, 2))
    said = refused({"net": other}, {"net": tied(torch.rand(2, 2))}, "an array that shares memory")
    assert "with 'net/b.weight'; the snapshot holds other values for it" in said
    target = tied(torch.rand(2, 2))
    restore(capture(equal), target)
    assert torch.equal(target.b.weight, torch.ones(2, 2))
    assert target.a.weight is target.b.weight


def test_a_tie_between_a_module_and_an_array_beside_it_is_seen():
    module = net(1)
    target = {"net": module, "w": module[0].weight.detach().numpy()}
    refused({"net": net(0), "w": np.ones((3, 2), np.float32)}, target, "'net/0.weight' is .* shares memory .*with 'w'")
    refused({"w": np.ones((3, 2), np.float32), "net": net(0)}, target, "shares memory")
    source = net(0)
    restore(capture({"net": source, "w": source[0].weight.detach().numpy().copy()}), target)
    assert torch.equal(module[0].weight, source[0].weight)


def test_a_tie_between_two_modules_is_seen():
    one, other = net(1), net(2)
    other[0].weight = one[0].weight
    refused([net(3), net(4)], [one, other], "'~i0/0.weight' is .* shares memory")


@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy])
def test_overlapping_targets_take_what_agrees_and_refuse_what_does_not(make):
    row = np.zeros(6)
    target = [make(row[:4]), make(row[2:])]
    refused([np.arange(4.0), np.arange(4.0)], target, "'~i0' is .* shares memory .*with '~i1'")
    restore(capture([np.arange(4.0), np.arange(2.0, 6.0)]), target)
    assert row.tolist() == [0, 1, 2, 3, 4, 5]


def test_columns_of_one_matrix_do_not_share_bytes():
    matrix = torch.zeros(3, 4)
    restore(capture([torch.ones(3, 2), 2 * torch.ones(3, 2)]), [matrix[:, :2], matrix[:, 2:]])
    assert matrix.tolist() == [[1, 1, 2, 2]] * 3


def test_an_expanded_target_takes_equal_elements_and_refuses_others():
    target = torch.zeros(1).expand(3)
    refused([torch.arange(3.0)], [target], "shares memory .*with itself")
    restore(capture([torch.ones(3)]), [target])
    assert target.tolist() == [1, 1, 1]


def test_an_expanded_target_that_stands_at_two_places_is_written_once():
    saved, target = torch.ones(1).expand(3), torch.zeros(1).expand(3)
    restore(capture([saved, saved, torch.ones(1)]), [target, target, target[:1]])
    assert target.tolist() == [1, 1, 1]


def test_what_pads_the_fields_of_records_is_no_disagreement():
    dtype = np.dtype([("a", "u1"), ("b", "f8")], align=True)
    saved = [np.zeros(2, dtype), np.zeros(2, dtype)]
    saved[0].view(np.uint8)[1] = 7
    row = np.ones(2, dtype)
    restore(capture(saved), [row, row])
    assert row.tolist() == [(0, 0.0), (0, 0.0)]


def test_a_list_that_stands_at_two_places_cannot_take_two_values():
    shared = [1]
    said = refused({"w": np.ones(1), "a": [2], "b": [3]}, {"w": np.zeros(1), "a": shared, "b": shared}, "'b' is a list")
    assert "a list that stands at 'a' too" in said
    restore(capture({"a": [2], "b": [2]}), {"a": shared, "b": shared})
    assert shared == [2]
