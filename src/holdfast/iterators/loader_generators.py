"""What a pass over a loader follows from: its samplers, and the generators that these and the workers draw from."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from holdfast.state import arrays, generators

States = dict[str, dict[str, Any]]  # of generators, by name


def samplers_of(loader: Any) -> dict[str, Any]:
    """What a loader takes its indices from, with the samplers inside that, by where they stand."""
    data = sys.modules.get("torch.utils.data")
    name = "sampler" if getattr(loader, "batch_sampler", None) is None else "batch_sampler"
    found: dict[str, Any] = {}
    ahead = [(name, getattr(loader, name, None))]
    while ahead:
        where, sampler = ahead.pop()
        if sampler is None or any(sampler is one for one in found.values()):
            continue
        found[where] = sampler
        for inner, value in getattr(sampler, "__dict__", {}).items():
            if inner in ("sampler", "batch_sampler") or (data is not None and isinstance(value, data.Sampler)):
                ahead.append((f"{where}.{inner}", value))
    return found


def set_epoch(samplers: Mapping[str, Any], epoch: int) -> None:
    """Tell it to the samplers that want to know, as DistributedSampler does."""
    for sampler in samplers.values():
        if callable(getattr(sampler, "set_epoch", None)):
            sampler.set_epoch(epoch)


def own_generators(loader: Any, samplers: Mapping[str, Any]) -> dict[str, Any]:
    """The generators of a loader and its samplers, once each, by where they stand; "generator" is the loader's.

    Raises:
        CaptureError: one has no state that could be set again.
    """
    places = [("generator", loader.generator)]
    for where, sampler in samplers.items():
        places += [(f"{where}.{name}", value) for name, value in getattr(sampler, "__dict__", {}).items()]
    known = {id(generator) for generator in generators.global_generators().values()}
    found = {}
    for where, value in places:
        if generators.kind_of(value) not in (None, "jax.key") and id(value) not in known:
            known.add(id(value))
            found[where] = value
    read(found)
    return found


def read(found: Mapping[str, Any]) -> States:
    """The states of generators, copied.

    Raises:
        CaptureError: one has no state that could be set again.
    """
    states = {}
    for name, generator in found.items():
        parts = generators.take_apart(str(generators.kind_of(generator)), generator)
        children = [np.asarray(child) if arrays.framework_of(child) else child for child in parts.children]
        states[name] = {str(key): child for key, child in zip(parts.keys, children, strict=True)}
    return states


def write(found: Mapping[str, Any], states: Mapping[str, Any]) -> None:
    """Give generators these states.

    Raises:
        MismatchError: one is no state of such a generator.
    """
    for name, generator in found.items():
        generators.set_state(str(generators.kind_of(generator)), generator, states[name])
