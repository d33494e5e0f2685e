"""State tree -> live object, all or nothing.

First everything is looked at: each place of the target against its node, each load method's object against the state it
has today. Then whatever is new is made. Only then, if nothing is wrong, does anything change: objects with a load
method of their own are given private copies, and where one fails every one is put back; then arrays are copied in
place, and last the containers are filled, which cannot fail.
"""

from __future__ import annotations

import enum
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from holdfast.errors import CaptureError, MismatchError
from holdfast.state import (
    arrays,
    containers,
    fit,
    generators,
    lookup,
    protocols,
    stock,
    update_rules,
    values,
    writes,
)
from holdfast.state.capture import Capture, where
from holdfast.state.containers import Parts
from holdfast.state.encoding import collector_paused
from holdfast.state.fit import Misfits
from holdfast.state.load import Builder, scalar
from holdfast.state.loading import Assign, Copied, Load, Step, detached, run_steps
from holdfast.state.placing import usual_write, usual_writes
from holdfast.state.today import alike, captured, is_hollow, typed
from holdfast.state.tree import Array, Branch, Key, Node, StateTree, Value, join
from holdfast.state.writes import Write, hold, is_all_of, write_of

Finish = Callable[[], Any]
Change = Callable[[], None]


def restore(
    tree: StateTree,
    target: Any,
    *,
    strict: bool = True,
    casting: str = "no",
    may_lack: Callable[[str], bool] = lambda path: False,
    may_have_more: Callable[[str], bool] = lambda path: False,
) -> Any:
    """Put a state into `target`, wholly or not at all.

    Args:
        tree: its leaves must have been verified.
        target: of the same structure: what can change in place does.
        strict: keys that only one side has are an error; else the target keeps what the tree lacks, and what only the
            tree has is left out.
        casting: what numpy's casting rules may do where dtypes differ: "no", "safe", "same_kind", "unsafe".
        may_lack: whether the tree may lack a path of the target, even where it is strict.
        may_have_more: whether the tree may hold a path that the target does not have, even where it is strict.
    Returns:
        The target, or a new object where it cannot change in place.
    Raises:
        MismatchError: the tree does not fit; lists what is missing, unexpected and different; nothing was changed.
            Or a load method failed, and what came of it is said.
        CaptureError: the target holds something that cannot be restored.
    """
    if casting not in ("no", "equiv", "safe", "same_kind", "unsafe"):
        raise ValueError(f"casting is {casting!r}, wanted 'no', 'equiv', 'safe', 'same_kind' or 'unsafe'")
    root, reserved = tree.root, tree.reserved
    if isinstance(root, Branch) and root.kind == "untyped":
        root, reserved = lookup.without_reserved(root)
    plan = _Plan(strict, casting, may_lack, may_have_more)
    try:
        restored = plan.carry_out(root, target, "")
    finally:
        plan.forget()
    if reserved is not None and protocols.keeps_reserved(target):
        target.restore_reserved(detached(reserved))
    return restored


@dataclass
class _Plan:
    """What is to be done to a target, found out before anything is done."""

    strict: bool
    casting: str
    may_lack: Callable[[str], bool]
    may_have_more: Callable[[str], bool]
    is_part: bool = False  # of an object that is put back as a whole

    def __post_init__(self) -> None:
        self.misfits = Misfits(self.strict, self.casting, self.may_lack, self.may_have_more)
        self.steps: list[Step] = []
        self.writes: list[Write] = []
        self.changes: list[Change] = []
        # by id, of containers that change in place: where they stand, and what they are to hold
        self.filled: dict[int, tuple[str, list[Any]]] = {}
        self.builder = Builder(None, casting=self.casting)
        self.trial_of: _Plan | None = None  # the plan that is carried out, where this one only tries a part of it

    @property
    def whole(self) -> _Plan:
        return self.trial_of or self

    def carry_out(self, node: Node, target: Any, path: str) -> Any:
        with collector_paused():  # it would run again and again over what is only growing
            finish = self.visit(node, target, path)
            self.misfits.raise_any()
            if not self.is_part and writes.would_change(self.writes, [one.leaf for one in StateTree(node).holders()]):
                self.forget()
                finish = self.visit(detached(node), target, path)
            writes.prepare(self.writes, self.misfits)
        self.misfits.raise_any()
        restored = finish()
        self.misfits.raise_any()
        if self.is_part:
            for step in self.steps:
                step.run()
            self._apply()
        else:
            run_steps(self.steps, self._apply)
        return restored

    def forget(self) -> None:
        """Let go of what refers back to this plan, and so of the file that the tree lies in: at once, and not when the
        garbage collector comes by."""
        self.steps, self.writes, self.changes, self.filled = [], [], [], {}

    def _apply(self) -> None:
        writes.run(self.writes)
        for change in self.changes:
            change()

    def visit(self, node: Node, target: Any, path: str) -> Finish:
        """Plan one place. What is returned makes, before anything is changed, the value that is to stand there."""
        if type(target) is np.ndarray:
            return self._array(lookup.unpacked(node), target, "numpy", path)
        node = lookup.unpacked(node)
        if target is None:
            return lambda: self._build(node, None, path)  # nothing is there yet: it is made as the snapshot has it
        framework = "jax" if arrays.is_abstract(target) else arrays.framework_of(target)
        if framework is not None and not arrays.is_jax_key(target):
            return self._array(node, target, framework, path)
        generator = generators.kind_of(target)
        if generator is not None:
            return self._generator(node, target, generator, path)
        if protocols.protocol_of(target, where(path)) is not None:
            return self._load(node, target, path)
        try:
            plain = values.to_value(target)
            parts = None if plain or type(target) in (str, bytes) else containers.take_apart(target)
        except CaptureError as error:
            raise CaptureError(f"{where(path)} {error}") from None
        if parts is None and plain is None and type(target) not in (str, bytes):
            raise CaptureError(f"{where(path)} is {protocols.named(target)}, {protocols.advice(target)}")
        if fit.is_none(node):
            return lambda: None
        if parts is None:
            return self._value(node, target, plain or Value(type(target).__name__, None), path)
        if parts.kind == "enum":
            return lambda: self._member(node, target, parts.children[0], path)
        return self._container(node, target, parts, path)

    def _build(self, node: Node, like: Any, path: str) -> Any:
        try:
            return self.whole.builder.build(node, like)
        except MismatchError as error:
            self.whole.misfits.differs(path, node, "nothing that could be made of it", str(error))
            return None

    def _generator(self, node: Node, target: Any, kind: str, path: str) -> Finish:
        try:
            today = generators.take_apart(kind, target)
        except CaptureError as error:
            raise CaptureError(f"{where(path)} {error}") from None
        if isinstance(node, Branch) and node.kind == "untyped":
            node = typed(node, kind, today)
        if not isinstance(node, Branch) or node.kind != kind or node.meta != today.meta:
            self.misfits.differs(path, node, f"a {kind} ({today.meta})" if today.meta else f"a {kind}")
            return lambda: target
        if kind != "jax.key":
            self.steps.append(Load(path, target, "generator", node, Capture(target, at=path).tree.root))
            return lambda: target
        data, like = lookup.child(node, "data"), today.children[0]
        dtype, shape = arrays.dtype_of(like, "jax"), tuple(like.shape)
        if self.misfits.check_array(join(path, "data"), data, dtype, shape):
            assert isinstance(data, Array)
            write = Write(join(path, "data"), data, like, "jax", dtype)
            self.writes.append(write)
            return lambda: generators.wrap_key(write.result(), str(today.meta))
        return lambda: target

    def _array(self, node: Node, target: Any, framework: str, path: str) -> Finish:
        if fit.is_none(node):
            return lambda: None
        if framework != "jax":  # of a deleted jax array, shape and dtype are all that is needed
            try:
                arrays.check(target, framework)
            except CaptureError as error:
                raise CaptureError(f"{where(path)}: {error}") from None
        dtype, shape = arrays.dtype_of(target, framework), tuple(target.shape)
        if not self.misfits.check_array(path, node, dtype, shape):
            return lambda: target
        refusal = arrays.refuses_writes(target, framework)
        if refusal is not None:
            self.misfits.differs(path, node, refusal)
            return lambda: target
        assert isinstance(node, Array)
        write = write_of(path, node, target, framework, dtype)
        self.writes.append(write)
        return write.result

    def _load(self, node: Node, target: Any, path: str) -> Finish:
        if fit.is_none(node):
            self.misfits.differs(path, node, f"a {type(target).__qualname__}")
            return lambda: target
        today = Capture(target, at=path)
        held: list[Write] = []
        fit.compare(self.misfits, today.owners, node, today.tree.root, path, partial(hold, held))
        self.writes += held
        if stock.is_module(target) and is_all_of(held, today.tree):
            for write in held:
                write.held = False
            self.steps.append(Copied(path))
            return lambda: target
        method = protocols.protocol_of(target, where(path))
        assert method is not None
        part, fresh = self._restore_part, update_rules.fresh_in(today.owners)
        self.steps.append(Load(path, target, method, node, today.tree.root, self.strict, self.casting, part, fresh))
        return lambda: target

    def _restore_part(self, node: Node, value: Any, path: str) -> Any:
        """What a serialize method asked for, at once: the object around it is put back if this fails."""
        part = _Plan(self.strict, self.casting, self.may_lack, self.may_have_more, is_part=True)
        try:
            return part.carry_out(node, value, path)
        finally:
            part.forget()

    def _value(self, node: Node, target: Any, today: Value, path: str) -> Finish:
        if isinstance(node, Array) and arrays.shape_of(node) == ():
            try:
                found = scalar(node, target)
            except MismatchError as error:
                self.misfits.differs(path, node, f"a {today.kind}", str(error))
                return lambda: target
            return lambda: found
        if not isinstance(node, Value) or not fit.values_fit(node.kind, today.kind):
            self.misfits.differs(path, node, f"a {today.kind}")
            return lambda: target
        return lambda: self._build(node, None, path)

    def _member(self, node: Node, target: Any, today: Any, path: str) -> Any:
        """A member of the enum of the target: its value may stand for it, as it does where a snapshot was loaded."""
        if isinstance(node, Branch) and node.kind in ("enum", "untyped"):
            node = lookup.child(node, "value") or node
        refusal = ""
        for like in (today, *[member.value for member in type(target)]):  # flat names do not tell a value's type
            try:
                return containers.member_of(target, self.whole.builder.build(node, like))
            except MismatchError as error:
                refusal = refusal or str(error)
        self.whole.misfits.differs(path, node, f"a {type(target).__qualname__}", refusal)
        return target

    def _container(self, node: Node, target: Any, parts: Parts, path: str) -> Finish:
        if not isinstance(node, Branch) or not fit.kinds_fit(node.kind, parts.kind):
            self.misfits.differs(path, node, f"a {parts.kind}")
            return lambda: target
        if parts.kind in containers.GROWING or (parts.kind == "list" and self._is_replaced(node, target)):
            return self._taken(node, target, parts, path)
        later: list[tuple[int, Finish]] = []  # children that are yet to be made
        found, rest = fit.children_for(node, parts.keys, parts.kind)
        keys, children = list(parts.keys), list(parts.children)
        if parts.kind == "OrderedDict" and node.kind != "untyped" and list(found) != keys[: len(found)]:
            today = dict(zip(keys, children, strict=True))
            keys = list(dict.fromkeys((*found, *keys)))
            children = [today[key] for key in keys]
        writes = None
        if len(found) == len(keys):
            nodes = list(found.values()) if node.keys == parts.keys else [found[key] for key in keys]
            writes = usual_writes(nodes, children, path, keys)
            self.writes += writes or []
        for position, (key, child) in enumerate(zip(keys, children, strict=True)) if writes is None else ():
            if key in found:
                write = usual_write(found[key], child, (path, key))
                if write is not None:
                    self.writes.append(write)
                else:
                    later.append((position, self.visit(found[key], child, join(path, key))))
            elif node.kind != "untyped" or not is_hollow(child):
                self.misfits.lacks(join(path, key))
        for key, one in rest.items():
            self.misfits.has_more(join(path, key), one)

        def finish() -> Any:
            for number, make in later:
                children[number] = make()
            return self._filled(target, parts, keys, children, path)

        return finish

    def _is_replaced(self, node: Branch, target: list[Any]) -> bool:
        """A list of plain values of another length is one value, such as the losses so far, and no mistake."""
        if len(node.children) == len(target) and node.kind != "untyped":
            return False
        if node.kind == "untyped":
            hollow = {key for key, child in enumerate(target) if is_hollow(child)}  # of which the file shows nothing
            node = fit.by_position(node)
            if len(node.children) == len(target) or hollow | set(node.keys) == set(range(len(target))):
                return False
        today = captured(target)
        return lookup.is_plain(node) and today is not None and lookup.is_plain(today)

    def _taken(self, node: Branch, target: Any, parts: Parts, path: str) -> Finish:
        """A container that holds what the snapshot has in it, whatever is in it today."""
        ordered, flat = parts.kind in containers.SEQUENCES, node.kind == "untyped"
        today = {} if "set" in parts.kind else dict(zip(parts.keys, parts.children, strict=True))
        if flat:
            found, rest = fit.children_for(node, tuple(today), parts.kind)
            node = Branch("dict", (*found, *rest), (*found.values(), *rest.values()))
            node = lookup.in_order(node) if ordered else node
        if ordered and node.kind not in containers.SEQUENCES | fit.RECORDS:
            self.misfits.differs(path, node, f"a {parts.kind}")
            return lambda: target
        if parts.kind == "deque" and target.maxlen is not None and len(node.children) > target.maxlen:
            self.misfits.differs(path, node, f"a deque of at most {target.maxlen}")
            return lambda: target
        finishes = [
            self._element(child, today.get(key), join(path, key), flat)
            for key, child in zip(node.keys, node.children, strict=True)
        ]
        return lambda: self._filled(target, parts, node.keys, [finish() for finish in finishes], path)

    def _element(self, node: Node, today: Any, path: str, flat: bool) -> Finish:
        """What stands in such a container: restored into what is there today if that fits, else made."""
        node = lookup.unpacked(node)
        if flat and (today is None or (values.is_scalar(today) and not isinstance(today, np.generic))):
            return lambda: self._build(fit.plain(node), None, path)
        if today is None or (isinstance(node, Value) and not isinstance(today, enum.Enum)):
            return lambda: self._build(node, today, path)
        trial = _Plan(True, self.casting, self.may_lack, self.may_have_more)
        trial.trial_of = self.whole
        finish = trial.visit(node, today, path)
        if trial.misfits.any():
            if trial.steps:
                return self.visit(node, today, path)
            return lambda: self._build(fit.plain(node), None, path) if flat else self._build(node, today, path)
        self.steps += trial.steps
        self.writes += trial.writes
        return finish

    def _filled(self, target: Any, parts: Parts, keys: Sequence[Key], children: list[Any], path: str) -> Any:
        """The container that is to stand at a place: the target, if it is to change in place, else a new one."""
        kind = parts.kind
        same = len(children) == len(parts.children) and all(map(operator.is_, children, parts.children))
        in_place = kind in containers.IN_PLACE or (kind == "dataclass" and not type(target).__dataclass_params__.frozen)
        if in_place:
            first, other = self.whole.filled.setdefault(id(target), (path, children))
            if first != path and not alike(other, children):
                what = f"a {kind} that stands at '{first}' too"
                self.whole.misfits.differs(path, Branch(kind, (), ()), what, "the snapshot holds two different ones")
        try:
            if kind == "set":
                set(children)
            elif not in_place:
                return target if same else containers.put_together(kind, keys, children, parts.meta, target)
        except (MismatchError, TypeError) as error:
            self.whole.misfits.differs(path, None, f"a {kind}", str(error))
            return target
        if kind != "dataclass":
            self.whole.changes.append(lambda: containers.change(kind, target, keys, children))
        elif not same:
            today = dict(zip(parts.keys, parts.children, strict=True))
            new = {str(key): child for key, child in zip(keys, children, strict=True) if child is not today[key]}
            self.whole.steps.append(Assign(path, target, new))
        return target
