"""Modules and optimizers of torch whose load_state_dict() does what torch's own does, and nothing else.

To load such a module is to copy its arrays; such an optimizer takes what it is given and leaves what it had alone.
"""

from __future__ import annotations

import sys
from typing import Any

_HOOKS = ("_state_dict_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks")
_METHODS = ("state_dict", "load_state_dict", "_save_to_state_dict", "get_extra_state", "set_extra_state")
_LOAD = "_load_from_state_dict"
_OPTIMIZER_HOOKS = (
    "_optimizer_state_dict_pre_hooks", "_optimizer_state_dict_post_hooks",
    "_optimizer_load_state_dict_pre_hooks", "_optimizer_load_state_dict_post_hooks",
)  # fmt: skip


def is_module(value: object) -> bool:
    """Whether to load this is to copy every array of its state_dict(), in place, and nothing else."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(value, torch.nn.Module):
        return False
    if torch.__future__.get_swap_module_params_on_conversion():  # then its parameters become other objects
        return False
    known: dict[type, bool] = {}
    for module in value.modules():
        kind = type(module)
        if kind not in known:
            known[kind] = _is_plain(kind, torch.nn)
        if not known[kind] or any(module.__dict__.get(name) for name in _HOOKS):
            return False
        if not module.__dict__.keys().isdisjoint((*_METHODS, _LOAD)):
            return False
    return True


def _is_plain(kind: type, nn: Any) -> bool:
    """Whether a class of modules has torch's own methods; those of BatchNorm only read files of older versions."""
    loads = [nn.Module._load_from_state_dict, nn.modules.batchnorm._NormBase._load_from_state_dict]
    own = all(getattr(kind, name, None) is getattr(nn.Module, name) for name in _METHODS)
    return own and getattr(kind, _LOAD, None) in loads


def is_optimizer(value: object) -> bool:
    """Whether this is an optimizer of torch's own whose load_state_dict() makes a new state and new groups, and leaves
    the tensors that it had as they are."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(value, torch.optim.Optimizer):
        return False
    kind = type(value)
    if getattr(torch.optim, kind.__name__, None) is not kind:
        return False
    return not any(value.__dict__.get(name) for name in _OPTIMIZER_HOOKS) and "load_state_dict" not in value.__dict__
