"""Random generators as branches and back: Python's, NumPy's, torch's, and jax's typed keys.

The state is kept as arrays and numbers, and given to the generator that the target has.
"""

from __future__ import annotations

import random
import sys
from typing import Any

import numpy as np

from holdfast.errors import CaptureError, MismatchError
from holdfast.state import arrays
from holdfast.state.containers import Parts

KINDS = frozenset("random.Random numpy.Generator numpy.RandomState torch.Generator jax.key".split())


def global_generators() -> dict[str, Any]:
    """The live generators of this process that `random`, `numpy.random` and, where it is loaded, `torch` on the CPU
    draw from."""
    found: dict[str, Any] = {
        "python": random.getstate.__self__,  # type: ignore[attr-defined]
        "numpy": np.random.get_state.__self__,  # type: ignore[attr-defined]
    }
    if "torch" in sys.modules:
        found["torch"] = sys.modules["torch"].default_generator
    return found


def kind_of(value: object) -> str | None:
    """The kind of branch that a generator becomes; None where it is none."""
    if isinstance(value, random.Random):
        return "random.Random"
    if isinstance(value, np.random.Generator):
        return "numpy.Generator"
    if isinstance(value, np.random.RandomState):
        return "numpy.RandomState"
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Generator):
        return "torch.Generator"
    return "jax.key" if arrays.is_jax_key(value) else None


def take_apart(kind: str, value: Any) -> Parts:
    """The state of a generator, copied; its algorithm or device is the meta.

    Raises:
        CaptureError: it has no state that could be set again.
    """
    if kind == "random.Random":
        if type(value) is not random.Random:
            raise CaptureError(f"a {type(value).__name__} has no state to set again; use random.Random")
        version, words, gauss = value.getstate()
        return Parts(kind, ("version", "words", "gauss"), (version, np.array(words, np.uint32), gauss))
    if kind == "numpy.Generator":
        state = value.bit_generator.state
        return Parts(kind, ("state",), (state,), str(state["bit_generator"]))
    if kind == "numpy.RandomState":
        state = value.get_state(legacy=False)
        return Parts(kind, ("state",), (state,), str(state["bit_generator"]))
    if kind == "torch.Generator":
        return Parts(kind, ("state",), (value.get_state(),), value.device.type)
    return Parts(kind, ("data",), (key_data(value),), key_implementation(value))


def key_data(key: Any) -> Any:
    """The numbers of a typed jax key; where it is only a place for one, a place for them."""
    jax = sys.modules["jax"]
    return jax.eval_shape(jax.random.key_data, key) if arrays.is_abstract(key) else jax.random.key_data(key)


def key_implementation(key: Any) -> str:
    """The name of the algorithm of a typed jax key, or of a place for one."""
    jax = sys.modules["jax"]
    if not arrays.is_abstract(key):
        return str(jax.random.key_impl(key))
    found: list[str] = []
    jax.eval_shape(lambda traced: found.append(str(jax.random.key_impl(traced))), key)
    return found[0]


def set_state(kind: str, target: Any, state: dict[Any, Any]) -> None:
    """Give a generator the state of `take_apart`, under its keys.

    Raises:
        MismatchError: it is no state of such a generator.
    """
    try:
        if kind == "random.Random":
            target.setstate((state["version"], tuple(np.asarray(state["words"]).tolist()), state["gauss"]))
        elif kind == "numpy.Generator":
            target.bit_generator.state = state["state"]
        elif kind == "numpy.RandomState":
            target.set_state(state["state"])
        else:
            torch = sys.modules["torch"]
            target.set_state(torch.as_tensor(np.array(state["state"], np.uint8)))
    except (KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise MismatchError(f"the snapshot holds no state of a {kind}: {error}") from error


def make(kind: str, state: dict[Any, Any], meta: Any) -> Any:
    """A new generator in that state, for a snapshot that is read without a target.

    Returns:
        the generator; of a torch.Generator where torch is not loaded, and of a jax key where jax is not, the array.
    Raises:
        MismatchError: it is no state of such a generator.
    """
    if kind == "random.Random":
        made: Any = random.Random()
    elif kind in ("numpy.Generator", "numpy.RandomState"):
        found = getattr(np.random, meta, None) if meta in BIT_GENERATORS else None
        if found is None:
            raise MismatchError(f"the snapshot names the bit generator {meta!r:.40}, which numpy does not have")
        made = (np.random.Generator if kind == "numpy.Generator" else np.random.RandomState)(found())
    elif kind == "torch.Generator":
        if "torch" not in sys.modules:
            return state["state"]
        made = sys.modules["torch"].Generator(meta if meta in ("cpu", "cuda", "mps", "xpu") else "cpu")
    else:
        return wrap_key(state["data"], meta) if "jax" in sys.modules else state["data"]
    set_state(kind, made, state)
    return made


BIT_GENERATORS = frozenset("MT19937 PCG64 PCG64DXSM Philox SFC64".split())


def wrap_key(data: Any, implementation: str) -> Any:
    """A typed jax key of its data, a numpy or jax array.

    Raises:
        MismatchError: jax does not know the algorithm, or it has other data.
    """
    jax = sys.modules["jax"]
    try:
        return jax.random.wrap_key_data(jax.numpy.asarray(data), impl=implementation)
    except (TypeError, ValueError) as error:
        raise MismatchError(
            f"jax cannot make a key of the snapshot's data ({implementation!r:.40}): {error}"
        ) from error
