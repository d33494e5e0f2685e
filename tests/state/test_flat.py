"""A state under flat names, as npz and safetensors files have it, and its way back into every kind of target."""

from __future__ import annotations

import enum
import random
import time
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass
from typing import Any

import jax
import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings

from holdfast import files
from holdfast.errors import MismatchError
from holdfast.state.capture import capture
from holdfast.state.flat import flatten
from holdfast.state.load import load
from holdfast.state.lookup import at
from holdfast.state.restore import restore
from holdfast.state.tree import Branch, StateTree
from state.array_strategies import Pair
from state.same import bits, state_of, untyped
from state.strategies import flat_pairs
from state.users import Keyed, Plain, Point


def there_and_back(saved: Any, target: Any, **options: Any) -> Any:
    return restore(untyped(flatten(capture(saved))), target, **options)


# --- there ------------------------------------------------------------------------------------------------------------


class Link:
    """Chainer's protocol, with parts."""

    def __init__(self, value: float):
        self.w, self.b, self.count = np.full(2, value), None, int(value)

    def serialize(self, serializer):
        part = serializer["l1"]
        self.w, self.b = part("W", self.w), part("b", self.b)
        self.count = serializer("count", self.count)


def test_names_are_those_that_chainer_gives():
    assert list(flatten(capture({"updater": {"model:main": Link(1)}}))) == [
        "updater/model:main/l1/W",
        "updater/model:main/l1/b",
        "updater/model:main/count",
    ]


def test_values_are_arrays_of_no_dimensions_and_none_is_the_object():
    found = flatten(capture({"i": 3, "f": 0.5, "b": True, "s": "text", "n": None, "c": 1j, "y": b"a\0"}))
    assert {name: array.shape for name, array in found.items()} == dict.fromkeys("ifbsncy", ())
    assert [array.dtype.kind for array in found.values()] == list("ifbUOcV")
    assert found["n"].item() is None


def test_arrays_are_copies_that_belong_to_the_caller():
    array = np.arange(3)
    found = flatten(capture({"a": array, "t": torch.arange(3)}))
    found["a"][0] = found["t"][0] = 7
    assert array.tolist() == [0, 1, 2]
    assert found["a"].base is None or found["a"].flags.writeable


def test_dtypes_that_numpy_has_not_are_those_of_ml_dtypes():
    assert flatten(capture({"a": torch.ones(1, dtype=torch.bfloat16)}))["a"].dtype == ml_dtypes.bfloat16


def test_a_bare_array_and_what_a_trainer_reserves_have_names_of_their_own():
    assert list(flatten(capture(np.ones(1)))) == ["~root"]
    tree = capture({"a": 1})
    assert list(flatten(StateTree(tree.root, Branch("dict", ("n",), tree.root.children)))) == ["a", "~run/n"]


def test_what_was_flat_stays_under_its_names():
    tree = untyped({"a/b": np.ones(1), "~1": np.ones(1)})
    assert list(flatten(tree)) == ["a/b", "~1"]


# --- and back ---------------------------------------------------------------------------------------------------------


@settings(
    deadline=None, derandomize=True, database=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow]
)
@given(flat_pairs())
def test_a_target_tells_what_flat_names_do_not(pair: Pair):
    assert bits(there_and_back(pair.saved, pair.fresh)) == bits(pair.saved)


class Phase(enum.Enum):
    WARM = "warm"
    COLD = 2
    DONE = (1, 2)


@dataclass
class Rates:
    lr: float
    steps: list[int]


KINDS = {
    "dict": (
        {"a": 1, 2: "x", (1, "a/b"): 0.5, None: b"\0", "": True}, {"a": 0, 2: "", (1, "a/b"): 0.0, None: b"", "": False}
    ),
    "OrderedDict": (OrderedDict(a=1), OrderedDict(a=0)),
    "Counter": (Counter("aab"), Counter("c")),
    "defaultdict": (defaultdict(int, a=3), defaultdict(int, b=1)),
    "deque": (deque([1, "a", None]), deque()),
    "bounded deque": (deque([1, 2], 2), deque([5], 2)),
    "set": ({1, "a"}, {2}),
    "frozenset": (frozenset([1, 2]), frozenset()),
    "list": ([1, 2, 3], []),
    "list of dicts": ([{"a": 1}, {"a": 2}], []),
    "tuple": ((1, np.ones(2)), (0, np.zeros(2))),
    "namedtuple": (Point(1, np.ones(2)), Point(0, np.zeros(2))),
    "dataclass": (Rates(0.5, [1, 2, 3]), Rates(0.1, [])),
    "pytree": (Keyed(1, np.ones(2)), Keyed(0, np.zeros(2))),
    "enum": (Phase.DONE, Phase.WARM),
    "empty parts": ({"a": {}, "b": [[], ()], "c": 1}, {"a": {}, "b": [[], ()], "c": 0}),
    "torch values": ([torch.float16, torch.Size([2])], [torch.int8, torch.Size()]),
    "torch device": (torch.device("cpu"), torch.device("meta")),
    "big int": (1 << 200, 0),
    "text that ends in zeros": ("a\0", ""),
    "text that looks like another value": ('[0,["x"]]', ""),
    "range": (range(1, 9, 2), range(0)),
    "random.Random": (random.Random(1), random.Random(2)),
    "Generator": (np.random.default_rng(1), np.random.default_rng(2)),
    "jax key": (jax.random.key(1), jax.random.key(2)),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_target_comes_back_from_flat_names(kind):
    saved, target = KINDS[kind]
    assert bits(there_and_back({"it": saved, "w": np.ones(1)}, {"it": target, "w": np.zeros(1)})["it"]) == bits(saved)


def net(seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))


def test_a_module_an_optimizer_and_a_scheduler_come_back_from_flat_names():
    def make(seed: int) -> dict[str, Any]:
        module = net(seed)
        optimizer = torch.optim.Adam(module.parameters(), lr=0.1 / (seed + 1), amsgrad=True)
        scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 5])
        return {"net": module, "act": torch.nn.ReLU(), "optimizer": optimizer, "scheduler": scheduler}

    saved, target = make(0), make(1)
    saved["net"](torch.ones(4, 2)).sum().backward()
    saved["optimizer"].step()
    saved["scheduler"].step()
    there_and_back(saved, target)
    assert state_of(target) == state_of(saved)
    module = target["net"]
    module(torch.ones(4, 2)).sum().backward()
    target["optimizer"].step()


def test_an_optimizer_that_did_not_step_comes_back_from_flat_names():
    saved, target = (torch.optim.SGD(net(seed).parameters(), lr=0.1, momentum=0.5) for seed in (0, 1))
    there_and_back(saved, target)
    assert state_of(target) == state_of(saved)


def test_what_chainer_serialized_comes_back_from_its_names():
    target = {"l": Link(0.0)}
    restore(untyped({"l/l1/W": np.full(2, 3.0), "l/l1/b": None, "l/count": np.array(3)}), target)
    assert state_of(target) == state_of({"l": Link(3.0)})


def test_names_of_another_library_are_found_as_they_stand():
    found = {"net.0.weight": np.ones(2), "a/b": np.ones(1), "layers/0/w": np.ones(3), "layers/1/w": np.zeros(3)}
    target = {
        "net.0.weight": np.zeros(2), "a/b": np.zeros(1), "layers": [{"w": np.zeros(3)}, {"w": np.ones(3)}],
    }  # fmt: skip
    restore(untyped(found), target)
    assert [target["a/b"].tolist(), target["layers"][0]["w"].tolist()] == [[1], [1, 1, 1]]


def test_a_safetensors_file_goes_into_a_module(tmp_path):
    from safetensors.torch import save_file

    module, target = net(0), net(1)
    save_file(module.state_dict(), tmp_path / "it.safetensors")
    files.restore(tmp_path / "it.safetensors", target)
    assert state_of(target) == state_of(module)


def test_an_npz_file_goes_into_a_target_of_bfloat16(tmp_path):
    saved = {"a": torch.arange(3, dtype=torch.bfloat16), "n": None, "s": "text", "i": 3}
    np.savez(tmp_path / "it.npz", **flatten(capture(saved)))
    target = {"a": torch.zeros(3, dtype=torch.bfloat16), "n": None, "s": "", "i": 0}
    assert bits(files.restore(tmp_path / "it.npz", target)) == bits(saved)


def test_a_bare_array_comes_back_from_its_name():
    assert there_and_back(np.ones(2), np.zeros(2)).tolist() == [1, 1]


class Trainer:
    """Keeps the state of a generator beside its own."""

    def __init__(self, value: int, generator: random.Random):
        self.value, self.generator, self.given = value, generator, None

    def serialize(self, serializer):
        self.value = serializer("value", self.value)

    def reserved_state(self):
        return {"python": self.generator}

    def restore_reserved(self, node):
        self.given = node


def test_what_a_trainer_reserved_comes_back_from_flat_names():
    target = Trainer(0, random.Random(0))
    there_and_back(Trainer(3, random.Random(5)), target)
    assert target.value == 3
    restore(StateTree(target.given), {"python": target.generator})
    assert target.generator.random() == random.Random(5).random()
    assert restore(untyped(flatten(capture(Trainer(3, random.Random(5))))), {"value": 0}) == {"value": 3}


def test_a_part_of_flat_names_is_found_by_its_path():
    tree = untyped({"model/l1/W": np.ones(1), "model/l1/b": np.ones(2), "epoch": np.array(3)})
    part = at(tree.root, "model/l1")
    assert restore(StateTree(part), {"W": np.zeros(1), "b": np.zeros(2)})["b"].tolist() == [1, 1]


def test_flat_names_are_loaded_as_one_flat_dict():
    assert list(load(untyped({"a/b": np.ones(1), "c": None}))) == ["a/b", "c"]


# --- what does not fit ------------------------------------------------------------------------------------------------


def misfit(found: dict[str, Any], target: Any, said: str) -> None:
    before = state_of(target)
    with pytest.raises(MismatchError, match=said):
        restore(untyped(found), target)
    assert state_of(target) == before


def test_names_that_only_one_side_has_are_refused():
    target = {"a": {"b": np.zeros(1)}, "c": 1}
    misfit({"c": np.array(1)}, target, "missing in the snapshot: 'a'")
    misfit(
        {"a/b": np.ones(1), "c": np.array(1), "d/e": np.ones(1), "d/f": np.ones(1)}, target, "only in .*: 'd'$|'d'\n"
    )
    misfit({"weight": np.ones((1, 1), "f4")}, torch.nn.Linear(1, 1), "missing in the snapshot: 'bias'")


def test_names_that_only_one_side_has_are_kept_and_left_out_where_it_is_not_strict():
    target = {"a": {"b": np.zeros(1)}, "c": 1, "r": torch.nn.Linear(1, 1)}
    before = state_of(target["r"])
    restore(untyped({"a/x": np.ones(1), "c": np.array(2)}), target, strict=False)
    assert (target["a"]["b"].tolist(), target["c"]) == ([0], 2)
    assert state_of(target["r"]) == before


def test_arrays_that_stand_for_no_such_value_are_refused():
    target = {"w": np.zeros(1), "i": 3, "b": True, "s": "a", "g": np.random.default_rng(1), "p": Phase.WARM}
    good = flatten(capture(target))
    for name, array, said in [
        ("i", np.array(0.5), "0.5 is no int"),
        ("i", np.array("x"), "stands for no value of type int: it is 'x'"),
        ("i", np.ones(2), r"'i' is F64 \(2,\)"),
        ("b", np.array(2), "2 is no bool"),
        ("s", np.array(1), "it is 1"),
        ("i", np.array(1, "M8[ns]"), "time|it is"),
        ("p", np.array("hot"), "Phase has no member with the value 'hot'"),
    ]:
        misfit({**good, name: array}, target, said)
    del good["g/state/state/inc"]
    misfit(good, {**target, "w": np.zeros(2)}, r"'w' is F64 \(1,\)")


def test_flat_names_of_no_generator_are_refused():
    target = {"g": np.random.default_rng(1)}
    misfit({"g/other": np.array(1)}, target, "'g' is .* a numpy.Generator")
    words = flatten(capture({"g": random.Random(1)}))
    misfit(words, target, "'g' is")


def test_a_name_of_very_many_parts_is_no_trouble():
    deep = "/".join("a" * 5000)
    assert restore(untyped({deep: np.ones(1)}), {}, strict=False) == {}
    assert restore(untyped({deep: np.ones(1)}), {"a": defaultdict(int)})["a"].keys() == {"a"}


def test_many_flat_names_take_a_time_that_grows_with_their_number():
    count = 20_000
    found = {f"layers/{number}/w": np.zeros(1) for number in range(count)}
    target = {"layers": {str(number): {"w": np.ones(1)} for number in range(count)}}
    start = time.process_time()
    restore(untyped(found), target)
    assert time.process_time() - start < 15
    assert target["layers"]["7"]["w"].tolist() == [0]


def test_a_dataclass_of_flat_names_is_the_same_object():
    target = Plain(0, np.zeros(1))
    assert there_and_back(Plain(1, np.ones(1)), target) is target
