"""Many arrays in one container are looked at together, and one that is unlike the others is treated as ever."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch

from holdfast.state import placing
from holdfast.state.capture import capture
from holdfast.state.placing import MANY
from holdfast.state.restore import restore
from holdfast.state.tree import Branch
from state.same import refused, state_of

MAKERS = {
    "numpy": lambda value: np.full((2, 3), value, np.float32),
    "torch": lambda value: torch.full((2, 3), float(value)),
    "parameter": lambda value: torch.nn.Parameter(torch.full((2, 3), float(value))),
}


def many(maker: str, offset: int) -> dict[str, Any]:
    return {f"a/{number}": MAKERS[maker](number + offset) for number in range(MANY + 5)}


def asked(target: dict[str, Any], saved: Any) -> Any:
    node = capture(saved).root
    assert isinstance(node, Branch)
    return placing.usual_writes(list(node.children), list(target.values()), "top", list(target))


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("kind", [dict, OrderedDict, lambda pairs: list(dict(pairs).values())])
def test_many_arrays_are_restored_in_place(maker, kind):
    saved, target = kind(many(maker, 1)), kind(many(maker, 1000))
    kept = list(target.values() if isinstance(target, dict) else target)
    restore(capture(saved), target)
    assert state_of(target) == state_of(saved)
    assert all(
        one is other for one, other in zip(kept, target.values() if isinstance(target, dict) else target, strict=True)
    )


@pytest.mark.parametrize("maker", MAKERS)
def test_they_are_looked_at_together_and_know_their_paths(maker):
    writes = asked(many(maker, 0), many(maker, 1))
    assert len(writes) == MANY + 5
    assert writes[3].path == "top/a~13"


ODD: dict[str, Any] = {
    "transposed": lambda: np.zeros((3, 2), np.float32).T,
    "another dtype": lambda: np.zeros((2, 3)),
    "another framework": lambda: torch.nn.Parameter(torch.zeros((2, 3))),
    "a transposed tensor": lambda: torch.zeros((3, 2)).T,
    "a number": lambda: 7,
    "None": lambda: None,
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("maker", ["numpy", "torch"])
def test_one_that_is_unlike_the_others_is_restored_too(name, maker):
    saved, target = many(maker, 1), many(maker, 1000)
    target["a/7"] = ODD[name]()
    if name == "a number":
        saved["a/7"] = 8
    assert asked(target, many(maker, 1)) is None
    restored = restore(capture(saved), target, casting="same_kind")
    for key in ("a/7", "a/8"):
        found, wanted = torch.as_tensor(restored[key]).detach(), torch.as_tensor(saved[key]).detach()
        assert torch.equal(found.float(), wanted.float())


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        (np.zeros((3, 2), np.float32), r"'a~17' is F32 \(2, 3\) in the snapshot but F32 \(3, 2\)"),
        (np.zeros((2, 3), np.int32), "'a~17' is .*casting"),
        (torch.zeros((2, 4)), "'a~17' is"),
        (np.broadcast_to(np.float32(0), (2, 3)), "'a~17' is .*read-only"),
    ],
    ids=["shape", "dtype", "a tensor's shape", "read-only"],
)
@pytest.mark.parametrize("maker", ["numpy", "torch"])
def test_one_that_does_not_fit_is_named_and_nothing_changes(odd, said, maker):
    target = many(maker, 1000)
    target["a/7"] = odd
    refused(many(maker, 1), target, said)


@pytest.mark.parametrize("maker", ["numpy", "torch"])
@pytest.mark.parametrize("odd", [np.zeros((2, 3)), np.zeros((2, 3), np.int32), np.zeros((3, 2), np.float32)])
def test_one_of_the_snapshot_that_is_unlike_the_others_is_named(maker, odd):
    refused({**many(maker, 1), "a/7": odd}, many(maker, 1000), r"'a~17' is .* in the snapshot but F32 \(2, 3\)")


@pytest.mark.parametrize("maker", ["numpy", "torch"])
def test_two_that_share_memory_where_the_snapshot_has_two_values_are_refused(maker):
    target = many(maker, 1000)
    target["a/7"] = target["a/8"]
    refused(many(maker, 1), target, "shares memory")


@pytest.mark.parametrize("maker", ["numpy", "torch"])
def test_what_was_captured_from_the_target_itself_is_copied_first(maker):
    target = many(maker, 0)
    names = list(target)
    swapped = dict(zip(names, reversed(list(target.values())), strict=True))
    wanted = {name: array.tolist() for name, array in swapped.items()}
    restore(capture(swapped), target)
    assert {name: array.tolist() for name, array in target.items()} == wanted


def test_an_empty_array_and_a_lone_one_are_left_to_others():
    assert asked({"a": np.zeros(3)}, {"a": np.ones(3)}) is None
    empty = {f"{number}": np.zeros(0) for number in range(MANY)}
    assert asked(empty, empty) is None
