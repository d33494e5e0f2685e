"""Chainer's update rules, of which a fresh one has no moments yet: it asks for them when it is restored, with None.

One that asks in vain is broken from then on. So what it is going to ask for is looked up before anything changes; and
before an object is put back, its fresh rules are made fresh again, since one that has moments asks for those.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np

from holdfast.state import arrays
from holdfast.state.lookup import Children, child
from holdfast.state.tree import Array, Node, Value, join


def fresh_in(owners: Mapping[str, object]) -> list[Any]:
    """The rules without moments of all optimizers of Chainer's among some objects, given by their paths."""
    return [rule for path, owner in owners.items() for _, rule in _fresh_rules(owner, path, owners)]


def _fresh_rules(owner: object, path: str, others: Collection[str]) -> Iterator[tuple[str, Any]]:
    """Those of an optimizer, or of those of an updater, with their paths.

    Args:
        path: of the owner.
        others: paths of objects that are asked themselves.
    """
    kind = getattr(sys.modules.get("chainer"), "Optimizer", None)
    if kind is None:
        return
    found = [(path, owner)]
    if callable(getattr(type(owner), "get_all_optimizers", None)):
        named = owner.get_all_optimizers().items()  # type: ignore[attr-defined]
        found = [(at, one) for name, one in named if (at := join(path, f"optimizer:{name}")) not in others]
    for at, optimizer in found:
        if isinstance(optimizer, kind) and optimizer.target is not None:
            for name, parameter in optimizer.target.namedparams():
                rule = getattr(parameter, "update_rule", None)
                if rule is not None and rule.state is None:
                    yield f"{at}/{name.strip('/')}".strip("/"), rule


def missing_moments(owner: object, node: Node, path: str, others: Collection[str]) -> Iterator[str]:
    """Paths that fresh rules will ask for and a snapshot lacks.

    Args:
        node: of the owner.
        others: paths of objects that are asked themselves.
    """
    for at, rule in _fresh_rules(owner, path, others):
        part: Node | None = node
        for name in at.removeprefix(path).strip("/").split("/"):
            part = None if part is None else child(part, name)
        children = Children(part)
        if part is not None and rule.enabled and not is_of_no_update(children):
            yield from (join(at, name) for name in _moments_of(rule) if children.get(name) is None)


def is_of_no_update(children: Children) -> bool:
    """Whether these belong to a rule that counts no update yet, and so has no moments to save."""
    count = children.get("t")
    if isinstance(count, Array):
        return arrays.shape_of(count) == () and not arrays.carried(count).any()
    return count == Value("int", 0)


def _moments_of(rule: Any) -> list[str]:
    """The names of what a rule keeps, found out as Chainer does when it restores one."""
    probe, array = copy.copy(rule), np.zeros(1, np.float32)
    probe._state = {}
    probe.init_state(sys.modules["chainer"].Variable(array, grad=array))
    return list(probe._state)
