"""Steps of a restore that run code of the user's and may fail: load methods, and attributes of dataclasses.

Either every one of them is done, or every object is put back into the state it had before.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from holdfast.errors import MismatchError
from holdfast.state import generators, moving, protocols, stock
from holdfast.state.load import Builder
from holdfast.state.serializable import TreeDeserializer
from holdfast.state.tree import Array, Branch, Leaf, Node, Packed, StateTree

_log = logging.getLogger("holdfast")


class Step(Protocol):
    """One object that is to take a new state."""

    path: str

    @property
    def refuser(self) -> str:
        """What it is that may refuse the state, for messages."""

    def keep(self) -> None:
        """Remember the state that the object has; called before the first step runs."""

    def run(self) -> None: ...

    def put_back(self) -> None:
        """Give the object the state that was kept."""


def _no_parts(node: Node, value: Any, path: str) -> Any:
    raise AssertionError(f"{path}: only serialize() asks for parts")


_OWN = ("state", "param_groups")  # what an optimizer of torch's own replaces when it loads


@dataclass
class Copied:
    """A module whose arrays are copied with all others, after every step: nothing of it can fail."""

    path: str
    refuser: str = "it"

    def keep(self) -> None: ...

    def run(self) -> None: ...

    def put_back(self) -> None: ...


@dataclass
class Load:
    """An object with a load method of its own: what it is to be given, and what it has today."""

    path: str
    target: Any
    method: str  # "serialize", "state_dict" or "generator"
    node: Node
    today: Node
    strict: bool = True
    casting: str = "no"
    restore_part: Callable[[Node, Any, str], Any] = _no_parts
    fresh_rules: Sequence[Any] = ()  # Chainer's update rules in it that have no moments yet
    _before: dict[str, Any] = field(default_factory=dict)  # of an optimizer that leaves what it had alone

    def keep(self) -> None:
        if stock.is_optimizer(self.target):
            self._before = {name: getattr(self.target, name) for name in _OWN}
        else:
            self.today = detached(self.today)

    def run(self) -> None:
        self._give(self.node)

    def put_back(self) -> None:
        if self._before:
            self.target.__dict__.update(self._before)
        else:
            for rule in self.fresh_rules:
                rule._state = None  # else it asks for moments that it did not have
            self._give(self.today)

    def _give(self, node: Node) -> None:
        """Give the object a state, as private copies: it may keep what it gets."""
        if self.method == "serialize":
            self.target.serialize(TreeDeserializer(self.restore_part, node, self.path, strict=self.strict))
        elif self.method == "generator":
            assert isinstance(node, Branch)
            generators.set_state(node.kind, self.target, Builder("numpy").state(node))
        elif protocols.is_torch(self.target):  # copies it to its own devices
            today = self.target.state_dict()
            framework = "torch" if hasattr(self.target, "param_groups") else None  # it may have no moments to go by yet
            builder = Builder(framework, casting=self.casting, placing=False)
            builder.copy_at_once(node)
            state: Any = builder.build(node, today)
            if hasattr(today, "_metadata"):  # the versions of its modules
                state = OrderedDict(state)
                state._metadata = today._metadata
            if self.strict or hasattr(self.target, "param_groups"):
                self.target.load_state_dict(state)
            else:
                self.target.load_state_dict(state, strict=False)
        else:
            builder = Builder(None, casting=self.casting)
            builder.copy_at_once(node)
            self.target.load_state_dict(builder.build(node, self.target.state_dict()))

    @property
    def refuser(self) -> str:
        names = {"serialize": "its own serialize()", "state_dict": "its own load_state_dict()"}
        return names.get(self.method, "the generator")


@dataclass
class Assign:
    """A dataclass whose attributes are to be set, which its class may have made a call."""

    path: str
    target: Any
    values: dict[str, Any]  # only those that are other objects than today's
    refuser: str = "its class"
    _before: dict[str, Any] = field(default_factory=dict)

    def keep(self) -> None:
        self._before = {name: getattr(self.target, name) for name in self.values if hasattr(self.target, name)}

    def run(self) -> None:
        self._set(self.values)

    def put_back(self) -> None:
        self._set(self._before)

    def _set(self, values: dict[str, Any]) -> None:
        for name, value in values.items():
            setattr(self.target, name, value)


def run_steps(steps: list[Step], then: Callable[[], None]) -> None:
    """Run every step and then the rest, or leave everything as it was.

    Args:
        then: changes what else there is. It cannot fail, and doing it twice does no harm.
    Raises:
        MismatchError: a step failed; says of each object whether it is unchanged, put back, or not.
    """
    for step in steps:  # all of them first: objects may share arrays
        step.keep()
    number = 0
    try:
        while number < len(steps):
            steps[number].run()
            number += 1
        then()
    except BaseException as error:  # whatever it is, nothing must stay half-way
        if number == len(steps):
            then()
            raise
        outcome = _put_back(steps[: number + 1])
        outcome += [f"{_where(later)} is unchanged" for later in steps[number + 1 :]]
        said = f"{'; '.join(outcome)}; nothing else was changed"
        if not isinstance(error, Exception):
            _log.warning("a restore was interrupted: %s", said)
            raise
        step = steps[number]
        raise MismatchError(
            f"{_where(step)}: {step.refuser} refused the snapshot's state: {type(error).__name__}: {error}\n  {said}"
        ) from error


def _put_back(steps: list[Step]) -> list[str]:
    outcome = []
    for step in steps:
        try:
            step.put_back()
        except Exception as error:  # noqa: BLE001  # a user's method may raise anything, and the others must be put back too
            outcome.append(f"{_where(step)} was NOT put back ({type(error).__name__}: {error}); make a new one")
        else:
            outcome.append(f"{_where(step)} {'is unchanged' if isinstance(step, Copied) else 'was put back'}")
    return outcome


def _where(step: Step) -> str:
    return f"'{step.path}'" if step.path else "the target"


def detached(node: Node) -> Node:
    """The same node over copies of its leaves' bytes; arrays that share a leaf still do."""
    copies = moving.copies(StateTree(node).leaves())
    return _over(node, {leaf: Leaf(leaf.path, leaf.dtype, leaf.shape, leaf.nbytes, copies[leaf]) for leaf in copies})


def _over(node: Node, leaves: dict[Leaf, Leaf]) -> Node:
    if isinstance(node, Branch):
        children = tuple([_over(child, leaves) for child in node.children])
        return Branch(node.kind, node.keys, children, node.meta)
    if isinstance(node, Array):
        return Array(leaves[node.leaf], node.framework, node.view)
    if isinstance(node, Packed):
        return Packed(node.kind, leaves[node.leaf])
    return node
