"""Which way of its own an object has to give and take its state, and what kind of object it is.

An optimizer, a scheduler or an extension may hold keys that only one side has: a fresh Adam has no moments yet. In a
module or a container a key that only one side has is a mistake.
"""

from __future__ import annotations

import functools
import sys
import types
from collections import deque
from typing import Any

from holdfast.errors import CaptureError
from holdfast.state import arrays

LENIENT = "keys_may_differ"
"""An attribute that a class sets to True to say that its state may hold keys that a fresh object does not have."""


def protocol_of(value: object, where: str) -> str | None:
    """ "serialize" (Chainer's), "state_dict" (with load_state_dict), or None.

    Raises:
        CaptureError: the object can give its state, but not take it.
    """
    if isinstance(value, type):
        return None
    if callable(getattr(type(value), "serialize", None)):
        return "serialize"
    if callable(getattr(value, "state_dict", None)):
        if not callable(getattr(value, "load_state_dict", None)):
            raise CaptureError(
                f"{where} is {named(value)} with state_dict() but without load_state_dict(): it could be saved and "
                "never restored; add the method, or save what state_dict() gives"
            )
        return "state_dict"
    return None


def may_differ(value: object) -> bool:
    """Whether keys of this object's state that only one side has are legal.

    They are in what has a load_state_dict() of its own and is no module (optimizers, schedulers, loaders, ...), in
    Chainer's optimizers, and wherever the class says so.
    """
    said = getattr(type(value), LENIENT, None)
    if said is not None:
        return bool(said)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.nn.Module):
        return False
    if callable(getattr(type(value), "serialize", None)):
        return hasattr(value, "target") and hasattr(value, "update")
    return True


def is_torch(value: object) -> bool:
    """Whether this is a module or an optimizer of torch, which take tensors whatever the snapshot was made from."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.nn.Module | torch.optim.Optimizer)


MOMENTS = frozenset(
    "exp_avg exp_avg_sq max_exp_avg_sq exp_inf momentum_buffer square_avg acc_delta grad_avg sum prev step_size "
    "ax".split()
)
"""State of torch's optimizers that has an element for each of its parameter's. Source: torch 2.13, torch/optim/*.py."""


def converts_moments(optimizer: object) -> bool:
    """Whether its load_state_dict() is torch's own, which converts moments to the dtype of their parameter."""
    torch = sys.modules.get("torch")
    return (
        torch is not None and getattr(type(optimizer), "load_state_dict", None) is torch.optim.Optimizer.load_state_dict
    )


def parameters_of(optimizer: Any) -> list[Any]:
    """The parameters of a torch optimizer, in the order in which its state numbers them; none for other objects."""
    groups = getattr(optimizer, "param_groups", None)
    if not isinstance(groups, list):
        return []
    return [parameter for group in groups if isinstance(group, dict) for parameter in group.get("params", [])]


def keeps_reserved(value: object) -> bool:
    """Whether this object, a trainer, keeps state of its surroundings beside its own: it has `reserved_state()`, which
    gives it, and `restore_reserved(node)`, which takes it."""
    return callable(getattr(type(value), "reserved_state", None))


_CODE = (
    types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.ModuleType, types.WrapperDescriptorType,
    types.MethodWrapperType, types.MethodDescriptorType, types.CodeType, functools.partial,
)  # fmt: skip
_BASES = (dict, list, tuple, set, frozenset, deque, bytes, int, float, complex, str)


def advice(value: object) -> str:
    """What to do about an object that no protocol knows: the end of a sentence about it."""
    if isinstance(value, type):
        return "a class and no object; keep an instance of it"
    if isinstance(value, _CODE):
        return "code and no state; leave it out"
    if type(value).__name__ == "DataLoader":
        return (
            "which cannot tell its place in the epoch; leave it out, and keep an iterator that can: "
            "holdfast.iterators.LoaderIterator(loader), or a loader with state_dict() and load_state_dict()"
        )
    if arrays.is_abstract(value):
        return "a place for an array, without values; save the arrays themselves"
    if isinstance(value, bytearray | memoryview):
        return "which is not kept; keep bytes, or a numpy array of uint8"
    base = next((base.__name__ for base in _BASES if isinstance(value, base)), None)
    if base is not None:
        return (
            f"a kind of {base} that may hold more than its items or its value; keep {base}(...) of it, or give it "
            "state_dict() and load_state_dict()"
        )
    if not hasattr(value, "__dict__"):
        return "which holdfast cannot take apart; leave it out, or keep what matters of it in plain values or arrays"
    return (
        "which holdfast cannot take apart; leave it out, keep a dict of what matters (vars(...) of it), make it a "
        "dataclass, or give it state_dict() and load_state_dict()"
    )


def named(value: object) -> str:
    """The class of a value with its article, for messages."""
    kind = type(value)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return f"an {name}" if name[0].lower() in "aeiou" else f"a {name}"
