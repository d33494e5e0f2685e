"""Random generators: what they draw after a restore is what they would have drawn."""

from __future__ import annotations

import random
from typing import Any

import jax
import numpy as np
import pytest
import torch

from holdfast import files
from holdfast.errors import CaptureError, MismatchError
from holdfast.state import generators
from holdfast.state.capture import capture
from holdfast.state.load import load
from holdfast.state.restore import restore
from holdfast.state.tree import Branch, StateTree, Value
from state.same import bits, state_of


def draw(generator: Any) -> list[float]:
    """The next numbers, of every kind that a generator may have cached a part of."""
    if isinstance(generator, random.Random):
        return [generator.gauss(0, 1), generator.random(), float(generator.getrandbits(40))]
    if isinstance(generator, np.random.Generator):
        return [*generator.normal(size=3), *generator.integers(9, size=3, dtype=np.uint32).tolist()]
    if isinstance(generator, np.random.RandomState):
        return [*generator.normal(size=3), generator.random_sample()]
    if isinstance(generator, torch.Generator):
        return [*torch.randn(3, generator=generator).tolist(), *torch.rand(3, generator=generator).tolist()]
    return jax.random.normal(generator if generator.ndim == 0 else generator[0], (3,)).tolist()


MAKERS = {
    "random": random.Random,
    **{
        name: lambda seed, name=name: np.random.Generator(getattr(np.random, name)(seed))
        for name in ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")
    },
    "RandomState": np.random.RandomState,
    "torch": lambda seed: torch.Generator().manual_seed(seed),
    "threefry": jax.random.key,
    "rbg": lambda seed: jax.random.key(seed, impl="rbg"),
    "keys": lambda seed: jax.random.split(jax.random.key(seed), 3),
}


@pytest.mark.parametrize("name", MAKERS)
def test_a_generator_goes_on_as_if_it_had_never_been_saved(name, tmp_path):
    saved, fresh = MAKERS[name](1), MAKERS[name](2)
    draw(saved)
    files.save(tmp_path / "it", {"g": saved})
    target = files.restore(tmp_path / "it", {"g": fresh})
    assert (target["g"] is fresh) == (name not in ("threefry", "rbg", "keys"))
    assert draw(target["g"]) == draw(saved)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("framework", ["numpy", "torch", "jax"])
def test_a_generator_is_made_where_there_is_no_target(name, framework):
    saved = MAKERS[name](1)
    draw(saved)
    made = load(capture(saved), framework=framework)
    assert type(made) is type(saved)
    assert draw(made) == draw(saved)


def test_a_draw_after_the_capture_does_not_change_what_is_kept_of_python_and_numpy():
    for name in ("random", "PCG64", "RandomState", "torch"):
        saved = MAKERS[name](1)
        tree = capture(saved)
        wanted = draw(restore(tree, MAKERS[name](2)))
        assert draw(saved) == wanted


@pytest.mark.parametrize(
    ("saved", "target", "said"),
    [
        (
            np.random.Generator(np.random.MT19937(1)),
            np.random.default_rng(1),
            r"\(MT19937\) in the snapshot but a numpy.Generator \(PCG64\)",
        ),
        (np.random.RandomState(1), np.random.default_rng(1), r"a numpy.Generator \(PCG64\)"),
        (random.Random(1), np.random.default_rng(1), "a numpy.Generator"),
        (
            jax.random.key(1),
            jax.random.key(1, impl="rbg"),
            r"a jax.key \(threefry2x32\) in the snapshot but a jax.key \(rbg\)",
        ),
        (jax.random.split(jax.random.key(1), 2), jax.random.key(1), r"U32 \(2, 2\) in the snapshot but U32 \(2,\)"),
    ],
)
def test_another_kind_of_generator_is_refused_before_anything_changes(saved, target, said):
    before = state_of(target)
    first = np.zeros(1)
    with pytest.raises(MismatchError, match=said):
        restore(capture([np.ones(1), saved]), [first, target])
    assert state_of(target) == before
    assert first.tolist() == [0]


def test_a_state_that_a_generator_refuses_puts_it_back():
    good = capture(random.Random(1)).root
    assert isinstance(good, Branch)
    bad = Branch(good.kind, good.keys, (Value("int", 77), *good.children[1:]), good.meta)
    target = random.Random(2)
    before = target.getstate()
    with pytest.raises(MismatchError, match=r"the generator refused the snapshot's state") as caught:
        restore(StateTree(Branch("dict", ("g",), (bad,))), {"g": target})
    assert "holds no state of a random.Random" in str(caught.value)
    assert "'g' was put back" in str(caught.value)
    assert target.getstate() == before


@pytest.mark.parametrize(
    ("kind", "state", "meta"),
    [
        ("random.Random", {"version": 3}, None),
        ("random.Random", {"version": 3, "words": np.arange(3), "gauss": None}, None),
        ("numpy.Generator", {"state": {"bit_generator": "PCG64"}}, "PCG64"),
        ("numpy.Generator", {"state": 3}, "PCG64"),
        ("numpy.Generator", {"state": 3}, "os"),
        ("numpy.RandomState", {"state": {}}, "seed"),
        ("torch.Generator", {"state": np.zeros(3, np.uint8)}, "cpu"),
        ("jax.key", {"data": np.zeros(3, np.uint32)}, "threefry2x32"),
        ("jax.key", {"data": np.zeros(2, np.uint32)}, "nothing"),
    ],
)
def test_a_file_that_holds_no_state_of_a_generator_is_a_mismatch(kind, state, meta):
    with pytest.raises(MismatchError):
        generators.make(kind, state, meta)


def test_nothing_that_a_file_names_is_called(monkeypatch):
    monkeypatch.setattr(np.random, "Evil", lambda: pytest.fail("was called"), raising=False)
    for kind in ("numpy.Generator", "numpy.RandomState"):
        with pytest.raises(MismatchError, match="the bit generator 'Evil', which numpy does not have"):
            generators.make(kind, {"state": {}}, "Evil")


def test_a_generator_that_cannot_be_set_again_is_no_target_either():
    with pytest.raises(CaptureError, match="'g' a SystemRandom has no state to set again"):
        restore(capture({"g": random.Random(1)}), {"g": random.SystemRandom()})


def test_a_deleted_key_is_refused():
    key = jax.random.key(1)
    key.delete()
    with pytest.raises(CaptureError, match="was deleted"):
        capture({"k": key})


def test_a_place_for_a_key_takes_one():
    place = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 2))
    saved = jax.random.split(jax.random.key(1), 2)
    assert bits(restore(capture({"k": saved}), {"k": place})["k"]) == bits(saved)


def test_raw_keys_are_arrays():
    saved = jax.random.PRNGKey(3)
    assert bits(restore(capture(saved), jax.random.PRNGKey(0))) == bits(saved)
