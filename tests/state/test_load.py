"""A snapshot without a target: nested dicts, lists and tuples, in the framework that is asked for."""

from __future__ import annotations

import subprocess
import sys
from collections import OrderedDict
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import torch

from holdfast import files
from holdfast.errors import MismatchError
from holdfast.state.capture import capture
from holdfast.state.load import Builder, load
from state.same import bits, untyped
from state.users import Colour, Plain, Point


@pytest.fixture
def path(tmp_path):
    return tmp_path / "it.safetensors"


def saved() -> dict[str, Any]:
    return {"n": np.arange(3), "t": torch.arange(3, dtype=torch.bfloat16), "j": jnp.arange(3), "v": [1, ("a", None)]}


def test_numpy_gives_arrays_that_look_into_the_file_and_cannot_be_written_to(path):
    files.save(path, saved())
    found = files.load(path)
    assert found["v"] == [1, ("a", None)]
    assert [found[name].dtype for name in "ntj"] == [np.int64, ml_dtypes.bfloat16, np.int32]
    for name in "ntj":
        with pytest.raises(ValueError, match="read-only"):
            found[name][0] = 1


def test_numpy_gives_nothing_that_can_be_written_to_of_memory_that_can():
    row = np.zeros(2)
    found = load(capture({"a": row, "b": row.T, "c": row[::-1]}))
    assert not any(array.flags.writeable for array in found.values())
    assert row.flags.writeable


def test_a_loaded_array_outlives_the_file_that_it_came_from(path):
    files.save(path, {"a": np.arange(1000)})
    found = files.load(path)["a"]
    path.unlink()
    assert found.sum() == 499500


def test_torch_gives_tensors_of_their_own_that_can_be_written_to(path):
    files.save(path, saved())
    found = files.load(path, framework="torch")
    assert [found[name].dtype for name in "ntj"] == [torch.int64, torch.bfloat16, torch.int32]
    for name in "ntj":
        found[name] += 1
    assert found["t"].tolist() == [1, 2, 3]
    assert files.verify(path)


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu")])
def test_tensors_on_a_device_are_their_own_too(path, device):
    files.save(path, {"a": np.arange(3)})
    found = files.load(path, framework="torch", device=device)["a"]
    found += 1
    assert files.load(path)["a"].tolist() == [0, 1, 2]


def test_a_tensor_may_go_to_another_device():
    assert load(capture({"a": np.arange(3)}), framework="torch", device="meta")["a"].device.type == "meta"


def test_jax_gives_arrays_that_may_be_donated_without_harm_to_the_file(path):
    files.save(path, {"a": np.arange(4096, dtype="f4"), "t": torch.ones(2, dtype=torch.bfloat16)})
    found = files.load(path, framework="jax", device=jax.devices()[0])
    assert [type(array) for array in found.values()] == [type(jnp.ones(1))] * 2
    changed = jax.jit(lambda x: x.at[3].set(9), donate_argnums=0)(found["a"])
    assert changed[3] == 9
    assert files.verify(path)


@pytest.mark.parametrize(("framework", "value"), [("torch", np.array(["a"])), ("jax", np.arange(3))])
def test_what_a_framework_does_not_have_is_named_by_its_path(framework, value):
    with pytest.raises(MismatchError, match=r"^'state/it': (torch has no dtype for <U1|jax makes int32 of int64)"):
        load(capture({"state": {"it": value}}), framework=framework)


def test_an_unknown_framework_is_an_error_of_the_caller():
    with pytest.raises(ValueError, match="framework is 'tensorflow', wanted 'numpy', 'torch' or 'jax'"):
        load(capture(1), framework="tensorflow")


def test_a_framework_that_is_not_installed_says_so():
    code = (
        "import sys; sys.modules['torch'] = None\nimport numpy as np\n"
        "from holdfast.state.capture import capture\nfrom holdfast.state.load import load\n"
        "load(capture(np.ones(1)), framework='torch')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ModuleNotFoundError" in done.stderr


def test_classes_of_the_user_become_what_is_closest():
    loaded = load(capture({"p": Point(1, 2), "d": Plain(1, [2]), "c": Colour.GREEN}))
    assert bits(loaded) == bits({"p": (1, 2), "d": {"a": 1, "b": [2]}, "c": "green"})


WITHOUT = """
import sys
import numpy as np
from holdfast import files
found = files.load(sys.argv[1])
assert "torch" not in sys.modules and "jax" not in sys.modules
print(found["t"].tolist(), found["j"].tolist(), found["size"], found["dtype"], found["device"])
print(type(found["generator"]).__name__, found["generator"].dtype, type(found["key"]).__name__, found["key"].tolist())
"""


def test_a_process_without_the_frameworks_reads_what_they_saved(path):
    state = {
        "t": torch.arange(2), "j": jnp.arange(2), "size": torch.Size([1, 2]), "dtype": torch.int8,
        "device": torch.device("cpu"), "generator": torch.Generator(), "key": jax.random.key(3),
    }  # fmt: skip
    files.save(path, state)
    done = subprocess.run([sys.executable, "-c", WITHOUT, str(path)], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [
        "[0, 1] [0, 1] (1, 2) int8 cpu",
        "ndarray uint8 ndarray [0, 3]",
    ], done.stderr


# --- what a load method is given --------------------------------------------------------------------------------------


def build(value: Any, like: Any, **options: Any) -> Any:
    return Builder(None, **options).build(capture(value).root, like)


def test_arrays_take_the_framework_of_their_counterparts():
    made = build({"a": np.ones(2, "f4"), "b": torch.ones(2)}, {"a": torch.zeros(2), "b": np.zeros(2, "f4")})
    assert [type(one) for one in made.values()] == [torch.Tensor, np.ndarray]


def test_arrays_without_one_keep_theirs():
    assert type(build({"a": torch.ones(1)}, {})["a"]) is torch.Tensor
    assert type(Builder("torch").build(capture({"a": np.ones(1)}).root, {})["a"]) is torch.Tensor


def test_arrays_are_converted_only_as_far_as_casting_allows():
    like = {"a": np.zeros(1, "f4")}
    assert build({"a": np.ones(1)}, like)["a"].dtype == "f8"
    assert build({"a": np.ones(1)}, like, casting="same_kind")["a"].dtype == "f4"


def test_arrays_are_copies_and_those_that_were_one_are_one():
    row = np.ones(2)
    made = build({"a": row, "b": row}, None)
    assert made["a"] is made["b"]
    made["a"][0] = 5
    assert row[0] == 1


def test_a_jax_counterpart_says_where_an_array_goes():
    assert isinstance(build({"a": np.ones(1, "f4")}, {"a": jnp.zeros(1)})["a"], jax.Array)


@pytest.mark.parametrize(
    ("value", "like", "wanted"),
    [
        ((1, 2), Point(0, 0), Point(1, 2)), ({"a": 1, "b": 2}, Plain(0, 0), Plain(1, 2)), (1, Colour.GREEN, Colour.RED),
        (OrderedDict(a=1), {"a": 0}, OrderedDict(a=1)), ([1, (2, 3)], [0, Point(0, 0)], [1, Point(2, 3)]),
        ((1, 2, 3), Point(0, 0), (1, 2, 3)), (np.array(3), 0, 3), ({"b": 1}, {"a": 2}, {"b": 1}),
    ],
)  # fmt: skip
def test_classes_come_from_the_counterpart_where_they_fit(value, like, wanted):
    assert bits(build(value, like)) == bits(wanted)


def test_flat_names_take_their_structure_from_the_counterpart():
    tree = untyped({"a/~i0": np.ones(1), "a/~i1": np.array(3), "s/~i5/m": np.ones(2)})
    made = Builder("numpy").build(tree.root, {"a": (np.zeros(1), 0), "s": {}, "empty": [{}], "gone": 3})
    assert bits(made) == bits({"a": (np.ones(1), 3), "s": {5: {"m": np.ones(2)}}, "empty": [{}]})


def test_flat_names_without_a_counterpart_are_nested():
    assert Builder("numpy").build(untyped({"a/~i0": np.ones(1)}).root)["a"][0].tolist() == [1]
