"""Whether a snapshot fits a target: what is missing, unexpected and different, found before anything is changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from holdfast.errors import MismatchError, UnknownFormatError
from holdfast.state import arrays, containers, generators, lookup, protocols, update_rules, values
from holdfast.state.tree import Array, Branch, Key, Node, Value, escape, join, unescape

SHOWN = 8  # of each list in a message
_NUMBERS = frozenset("bool int float complex numpy".split())
_SEQUENCES = frozenset("list tuple deque".split())
_SETS = frozenset("set frozenset".split())
RECORDS = frozenset("namedtuple dataclass pytree".split())
_TUPLES = frozenset("namedtuple pytree".split())


class Misfits:
    """Everything that keeps a snapshot from fitting.

    Args:
        strict, casting, may_lack, may_have_more: as of restore.
    """

    def __init__(
        self,
        strict: bool,
        casting: str,
        may_lack: Callable[[str], bool],
        may_have_more: Callable[[str], bool],
    ) -> None:
        self.strict = strict
        self.casting: Any = casting
        self.may_lack = may_lack
        self.may_have_more = may_have_more
        self.missing: list[str] = []
        self.unexpected: list[str] = []
        self.different: dict[str, str] = {}  # by path: what was said first
        self._surplus: dict[str, Node] = {}  # what stands at the unexpected paths

    def lacks(self, path: str) -> None:
        """The target has a key that the snapshot has not."""
        if self.strict and not self.may_lack(path):
            self.missing.append(path)

    def has_more(self, path: str, node: Node) -> None:
        """The snapshot has a key that the target has not."""
        if self.strict and not self.may_have_more(path):
            self.unexpected.append(path)
            self._surplus[path] = node

    def differs(self, path: str, node: Node | None, today: str, why: str = "") -> None:
        """What stands under one path is not of one kind."""
        what = f"'{path}'" if path else "the whole"
        said = f"{what} is {lookup.describe(node)} in the snapshot but {today} in the target"
        self.different.setdefault(path, f"{said} ({why})" if why else said)

    def check_array(self, path: str, node: Node | None, dtype: str, shape: tuple[int, ...]) -> bool:
        """Whether an array of the snapshot may be copied into one of this dtype and shape; if not, it is noted."""
        today = f"{dtype} {shape}"
        if not isinstance(node, Array) or arrays.shape_of(node) != shape:
            self.differs(path, node, today)
            return False
        found = arrays.dtype_name(node)
        try:
            allowed = arrays.can_cast(found, dtype, self.casting)
        except UnknownFormatError as error:
            self.differs(path, node, today, str(error))
            return False
        if not allowed:
            self.differs(path, node, today, f"casting={self.casting!r} does not allow it")
        return allowed

    def any(self) -> bool:
        return bool(self.missing or self.unexpected or self.different)

    def extend(self, other: Misfits) -> None:
        self.missing += other.missing
        self.unexpected += other.unexpected
        self.different |= other.different
        self._surplus |= other._surplus

    def raise_any(self) -> None:
        """Raises MismatchError if anything does not fit."""
        if not self.any():
            return
        lines = ["the snapshot does not fit the target; nothing was changed"]
        for what, paths in (("missing in the snapshot", self.missing), ("only in the snapshot", self.unexpected)):
            if paths:
                lines.append(f"  {what}: {_listed([repr(path) for path in paths], ', ')}")
        if self.different:
            lines.append("  different: " + _listed(list(self.different.values()), "\n             "))
        lines.append("  " + self._way_out())
        raise MismatchError("\n".join(lines))

    def _way_out(self) -> str:
        advice = []
        prefix = _prefix(self.missing, self.unexpected)
        part = next((path for path, node in self._surplus.items() if _holds(node, self.missing)), None)
        if prefix is not None:
            side, text = prefix
            advice.append(f"keys differ by {text!r}, which only the {side} has: save and restore the same object")
        elif part is not None:
            advice.append(f"the target looks like a part of what was saved: restore(..., subtree={part!r})")
        if self.missing or self.unexpected:
            advice.append("strict=False keeps the target's own values for what is missing and leaves out the rest")
        if any("casting=" in line for line in self.different.values()):
            advice.append("casting='same_kind' or 'unsafe' converts dtypes")
        elif self.different:
            advice.append("load the snapshot, change it, and restore what you made of it")
        return "; or ".join(advice)


def _holds(node: Node, missing: list[str]) -> bool:
    """Whether everything that is missing stands directly in a part of the snapshot."""
    children = lookup.Children(node)
    return bool(missing) and all(children.get(unescape(path.rpartition("/")[2])) is not None for path in missing)


def _listed(items: list[str], between: str) -> str:
    more = len(items) - SHOWN
    return between.join(items[:SHOWN]) + (f"{between}and {more} more" if more > 0 else "")


def _prefix(missing: list[str], unexpected: list[str]) -> tuple[str, str] | None:
    """What all names of one side have in front, where the names are the same otherwise."""
    if not missing or len(missing) != len(unexpected):
        return None
    for side, longer, shorter in (("snapshot", unexpected, missing), ("target", missing, unexpected)):
        text = longer[0].removesuffix(shorter[0])
        if text != longer[0] and text and all(a == text + b for a, b in zip(longer, shorter, strict=True)):
            return side, text
        head, ends = shorter[0].rpartition("/")[0], longer[0].rpartition("/")[2]
        text = ends.removesuffix(shorter[0].rpartition("/")[2])
        if text and text != ends and {f"{head}/{text}{path.rpartition('/')[2]}" for path in shorter} == set(longer):
            return side, text
    return None


def values_fit(found: str, today: str) -> bool:
    """Whether a plain value of one kind may take the place of one of another."""
    return found == today or "none" in (found, today) or {found, today} <= _NUMBERS


def kinds_fit(found: str, today: str) -> bool:
    """Whether a container of one kind may be restored into one of another."""
    alike = (containers.MAPPINGS | RECORDS, _SEQUENCES | _TUPLES, _SETS)
    return found in (today, "untyped") or any({found, today} <= kinds for kinds in alike)


def children_for(node: Branch, keys: tuple[Key, ...], kind: str) -> tuple[dict[Key, Node], dict[Key, Node]]:
    """The children of a branch that stand under the keys of a target's container, and the others.

    A record matches a mapping by names and a sequence by positions; flat names match by what they begin with.
    """
    if node.kind == "untyped":
        children = lookup.Children(node)
        found = {key: child for key in keys if (child := children.get(key)) is not None}
        rest = children.rest(found)
        return found, dict(zip(rest.keys, rest.children, strict=True))
    if node.keys == keys:
        return dict(zip(keys, node.children, strict=True)), {}
    known, kinds = node.keys, {kind, node.kind}
    if kinds & _TUPLES and kinds <= _SEQUENCES | _TUPLES and len(known) == len(keys) > 0:
        known = keys if type(known[0]) is not type(keys[0]) else known
    both, wanted = dict(zip(known, node.children, strict=True)), set(keys)
    found = {key: child for key, child in both.items() if key in wanted}
    return found, {key: child for key, child in both.items() if key not in wanted}


def by_position(node: Branch) -> Branch:
    """Flat names as a list, if they are positions; arrays of no dimensions as the plain values that they stand for."""
    made = plain(lookup.Children(node).rest(()))
    assert isinstance(made, Branch)
    return lookup.in_order(made)


def plain(node: Node) -> Node:
    """Flat names as dicts, and arrays of no dimensions as the plain values that they stand for."""
    if isinstance(node, Branch):
        node = lookup.Children(node).rest(()) if node.kind == "untyped" else node
        return Branch(node.kind, node.keys, tuple([plain(child) for child in node.children]), node.meta)
    if isinstance(node, Array) and arrays.shape_of(node) == ():
        return values.guess(arrays.wrap(arrays.carried(node), arrays.dtype_name(node), "numpy"))
    return node


Met = Callable[[str, Array, Array], None]


def compare(misfits: Misfits, owners: Mapping[str, object], node: Node, today: Node, path: str, met: Met) -> None:
    """Note whatever of a snapshot does not fit the state that an object with a load method has today.

    Args:
        owners: the objects with a protocol of their own, by path.
        met: called with each array of the snapshot that fits one of today.
    """
    _Comparison(misfits, owners, met).visit(node, today, path, lenient=False)


@dataclass
class _Comparison:
    misfits: Misfits
    owners: Mapping[str, object]
    met: Met

    def visit(self, node: Node, today: Node, path: str, lenient: bool) -> None:
        node, today = lookup.unpacked(node), lookup.unpacked(today)
        owner = self.owners.get(path)
        if owner is not None and generators.kind_of(owner) is None:
            lenient = protocols.may_differ(owner) or (lenient and not protocols.is_torch(owner))
            self._check_moments(owner, node, path)
            for missing in update_rules.missing_moments(owner, node, path, self.owners):
                self.misfits.lacks(missing)
        if is_none(node) or is_none(today):
            return  # nothing is there yet: an uninitialised link, a buffer that was not made
        if isinstance(today, Array):
            if not isinstance(node, Array) and lenient:
                return
            if self.misfits.check_array(path, node, arrays.dtype_name(today), arrays.shape_of(today)):
                assert isinstance(node, Array)
                self.met(path, node, today)
        elif isinstance(today, Value):
            scalar = isinstance(node, Array) and arrays.shape_of(node) == ()
            if not lenient and not scalar and not (isinstance(node, Value) and values_fit(node.kind, today.kind)):
                self.misfits.differs(path, node, lookup.describe(today))
        elif isinstance(today, Branch):
            if isinstance(node, Branch) and kinds_fit(node.kind, today.kind):
                self._branches(node, today, path, lenient)
            elif not lenient:
                self.misfits.differs(path, node, lookup.describe(today))

    def _branches(self, node: Branch, today: Branch, path: str, lenient: bool) -> None:
        if today.kind in generators.KINDS:
            if node.kind != "untyped" and node.meta != today.meta:
                self.misfits.differs(path, node, lookup.describe(today))
            return
        if today.kind in containers.GROWING:
            return  # taken as the snapshot has it
        lenient = lenient or (today.kind == "list" and lookup.is_plain(today) and lookup.is_plain(node))
        found, rest = children_for(node, today.keys, today.kind)
        for key, child in zip(today.keys, today.children, strict=True):
            at = join(path, key)
            inner = lenient or escape(key).startswith("optimizer:")  # Chainer's updaters name their optimizers so
            if key in found:
                self.visit(found[key], child, at, inner)
            elif not inner and not (node.kind == "untyped" and lookup.is_hollow(child)):
                self.misfits.lacks(at)
        if not lenient:
            for key, child in rest.items():
                self.misfits.has_more(join(path, key), child)

    def _check_moments(self, owner: object, node: Node, path: str) -> None:
        """An optimizer of torch takes moments of any shape, and fails or goes wrong at the next step; those of another
        dtype it converts."""
        parameters = protocols.parameters_of(owner)
        state = lookup.Children(lookup.child(node, "state") if parameters else None)
        for number, parameter in enumerate(parameters):
            moments = lookup.Children(state.get(number))
            for name in protocols.MOMENTS:
                moment = moments.get(name)
                if isinstance(moment, Array) and not arrays.is_uninitialised(parameter):
                    self._check_moment(moment, parameter, join(join(join(path, "state"), number), name), owner)

    def _check_moment(self, moment: Array, parameter: Any, path: str, owner: object) -> None:
        shape, dtype = tuple(parameter.shape), arrays.dtype_of(parameter, "torch")
        if arrays.shape_of(moment) not in (shape, ()):
            self.misfits.differs(path, moment, f"for a parameter of shape {shape}")
        elif arrays.shape_of(moment) == shape and protocols.converts_moments(owner) and parameter.is_floating_point():
            self.misfits.check_array(path, moment, dtype, shape)


def is_none(node: Node) -> bool:
    return isinstance(node, Value) and node.kind == "none"
