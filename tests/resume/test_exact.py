"""A run that is stopped at any iteration and resumed ends as one that was not: the whole final state, bit for bit."""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import holdfast
from holdfast import iterators, training
from holdfast.state.capture import capture
from holdfast.state.flat import flatten
from holdfast.training import extensions, updaters

ITERATIONS = 18  # 7 to an epoch, as 40 examples make batches of 6


def numpy_parts():
    generator = np.random.default_rng(0)
    weights = {"W": generator.standard_normal((5, 5)), "b": np.zeros(5)}
    moments = {name: np.zeros_like(array) for name, array in weights.items()}

    def step(batch):
        x = batch * (generator.random(batch.shape) > 0.5)  # dropout
        error = x @ weights["W"] + weights["b"] - 1
        for name, gradient in (("W", x.T @ error), ("b", error.sum(0))):
            moments[name] *= 0.9
            moments[name] += gradient
            weights[name] -= 0.001 * moments[name]
        return {"loss": float((error**2).mean()) + 0 * random.random()}

    return step, {"weights": weights, "moments": moments, "noise": generator}


def torch_parts():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(5, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU(), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 4, gamma=0.5)

    def step(batch):
        optimizer.zero_grad()
        loss = model(torch.from_numpy(batch).float()).square().mean()
        loss.backward()
        optimizer.step()
        scheduler.step()
        return {"loss": loss}

    return step, {"model": model, "optimizer": optimizer, "scheduler": scheduler}


PARTS = {"numpy": numpy_parts, "torch": torch_parts}


def run(out: Path, parts, stop: int, *, suffix: str = "") -> tuple[dict[str, np.ndarray], list[dict[str, float]]]:
    """Train until iteration `stop` from wherever `out` has come to; the final state and the log."""
    random.seed(1)
    np.random.seed(1)
    step, targets = parts()
    data = np.random.default_rng(1).standard_normal((40, 5))
    batches = iterators.BatchIterator(data, 6, shuffle=True, seed=2)
    updater = updaters.FunctionUpdater(batches, step, targets=targets)
    trainer = training.Trainer(updater, (stop, "iteration"), out=out)

    @training.make_extension(trigger=(2, "iteration"), initializer=lambda trainer: (random.random(), np.random.rand(3)))
    def draws_in_initialize(trainer):
        holdfast.report({"drawn": random.random()})

    @training.make_extension(trigger=(1, "iteration"), priority=-1000)
    def draws_after_the_snapshot(trainer):
        holdfast.report({"late": float(np.random.random())})

    trainer.extend(draws_in_initialize)
    trainer.extend(extensions.LogReport(trigger=(0.4, "epoch")))
    trainer.extend(
        extensions.snapshot(filename="s_{.updater.iteration}" + suffix, autoload=True), trigger=(1, "iteration")
    )
    trainer.extend(draws_after_the_snapshot)
    trainer.run()
    state = {name: array for name, array in flatten(capture(trainer)).items() if not name.endswith("elapsed_time")}
    rows = json.loads((out / "log").read_text()) if (out / "log").exists() else []
    log = json.loads(state.pop("extensions/LogReport/_log").item())
    assert log == rows  # the file is the image of the state
    return state, [{key: value for key, value in row.items() if key != "elapsed_time"} for row in rows]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The final state and log of a run that nothing happened to, by framework."""
    found = {}

    def of(framework, suffix=""):
        if (framework, suffix) not in found:
            found[framework, suffix] = run(tmp_path_factory.mktemp("calm"), PARTS[framework], ITERATIONS, suffix=suffix)
        return found[framework, suffix]

    return of


@pytest.mark.parametrize("framework", ["numpy", "torch"])
@settings(max_examples=25, deadline=None)
@given(stops=st.lists(st.integers(1, ITERATIONS - 1), min_size=1, max_size=3, unique=True).map(sorted))
def test_a_run_that_is_stopped_anywhere_ends_as_if_it_had_not_been(uninterrupted, framework, stops):
    state, rows = uninterrupted(framework)
    folder = Path(tempfile.mkdtemp())
    try:
        for stop in [*stops, ITERATIONS]:
            found_state, found_rows = run(folder, PARTS[framework], stop)
    finally:
        shutil.rmtree(folder)
    assert found_rows == rows
    assert found_state.keys() == state.keys()
    for name, array in state.items():
        assert array.dtype == found_state[name].dtype, name
        assert array.tobytes() == found_state[name].tobytes(), name


@pytest.mark.parametrize("framework", ["numpy", "torch"])
@pytest.mark.parametrize("stop", [1, 5, 10])
def test_a_run_resumes_from_npz_files_too(uninterrupted, tmp_path, framework, stop):
    state, rows = uninterrupted(framework, ".npz")
    run(tmp_path, PARTS[framework], stop, suffix=".npz")
    found_state, found_rows = run(tmp_path, PARTS[framework], ITERATIONS, suffix=".npz")
    assert found_rows == rows
    for name, array in state.items():
        assert (name, array.tobytes()) == (name, found_state[name].tobytes())


@settings(max_examples=15, deadline=None)
@given(stop=st.integers(1, 11))
def test_a_jax_state_in_a_store_goes_on_bit_for_bit(stop):
    jax, optax = pytest.importorskip("jax"), pytest.importorskip("optax")
    optimizer = optax.adamw(0.01)

    @jax.jit
    def step(state):
        key, noise = jax.random.split(state["key"])

        def loss(params):
            return ((params["w"] * jax.random.normal(noise, (4,)) - 1) ** 2).sum() + params["b"] ** 2

        gradients = jax.grad(loss)(state["params"])
        updates, moments = optimizer.update(gradients, state["moments"], state["params"])
        return {"params": optax.apply_updates(state["params"], updates), "moments": moments, "key": key}

    def fresh():
        params = {"w": jax.numpy.ones(4), "b": jax.numpy.zeros(())}
        return {"params": params, "moments": optimizer.init(params), "key": jax.random.key(7)}

    def train(location, until):
        with holdfast.SnapshotStore(location, keep=holdfast.keep.last(2)) as store:
            state, snapshot = store.resume(fresh())
            for done in range((snapshot.step if snapshot else 0) + 1, until + 1):
                state = step(state)
                store.save(done, state).result()
        return state

    with tempfile.TemporaryDirectory() as calm, tempfile.TemporaryDirectory() as stopped:
        expected = train(calm, 12)
        train(stopped, stop)
        found = train(stopped, 12)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        if jax.dtypes.issubdtype(one.dtype, jax.dtypes.prng_key):
            one, other = jax.random.key_data(one), jax.random.key_data(other)
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


def test_a_plain_torch_loop_in_a_store_goes_on_bit_for_bit(tmp_path):
    torch = pytest.importorskip("torch")

    def train(location, until):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Dropout(0.5), torch.nn.Linear(4, 1))
        optimizer = torch.optim.AdamW(model.parameters())
        state = {"model": model, "optimizer": optimizer, "generator": torch.default_generator}
        with holdfast.SnapshotStore(location) as store:
            _, snapshot = store.resume(state)
            for done in range((snapshot.step if snapshot else 0) + 1, until + 1):
                optimizer.zero_grad()
                model(torch.randn(8, 3)).square().mean().backward()
                optimizer.step()
                store.save(done, state).result()
        return {name: array.tobytes() for name, array in flatten(capture(state)).items()}

    expected = train(tmp_path / "calm", 9)
    train(tmp_path / "stopped", 4)
    assert train(tmp_path / "stopped", 9) == expected
