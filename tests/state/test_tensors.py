"""Tensors that stand for many others: only where nothing that is asked of them has two answers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from holdfast.state import tensors

SHAPES = [(2, 3), (4,)] * 20


def many() -> list[torch.Tensor]:
    return [torch.zeros(shape) for shape in SHAPES]


def test_one_of_each_shape_stands_for_all():
    found = many()
    some = tensors.examples(found, SHAPES)
    assert len(some) == 2
    assert some[0] is found[0]
    assert some[1] is found[1]


def inference() -> torch.Tensor:
    with torch.inference_mode():
        return torch.zeros(2, 3)


ODD: dict[str, Callable[[], torch.Tensor]] = {
    "another dtype": lambda: torch.zeros(2, 3, dtype=torch.float64),
    "another shape": lambda: torch.zeros(3, 2),
    "another layout in memory": lambda: torch.zeros(3, 2).T,
    "sparse": lambda: torch.zeros(2, 3).to_sparse(),
    "without memory": lambda: torch.zeros(2, 3, device="meta"),
    "negated": lambda: torch.zeros(2, 3, dtype=torch.complex64).conj().imag,
    "wants a gradient": lambda: torch.zeros(2, 3, requires_grad=True),
    "a parameter": lambda: torch.nn.Parameter(torch.zeros(2, 3)),
    "of inference": inference,
}


@pytest.mark.parametrize("at", [0, 8, 38])
@pytest.mark.parametrize("kind", ODD)
def test_where_one_is_unlike_the_others_all_are_asked(kind, at):
    found = many()
    found[at] = ODD[kind]()
    assert tensors.examples(found, SHAPES) is found


def test_where_one_is_conjugated_all_are_asked():
    found = [torch.zeros(3, dtype=torch.complex64) for _ in range(20)]
    assert len(tensors.examples(found, [(3,)] * 20)) == 1
    found[7] = found[7].conj()
    assert tensors.examples(found, [(3,)] * 20) is found


def test_in_inference_mode_all_are_asked():
    found = many()
    found[8] = inference()
    with torch.inference_mode():
        assert tensors.examples(found, SHAPES) is found


def test_where_most_shapes_are_different_all_are_asked():
    shapes = [(number,) for number in range(1, 41)]
    found = [torch.zeros(shape) for shape in shapes]
    assert tensors.examples(found, shapes) is found


def test_without_the_guards_of_torch_all_are_asked(monkeypatch):
    monkeypatch.delattr(torch._C._dynamo.guards, "TensorGuards")
    found = many()
    assert tensors.examples(found, SHAPES) is found
