"""States, and the ways in which training changes them in place. Each can be filled with one value, so that a snapshot
which was torn shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

LARGE = 1 << 19  # numbers: such a copy takes long enough to be torn
SMALL = 1000


@dataclass
class Route:
    """One state.

    Attributes:
        target: what is saved.
        fill: sets every number of it to a value.
        mutate: changes every number of it in place, as a step of training does.
    """

    target: Any
    fill: Callable[[float], None]
    mutate: Callable[[], None]
    framework: str = "torch"  # that can read it


def arrays_in(target: Any) -> Iterator[Any]:
    """Every array of a nested state, as numpy."""
    if isinstance(target, dict):
        for value in target.values():
            yield from arrays_in(value)
    elif isinstance(target, list | tuple):
        for value in target:
            yield from arrays_in(value)
    elif hasattr(target, "state_dict"):
        yield from arrays_in(target.state_dict())
    elif hasattr(target, "detach"):
        yield target.detach().float().numpy()
    elif hasattr(target, "shape"):
        yield np.asarray(target)


def in_numpy() -> Route:
    """x[...] -= 1"""
    arrays = {
        "large": np.zeros(2 * LARGE, np.float32),
        "transposed": np.zeros((256, 1024)).T,
        "small": np.zeros(SMALL, np.int64),
        "scalar": np.zeros((), np.float16),
    }

    def fill(value: float) -> None:
        for one in arrays.values():
            one[...] = value

    def mutate() -> None:
        for one in arrays.values():
            one[...] -= 1

    return Route(arrays, fill, mutate, "numpy")


def _tensors() -> dict[str, Any]:
    torch = pytest.importorskip("torch")
    return {
        "large": torch.zeros(2 * LARGE),
        "half": torch.zeros(LARGE, dtype=torch.bfloat16),
        "strided": torch.zeros(512, 1024)[:, ::2],
        "small": torch.zeros(SMALL, dtype=torch.int64),
        "scalar": torch.zeros(()),
    }


def _of_tensors(mutate: Callable[[Any], object]) -> Route:
    tensors = _tensors()

    def fill(value: float) -> None:
        for one in tensors.values():
            one.fill_(value)

    def change() -> None:
        for one in tensors.values():
            mutate(one)

    return Route(tensors, fill, change)


def by_add() -> Route:
    """tensor.add_(-1)"""
    return _of_tensors(lambda tensor: tensor.add_(-1))


def by_data() -> Route:
    """tensor.data, which changes no version counter"""
    return _of_tensors(lambda tensor: tensor.data.fill_(-1))


def by_a_numpy_alias() -> Route:
    """tensor.numpy(), which the tensor does not know of"""
    torch = pytest.importorskip("torch")

    def mutate(tensor: Any) -> None:
        alias = tensor.view(torch.int16).numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()
        alias[...] = -1

    return _of_tensors(mutate)


def _by_adam(**arguments: Any) -> Route:
    torch = pytest.importorskip("torch")
    parameters = [torch.nn.Parameter(torch.zeros(size)) for size in (LARGE, LARGE // 8, SMALL, 1)]
    adam = torch.optim.Adam(parameters, lr=0.5, **arguments)
    for one in parameters:
        one.grad = torch.full_like(one, 3.0)
    adam.step()

    def fill(value: float) -> None:
        with torch.no_grad():
            for one in parameters:
                one.fill_(value)
                for held in adam.state[one].values():
                    held.fill_(value)

    moments = [adam.state[one] for one in parameters]
    return Route({"parameters": list(parameters), "moments": moments, "adam": adam}, fill, adam.step)


def by_fused_adam() -> Route:
    """Adam(fused=True), which changes no version counter"""
    return _by_adam(fused=True)


def by_foreach_adam() -> Route:
    """Adam(foreach=True)"""
    return _by_adam(foreach=True)


def by_batch_norm() -> Route:
    """running statistics, which a forward pass changes"""
    torch = pytest.importorskip("torch")
    norm = torch.nn.BatchNorm1d(LARGE, affine=False, momentum=0.5)
    batch = torch.stack([torch.full((LARGE,), -900.0), torch.full((LARGE,), -300.0)])

    def fill(value: float) -> None:
        for one in norm.buffers():
            one.fill_(value)

    return Route(norm, fill, lambda: norm(batch))


def by_donation() -> Route:
    """a jitted jax function that may reuse the memory of its argument"""
    jax = pytest.importorskip("jax")
    shapes = {"large": (2 * LARGE,), "small": (SMALL,), "scalar": ()}
    step = jax.jit(lambda state: jax.tree.map(lambda one: one - 1, state), donate_argnums=0)
    made = jax.jit(lambda value: {name: jax.numpy.full(shape, value) for name, shape in shapes.items()})
    state: dict[str, Any] = {}

    def fill(value: float) -> None:
        state.update(jax.block_until_ready(made(value)))

    def mutate() -> None:
        before = dict(state)
        state.update(jax.block_until_ready(step(before)))
        assert all(one.is_deleted() for one in before.values()), "nothing was donated"

    return Route(state, fill, mutate, "numpy")


ROUTES = [
    in_numpy,
    by_add,
    by_data,
    by_a_numpy_alias,
    by_fused_adam,
    by_foreach_adam,
    by_batch_norm,
    by_donation,
]
