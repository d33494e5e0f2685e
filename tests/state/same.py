"""What it means that two targets are the same, or that one did not change; and trees of flat names.

`bits` makes of a target something that is equal for two targets if and only if they have the same types and the same
bits. `state_of` does so for anything that can be captured.
"""

from __future__ import annotations

import dataclasses
import enum
import struct
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Mapping
from typing import Any

import jax
import ml_dtypes
import numpy as np
import pytest
import torch

from holdfast.errors import MismatchError
from holdfast.state import dtypes, generators
from holdfast.state.capture import capture
from holdfast.state.load import load
from holdfast.state.restore import restore
from holdfast.state.tree import Array, Branch, Leaf, StateTree, Value
from state.users import RECORDS, Node, Point


def bits(value: Any) -> Any:
    """Something hashable that is equal for two targets exactly where all types and all bits are."""
    kind = type(value)
    if kind is float:
        return kind, struct.pack("<d", value)
    if kind is complex:
        return kind, bits(value.real), bits(value.imag)
    if kind is slice:
        return kind, value.start, value.stop, value.step
    if value is None or kind in (bool, int, str, bytes, range, torch.Size, torch.dtype, torch.device):
        return kind, value
    if isinstance(value, np.void):
        return kind, _numpy_bits(np.asarray(value))
    if isinstance(value, np.generic):
        held = np.frombuffer(value.tobytes(), np.uint8)
        if value.dtype.char in "gG" and np.finfo(np.longdouble).nmant == 63:  # x86: six bytes of sixteen are no value
            held = held.reshape(-1, np.dtype(np.longdouble).itemsize)[:, :10].ravel()
        return kind, _numpy_bits(held), str(value.dtype)
    if isinstance(value, np.ndarray):
        return kind, _numpy_bits(value)
    if isinstance(value, torch.Tensor):
        return kind, value.dtype, value.shape, _tensor_bytes(value).tobytes()
    generator = generators.kind_of(value)
    if generator is not None:
        parts = generators.take_apart(generator, value)
        return kind, parts.meta, bits(dict(zip(parts.keys, parts.children, strict=True)))
    if isinstance(value, jax.Array):
        return "jax", value.weak_type, _numpy_bits(np.asarray(value))
    return kind, _container_bits(value)


def _numpy_bits(array: np.ndarray) -> Any:
    if array.dtype.names is not None:  # what pads the fields is no value
        return str(array.dtype), tuple((name, _numpy_bits(array[name])) for name in array.dtype.names)
    return str(array.dtype), array.shape, array.tobytes()


def _container_bits(value: Any) -> Any:
    if isinstance(value, OrderedDict):
        return tuple((bits(key), bits(item)) for key, item in value.items())
    if isinstance(value, dict):
        factory = value.default_factory if isinstance(value, defaultdict) else None
        return factory, frozenset((bits(key), bits(item)) for key, item in value.items())
    if isinstance(value, set | frozenset):
        return frozenset(Counter(bits(item) for item in value).items())
    if isinstance(value, deque):
        return value.maxlen, tuple(bits(item) for item in value)
    if isinstance(value, list | tuple):
        return tuple(bits(item) for item in value)
    if isinstance(value, enum.Enum):
        return value.value
    if dataclasses.is_dataclass(value):
        return tuple(bits(getattr(value, field.name)) for field in dataclasses.fields(value))
    return tuple(bits(item) for _, item in sorted(vars(value).items()))


def as_loaded(value: Any) -> Any:
    """What load gives for a target: numpy arrays, and plain containers in the place of a user's classes."""
    if isinstance(value, torch.Tensor):
        return _as_numpy(value)
    if isinstance(value, jax.Array) and generators.kind_of(value) is None:
        return np.asarray(value)
    if isinstance(value, enum.Enum):
        return as_loaded(value.value)
    if isinstance(value, defaultdict):
        return defaultdict(None, {key: as_loaded(item) for key, item in value.items()})
    if isinstance(value, dict):
        return type(value)({key: as_loaded(item) for key, item in value.items()})
    if isinstance(value, deque):
        return deque((as_loaded(item) for item in value), value.maxlen)
    if isinstance(value, Point | Node):
        return as_loaded((value.a, value.b))
    if isinstance(value, RECORDS):
        return {"a": as_loaded(value.a), "b": as_loaded(value.b)}
    if type(value) in (list, tuple):
        return type(value)(as_loaded(item) for item in value)
    return value


def _as_numpy(tensor: torch.Tensor) -> np.ndarray:
    name = str(tensor.dtype).removeprefix("torch.")
    dtype = np.dtype(getattr(ml_dtypes, name, None) or name)
    return _tensor_bytes(tensor).view(dtype).reshape(tuple(tensor.shape))


def _tensor_bytes(tensor: torch.Tensor) -> np.ndarray:
    if not tensor.numel():
        return np.empty(0, np.uint8)
    plain = tensor.detach().resolve_conj().resolve_neg().clone(memory_format=torch.contiguous_format)
    return plain.reshape(-1).view(torch.uint8).numpy()


def state_of(target: Any) -> Any:
    """The bits of a target's whole state, whatever it is: two calls give the same if it did not change in between."""
    return bits(load(capture(target)))


def untyped(found: Mapping[str, np.ndarray | None]) -> StateTree:
    """What a file without a tree of its own holds: arrays by their whole names, and None."""
    return StateTree(Branch("untyped", tuple(found), tuple(_untyped(name, array) for name, array in found.items())))


def _untyped(name: str, array: np.ndarray | None) -> Value | Array:
    if array is None or array.dtype == object:
        return Value("none", None)
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8) if array.nbytes else np.empty(0, np.uint8)
    return Array(Leaf(name, dtypes.from_numpy(array.dtype), array.shape, array.nbytes, data), "numpy")


def refused(saved: Any, target: Any, said: str, **options: Any) -> str:
    """The message of a restore that must fail and change nothing; `saved` may be a state that was loaded."""
    before = state_of(target)
    with pytest.raises(MismatchError, match=said) as caught:
        restore(capture(saved), target, **options)
    assert state_of(target) == before
    return str(caught.value)
