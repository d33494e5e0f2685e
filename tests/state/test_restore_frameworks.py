"""Modules, optimizers and schedulers of torch, and the arrays of jax, as targets of a restore."""

from __future__ import annotations

import mmap
from collections import Counter, deque
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from holdfast import files
from holdfast.state.capture import capture
from holdfast.state.load import load
from holdfast.state.restore import restore
from state.nets import net, step
from state.same import bits, state_of
from state.users import Point


def given(saved: Any, target: Any, **options: Any) -> Any:
    """`target`, after the state of `saved` was restored into it."""
    return restore(capture(saved), target, **options)


# --- modules, optimizers, schedulers ----------------------------------------------------------------------------------


def test_an_optimizer_that_did_not_step_takes_moments_and_one_that_did_gives_them_up():
    module, fresh = net(0), net(1)
    trained, untrained = torch.optim.Adam(module.parameters()), torch.optim.Adam(fresh.parameters())
    before = state_of(untrained)
    step(module, trained)
    after = state_of(trained)
    given(trained, untrained)
    assert state_of(untrained) == after
    given(torch.optim.Adam(net(2).parameters()), trained)
    assert state_of(trained) == before


SCHEDULERS = {
    "StepLR": lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 2),
    "MultiStepLR": lambda optimizer: torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 3]),
    "CosineAnnealingLR": lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10),
    "OneCycleLR": lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=10),
    "LambdaLR": lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.5**epoch),
    "CyclicLR": lambda optimizer: torch.optim.lr_scheduler.CyclicLR(
        optimizer, 0.01, 0.1, step_size_up=2, cycle_momentum=False
    ),
    "SequentialLR": lambda optimizer: torch.optim.lr_scheduler.SequentialLR(
        optimizer,
        [torch.optim.lr_scheduler.ConstantLR(optimizer), torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)],
        [2],
    ),
    "ReduceLROnPlateau": lambda optimizer: torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_scheduler_goes_on_where_it_was(name, tmp_path):
    def run(count: int, parts: dict[str, Any]) -> list[float]:
        rates = []
        for _ in range(count):
            step(parts["net"], parts["optimizer"])
            parts["scheduler"].step(*([1.0] if name == "ReduceLROnPlateau" else []))
            rates += [group["lr"] for group in parts["optimizer"].param_groups]
        return rates

    def make(seed: int) -> dict[str, Any]:
        module = net(seed)
        optimizer = torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.9)
        return {"net": module, "optimizer": optimizer, "scheduler": SCHEDULERS[name](optimizer)}

    whole, resumed = make(0), make(1)
    run(3, whole)
    files.save(tmp_path / "it", whole)
    files.restore(tmp_path / "it", resumed)
    assert run(4, resumed) == run(4, whole)
    assert state_of(resumed) == state_of(whole)


def test_a_module_keeps_the_versions_of_its_parts_when_it_is_loaded():
    seen = []

    class Versioned(torch.nn.Linear):
        _version = 7

        def _load_from_state_dict(self, state, prefix, metadata, *rest):
            seen.append(metadata.get("version"))
            super()._load_from_state_dict(state, prefix, metadata, *rest)

    given(Versioned(1, 1), Versioned(1, 1))
    assert seen == [7]


def test_a_module_takes_arrays_of_any_framework():
    module, target = net(0), net(1)
    loaded = load(capture(module))
    given({name: jnp.asarray(array) if array.dtype == "f4" else array for name, array in loaded.items()}, target)
    assert state_of(target) == state_of(module)


def test_a_module_with_state_of_its_own_gets_it_back():
    class Extra(torch.nn.Linear):
        extra = None

        def get_extra_state(self):
            return {"extra": self.extra}

        def set_extra_state(self, state):
            self.extra = state["extra"]

    saved, target = Extra(1, 1), Extra(1, 1)
    saved.extra = {"calls": 3, "rows": np.arange(3)}
    given(saved, target)
    assert bits(target.extra) == bits(saved.extra)


def test_a_target_that_requires_gradients_keeps_doing_so():
    target = torch.zeros(2, requires_grad=True)
    given(torch.ones(2), target)
    assert target.requires_grad
    assert target.grad_fn is None
    assert target.is_leaf


def test_a_backward_pass_through_what_was_overwritten_is_noticed():
    weight = torch.ones(2, requires_grad=True)
    loss = (weight * weight).sum()
    given({"w": torch.zeros(2)}, {"w": weight})
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


class Holder:
    """Keeps whatever its load method gets."""

    def __init__(self, **state: Any):
        self.state = state

    def state_dict(self):
        return self.state

    def load_state_dict(self, state):
        self.state = state


def test_an_object_with_a_load_method_may_hold_keys_that_only_one_side_has():
    target = Holder(a=1)
    given(Holder(a=2, b=np.ones(1)), target)
    assert target.state["b"].tolist() == [1]
    given(Holder(), target)
    assert target.state == {}


def test_a_growing_container_in_such_an_object_is_taken_as_the_snapshot_has_it():
    target = Holder(d=deque([np.ones(2), np.ones(3)]), c=Counter("a"))
    given(Holder(d=deque([np.ones(5)]), c=Counter("b")), target)
    assert target.state["d"][0].shape == (5,)
    assert target.state["c"] == Counter("b")


def test_what_a_load_method_gets_has_the_frameworks_and_classes_of_today():
    target = Holder(a=torch.zeros(2), j=jnp.zeros(1), p=Point(1, 2), s=3)
    given({"a": np.ones(2, "f4"), "j": np.ones(1, "f4"), "p": (5, 6), "s": np.array(4)}, target)
    assert [type(value) for value in target.state.values()] == [torch.Tensor, type(jnp.ones(1)), Point, int]


# --- jax --------------------------------------------------------------------------------------------------------------


def test_a_place_for_an_array_takes_one():
    made = given({"w": np.arange(3, dtype="f4")}, {"w": jax.ShapeDtypeStruct((3,), np.float32)})
    assert isinstance(made["w"], jax.Array)
    assert made["w"].tolist() == [0, 1, 2]


def test_the_shapes_of_a_whole_training_state_are_enough():
    def init() -> dict[str, Any]:
        weights = {"w": jnp.ones((2, 2)), "b": jnp.zeros(2)}
        return {"weights": weights, "optimizer": optax.adam(1e-3).init(weights), "key": jax.random.key(3), "step": 4}

    places = jax.eval_shape(init)
    places["step"] = 0
    made = given(init(), places)
    assert bits(jax.tree.leaves(made)) == bits(jax.tree.leaves(init()))
    assert jax.tree.structure(made) == jax.tree.structure(init())


@pytest.mark.parametrize("optimizer", [optax.adamw(1e-3), optax.chain(optax.clip(1.0), optax.sgd(0.1, momentum=0.9))])
def test_the_state_of_optax_comes_back_in_its_classes(optimizer, tmp_path):
    weights = {"w": jnp.ones(3), "b": jnp.zeros(())}
    state = optimizer.init(weights)
    _, state = optimizer.update(jax.tree.map(jnp.ones_like, weights), state, weights)
    files.save(tmp_path / "it", state)
    made = files.restore(tmp_path / "it", optimizer.init(weights))
    assert jax.tree.structure(made) == jax.tree.structure(state)
    assert bits(jax.tree.leaves(made)) == bits(jax.tree.leaves(state))
    optimizer.update(jax.tree.map(jnp.ones_like, weights), made, weights)


@pytest.mark.parametrize("value", [1.5, 3, 2j])
def test_a_weak_type_stays_one(value):
    saved, target = jnp.asarray(value), jnp.asarray(type(value)(0))
    assert saved.weak_type
    made = given({"a": saved, "b": jnp.ones(())}, {"a": target, "b": jnp.zeros(())})
    assert (made["a"].weak_type, made["b"].weak_type) == (True, False)
    assert made["a"] == saved


def test_an_array_that_was_donated_is_still_a_place():
    target = jnp.zeros(2)
    target.delete()
    assert given(jnp.ones(2), target).tolist() == [1, 1]


def test_one_array_at_two_places_is_one_array_again():
    saved, target = jnp.ones(2), jnp.zeros(2)
    made = given({"a": saved, "b": saved}, {"a": target, "b": target})
    assert made["a"] is made["b"]


def test_two_arrays_in_the_place_of_one_are_two():
    target = jnp.zeros(2)
    made = given({"a": jnp.ones(2), "b": 2 * jnp.ones(2)}, {"a": target, "b": target})
    assert [made["a"].tolist(), made["b"].tolist()] == [[1, 1], [2, 2]]


def test_a_restored_jax_array_does_not_look_into_the_memory_that_it_was_copied_from():
    row = np.frombuffer(mmap.mmap(-1, 4096), np.float32)  # lies as jax likes it
    made = given({"a": row}, {"a": jnp.ones(1024)})
    row[:] = 7
    assert made["a"].tolist() == [0] * 1024


def test_a_restored_jax_array_does_not_look_into_the_file(tmp_path):
    files.save(tmp_path / "it", {"a": np.arange(1024, dtype="f4"), "k": 1})
    made = files.restore(tmp_path / "it", {"a": jnp.zeros(1024), "k": 0})
    donated = jax.jit(lambda x: x + 1, donate_argnums=0)(made["a"])
    assert donated[3] == 4
    assert files.verify(tmp_path / "it")


SHARDED = """
import sys
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from holdfast import files
mesh = Mesh(np.array(jax.devices()).reshape(2, 2), ("x", "y"))
split = NamedSharding(mesh, PartitionSpec("x", "y"))
rows = NamedSharding(mesh, PartitionSpec("y"))
values = np.arange(64, dtype=np.float32).reshape(8, 8)
saved = {"split": jax.device_put(values, split), "rows": jax.device_put(values, rows), "one": jax.device_put(values)}
files.save(sys.argv[1], saved)
third = jax.devices()[2]
target = {
    "split": jax.device_put(0 * values, rows),
    "rows": jax.ShapeDtypeStruct((8, 8), np.float32, sharding=split),
    "one": jax.device_put(0 * values, third),
}
places = [target[name].sharding for name in target]
made = files.restore(sys.argv[1], target)
assert [made[name].sharding for name in made] == places
assert all((np.asarray(array) == values).all() for array in made.values())
assert made["one"].devices() == {third}
keys = jax.device_put(jax.random.split(jax.random.key(1), 4), NamedSharding(mesh, PartitionSpec(("x", "y"))))
files.save(sys.argv[1], keys)
again = files.restore(sys.argv[1], jax.device_put(jax.random.split(jax.random.key(2), 4), keys.sharding))
assert again.sharding == keys.sharding and (jax.random.key_data(again) == jax.random.key_data(keys)).all()
print("ok")
"""


def test_sharded_arrays_are_gathered_and_go_where_the_target_has_them(program, tmp_path, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=4")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    started = program(SHARDED, tmp_path / "it")
    assert started.line() == "ok", started.end()
    started.end()
