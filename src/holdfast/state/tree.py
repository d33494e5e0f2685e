"""The state tree: what capture reads from a target and restore puts back.

A tree is made of four kinds of node. `Value` is a plain value, `Array` names a leaf, `Packed` is a long plain value
kept as bytes in a leaf, and `Branch` is everything that has children. Leaves are the only place where bulk bytes live:
the same `Leaf` object under two nodes is one array under two names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Union

Key = Union[str, int, bool, float, None, bytes, tuple["Key", ...]]
"""What may stand as a key of a mapping; exact types, so that True, 1 and 1.0 are three keys."""


# Nodes are values as all others and never changed, but not frozen: making a frozen one takes five times as long, and a
# snapshot may have tens of thousands of them.


@dataclass(slots=True, eq=False)
class Leaf:
    """One array: where it stands, what it is, and where its bytes are now.

    Compared by identity: two leaves are never the same bytes.
    """

    path: str  # escaped keys joined by "/", unique in its tree
    dtype: str  # a name of state/dtypes.py
    shape: tuple[int, ...]
    nbytes: int
    holder: Any  # what `source` is, or what it is a part of
    address: int = 0  # of `source` in main memory, in C order, where that is known
    start: int = -1  # in bytes, of `source` in its holder; -1: it is the holder

    @property
    def source(self) -> Any:
        """A live numpy, torch or jax array; or one-dimensional uint8 numpy memory in C order (a file's, bytes').

        A part of a file is an array of its own only once it is asked for: tens of thousands would scatter in memory.
        """
        return self.holder if self.start < 0 else self.holder[self.start : self.start + self.nbytes]


@dataclass(frozen=True, slots=True)
class View:
    """A window into a leaf of raw bytes: how one of several partly overlapping arrays lies in their common memory."""

    offset: int  # bytes from the start of the leaf
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # bytes; may be zero or negative


@dataclass(slots=True, unsafe_hash=True)
class Value:
    """A plain value of one of the kinds in VALUE_KINDS, its data already fit for JSON."""

    kind: str
    data: Any


@dataclass(slots=True, unsafe_hash=True)
class Array:
    """An array, or a window into one, and the framework that it came from."""

    leaf: Leaf
    framework: str  # "numpy", "torch" or "jax"
    view: View | None = None


@dataclass(slots=True, unsafe_hash=True)
class Packed:
    """A long plain value in a byte leaf of its own: raw bytes, UTF-8 text, or a node without leaves as JSON."""

    kind: str  # "bytes", "str" or "json"
    leaf: Leaf


@dataclass(slots=True, unsafe_hash=True)
class Branch:
    """A node with children; `kind` is one of BRANCH_KINDS and says how a value is made of them."""

    kind: str
    keys: tuple[Key, ...]  # one a child; positions (0, 1, ...) for sequences
    children: tuple[Node, ...]
    meta: Any = None  # what else the kind needs, fit for JSON


Node = Union[Value, Array, Packed, Branch]

VALUE_KINDS = frozenset(
    "none bool int float complex str bytes range slice numpy torch.Size torch.dtype torch.device".split()
)
BRANCH_KINDS = frozenset(
    "dict OrderedDict Counter defaultdict list tuple deque set frozenset namedtuple dataclass pytree enum "
    "random.Random numpy.Generator numpy.RandomState torch.Generator jax.key untyped".split()
)
"""`untyped` is a mapping read from a file that has no tree (plain safetensors, npz): the target says what it is."""


@dataclass(frozen=True, slots=True)
class StateTree:
    """The whole state of one target.

    `reserved` holds what a trainer adds for itself (its global random generators); load leaves it out, and it never
    counts as unexpected.
    """

    root: Node
    reserved: Branch | None = None

    def arrays(self) -> Iterator[tuple[str, Array | Packed]]:
        """Every node that names a leaf, with its own path, in tree order (the reserved branch last)."""
        yield from _arrays("", self.root)
        if self.reserved is not None:
            yield from _arrays(RESERVED, self.reserved)

    def holders(self) -> Iterator[Array | Packed]:
        """The same nodes without their paths, which take most of the time."""
        stack: list[Node] = [self.root] if self.reserved is None else [self.reserved, self.root]
        while stack:
            node = stack.pop()
            if type(node) is Branch:
                stack.extend([child for child in reversed(node.children) if type(child) is not Value])
            elif type(node) is not Value:
                yield node  # type: ignore[misc]

    def leaves(self) -> list[Leaf]:
        """Every leaf once, in tree order."""
        return list(dict.fromkeys([node.leaf for node in self.holders()]))

    def aliases(self) -> dict[str, str]:
        """For each further whole name of a leaf, the path of the leaf: tied arrays.

        Raises:
            ValueError: a leaf is not named after the first node that it stands at (those of SHARED aside).
        """
        aliases: dict[str, str] = {}
        named: set[Leaf] = set()
        if not isinstance(self.root, Branch):
            _name_leaves("", Branch("", ("",), (self.root,)), named, aliases)
        else:
            _name_leaves("", self.root, named, aliases)
        if self.reserved is not None:
            _name_leaves(RESERVED + "/", self.reserved, named, aliases)
        return aliases


ROOT_LEAF = "~root"  # the name of a target that is one bare array
RESERVED = "~run"  # the first name of everything in StateTree.reserved
SHARED = "~shared"  # the first name of leaves of raw bytes that several overlapping arrays look into


def _name_leaves(above: str, branch: Branch, named: set[Leaf], aliases: dict[str, str]) -> None:
    """StateTree.aliases for one branch; `above` stands before every name in it."""
    for name, child in zip(escape_all(branch.keys), branch.children, strict=True):
        kind = type(child)
        if kind is Value:
            continue
        path = above + name if branch.kind else ROOT_LEAF
        if kind is Branch:
            _name_leaves(path + "/", child, named, aliases)  # type: ignore[arg-type]
            continue
        leaf = child.leaf  # type: ignore[union-attr]
        if path == leaf.path:
            named.add(leaf)
        elif leaf not in named and not leaf.path.startswith(SHARED + "/"):
            raise ValueError(f"the leaf {leaf.path!r:.80} stands at {path!r:.80} in the tree")
        else:
            named.add(leaf)
            if kind is Array and child.view is None:  # type: ignore[union-attr]
                aliases[path] = leaf.path


def _arrays(path: str, node: Node) -> Iterator[tuple[str, Array | Packed]]:
    stack = [(path, node)]
    while stack:
        path, node = stack.pop()
        if isinstance(node, Branch):
            pairs = zip(reversed(node.keys), reversed(node.children), strict=True)
            above = f"{path}/" if path else ""
            stack.extend([(above + escape(key), child) for key, child in pairs if type(child) is not Value])
        elif not isinstance(node, Value):
            yield path or ROOT_LEAF, node


def join(path: str, key: Key) -> str:
    """The path of the child `key` of `path`."""
    name = escape(key)
    return f"{path}/{name}" if path else name


def escape(key: Key) -> str:
    """One component of a path: str keys as they are where they can be, everything else marked with "~".

    No two keys share a name, none holds a "/", starts with "__" or is empty, and all are valid Unicode: "~" becomes
    "~0", "/" becomes "~1", a leading "__" becomes "~2", a lone surrogate becomes "~u" and four hex digits, and a key
    that is no str becomes "~" with a letter for its type and its value.
    """
    if type(key) is str:
        if not key:
            return "~e"
        if key.isascii() and "~" not in key and "/" not in key and not key.startswith("__"):
            return key
        name = key.replace("~", "~0").replace("/", "~1")
        if name.startswith("__"):
            name = "~2" + name[2:]
        if not name.isascii():
            name = "".join(f"~u{ord(c):04x}" if "\ud800" <= c <= "\udfff" else c for c in name)
        return name
    if key is None:
        return "~n"
    if type(key) is bool:
        return f"~b{int(key)}"
    if type(key) is int:
        return f"~i{key}"
    if type(key) is float:
        return f"~f{key.hex()}"
    if type(key) is bytes:
        return f"~y{key.hex()}"
    if type(key) is tuple:
        parts = [escape(part) for part in key]
        return "~t" + "".join(f"{len(part)}:{part}" for part in parts)
    raise TypeError(f"a key must be str, int, bool, float, bytes, None or a tuple of these, not {type(key).__name__}")


def escape_all(keys: Sequence[Key]) -> Sequence[str]:
    """`escape` of each, at once where all are names that stand as they are."""
    if {str}.issuperset(map(type, keys)):
        text = "\n" + "\n".join(keys)  # type: ignore[arg-type]
        if all(keys) and text.isascii() and "~" not in text and "/" not in text and "\n__" not in text:
            return keys  # type: ignore[return-value]
    return [escape(key) for key in keys]


def unescape(name: str) -> Key:
    """The key that one component of a path stands for; a component that `escape` does not make stands for itself."""
    if not name.startswith("~"):
        plain = re.sub(r"~(?:u([0-9a-f]{4})|([01]))", _character, name)
        return plain if escape(plain) == name else name
    for key in _candidates(name):
        if escape(key) == name:
            return key
    return name


def _character(found: re.Match[str]) -> str:
    return chr(int(found[1], 16)) if found[1] else {"0": "~", "1": "/"}[found[2]]


def _candidates(name: str) -> Iterator[Key]:
    code, rest = name[1:2], name[2:]
    if code in "012u":
        text = "__" + rest if code == "2" else name
        yield re.sub(r"~(?:u([0-9a-f]{4})|([01]))", _character, text)
    elif code == "e":
        yield ""
    elif code == "n":
        yield None
    elif code == "b" and rest in ("0", "1"):
        yield rest == "1"
    elif code == "i" and re.fullmatch(r"-?[0-9]{1,4300}", rest):
        yield int(rest)
    elif code == "f" and re.fullmatch(r"[-+.0-9a-fxpnit]+", rest):
        try:
            yield float.fromhex(rest)
        except (ValueError, OverflowError):
            return
    elif code == "y" and re.fullmatch(r"(?:[0-9a-f]{2})*", rest):
        yield bytes.fromhex(rest)
