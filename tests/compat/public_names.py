"""Prints, as JSON, the public names of the parts of Chainer that holdfast stands in for: by module, each with the
parameters of what can be called, as [name, kind, default]; a default is its repr where it is a plain value.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from types import ModuleType
from typing import Any

PLAIN = (bool, int, float, str, tuple, type(None))
OBJECT = "an object"


def names_of(module: ModuleType) -> list[str]:
    """What a module offers of its own or of the modules below it, and numbers; not what it has only imported."""
    return sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and not isinstance(value, ModuleType)
        and (isinstance(value, int) or str(getattr(value, "__module__", "")).startswith(module.__name__))
    )


def parameters_of(value: Any) -> list[list[str]]:
    """Of a function or a class; none of what cannot be called, or does not say."""
    try:
        found = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        return []
    return [[one.name, one.kind.name, _default(one.default)] for one in found]


def _default(value: Any) -> str:
    if value is inspect.Parameter.empty:
        return ""
    return repr(value) if isinstance(value, PLAIN) else OBJECT


def public(name: str) -> dict[str, list[list[str]]]:
    """The names of a module, and their parameters."""
    module = importlib.import_module(name)
    return {one: parameters_of(getattr(module, one)) for one in names_of(module)}


if __name__ == "__main__":
    json.dump({name: public(name) for name in sys.argv[1:]}, sys.stdout)
