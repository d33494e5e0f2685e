"""Finding a part of a state tree by its key, whatever the tree was read from."""

from __future__ import annotations

from collections.abc import Iterable

from holdfast.errors import DamagedError, NotFoundError, UnknownFormatError
from holdfast.state import arrays
from holdfast.state.encoding import MAX_DEPTH, decode_plain
from holdfast.state.tree import RESERVED, ROOT_LEAF, Array, Branch, Key, Node, Packed, Value, escape, unescape


def unpacked(node: Node) -> Node:
    """The node that a long plain value was before it was packed; any other as it is."""
    if not isinstance(node, Packed):
        return node
    data = arrays.bytes_of(node.leaf).tobytes()
    if node.kind == "bytes":
        return Value("bytes", data.hex())
    try:
        return decode_plain(data) if node.kind == "json" else Value("str", data.decode())
    except UnknownFormatError:
        raise
    except ValueError as error:
        raise DamagedError(f"'{node.leaf.path}' does not hold what its kind, {node.kind!r}, wants: {error}") from None


class Children:
    """The children of a node, each found by its key in the same short time; of what is no branch, none.

    A file without a tree of its own (an `untyped` branch) has flat names: a name that goes on behind a key and a "/"
    makes a part, which is an `untyped` branch again.
    """

    def __init__(self, node: Node | None) -> None:
        node = None if node is None else unpacked(node)
        self._found: dict[Key, Node] = {}
        self._groups: dict[str, list[str]] | None = None  # flat names by what stands in front of the first "/"
        if not isinstance(node, Branch):
            return
        self._found = dict(zip(node.keys, node.children, strict=True))
        if node.kind == "untyped":
            self._groups = {}
            for name in node.keys:
                self._groups.setdefault(str(name).partition("/")[0], []).append(str(name))

    def get(self, key: Key) -> Node | None:
        """What stands under `key`; None where nothing does."""
        if self._groups is None:
            return self._found.get(key)
        spellings = _spellings(key)
        for name in spellings:
            if name in self._found:
                return self._found[name]
        below = {name[len(one) + 1 :]: self._found[name] for one in spellings for name in self._behind(one)}
        return Branch("untyped", tuple(below), tuple(below.values())) if below else None

    def rest(self, keys: Iterable[Key]) -> Branch:
        """What belongs to none of `keys`: flat names as branches within branches, by the "/" in them."""
        if self._groups is None:
            known = set(keys)
            left = {key: child for key, child in self._found.items() if key not in known}
            return Branch("dict", tuple(left), tuple(left.values()))
        taken = {name for key in keys for one in _spellings(key) for name in (one, *self._behind(one))}
        return nested({str(name): child for name, child in self._found.items() if name not in taken})

    def _behind(self, name: str) -> list[str]:
        assert self._groups is not None
        group = self._groups.get(name.partition("/")[0], [])
        return [one for one in group if one.startswith(name + "/")]


def child(node: Node, key: Key) -> Node | None:
    """What stands under one key of a node; for many keys of the same node make its Children once."""
    return Children(node).get(key)


def _spellings(key: Key) -> list[str]:
    """How a key may stand in a flat name: escaped by holdfast, or as other libraries write it."""
    escaped = escape(key)
    plain = key if type(key) is str else str(key) if type(key) is int else escaped
    return [escaped] if plain == escaped else [escaped, plain]


def nested(found: dict[str, Node], depth: int = 0) -> Branch:
    """Flat names as branches within branches, by the "/" in them; beyond MAX_DEPTH the rest of a name is one key."""
    groups: dict[Key, Node | dict[str, Node]] = {}
    for name, one in found.items():
        first, slash, rest = name.partition("/")
        key = unescape(first)
        if not slash or depth == MAX_DEPTH:
            groups[key if not slash else name] = one
        else:
            group = groups.setdefault(key, {})
            if isinstance(group, dict):  # else there is an array of that very name, which wins
                group[rest] = one
    children = tuple(nested(group, depth + 1) if isinstance(group, dict) else group for group in groups.values())
    return Branch("dict", tuple(groups), children)


def in_order(node: Branch) -> Branch:
    """A list of the children of a branch by their positions, 0, 1, ...; the branch itself where its keys are none."""
    by_position: dict[int, Node] = {}
    for key, one in zip(node.keys, node.children, strict=True):
        text = str(key) if type(key) in (int, str) else ""
        by_position[int(text) if text.isascii() and text.isdigit() else -1] = one
    if len(by_position) != len(node.keys) or set(by_position) != set(range(len(node.keys))):
        return node
    ordered = sorted(by_position)
    return Branch("list", tuple(ordered), tuple(by_position[position] for position in ordered))


def without_reserved(node: Branch) -> tuple[Node, Branch | None]:
    """What a file of flat names holds without what a trainer keeps for itself, and this."""
    reserved = Children(node).get(RESERVED)
    if isinstance(reserved, Branch):
        pairs = [pair for pair in zip(node.keys, node.children, strict=True) if not _is_reserved(pair[0])]
        node = Branch("untyped", tuple(key for key, _ in pairs), tuple(one for _, one in pairs))
    return (node.children[0] if node.keys == (ROOT_LEAF,) else node), reserved if isinstance(reserved, Branch) else None


def _is_reserved(name: Key) -> bool:
    return str(name).startswith(RESERVED + "/")


def at(root: Node, path: str) -> Node:
    """The part of a tree at a path of names joined by "/".

    Raises:
        NotFoundError: there is none; says how far the path leads and what there is.
    """
    node, done = root, ""
    for name in [name for name in path.split("/") if name]:
        node = unpacked(node)
        found = _named(node, name)
        if found is None:
            known = [escape(key) for key in node.keys] if isinstance(node, Branch) else []
            listed = ", ".join(repr(one) for one in known[:8]) + (", ..." if len(known) > 8 else "")
            raise NotFoundError(
                f"there is no {name!r} in {repr(done) if done else 'the snapshot'}, which holds "
                f"{listed or describe(node)}"
            )
        node, done = found, f"{done}/{name}" if done else name
    return node


def _named(node: Node, name: str) -> Node | None:
    if not isinstance(node, Branch):
        return None
    if node.kind == "untyped":
        return child(node, unescape(name))
    by_name = {escape(key): one for key, one in zip(node.keys, node.children, strict=True)}
    plain = {str(key): one for key, one in zip(node.keys, node.children, strict=True) if type(key) in (str, int)}
    return by_name.get(name, plain.get(name))


def is_plain(node: Node) -> bool:
    """Whether there are only plain values in it, in containers that need no class of the user's."""
    if isinstance(node, Branch):
        return node.kind in _PLAIN and all(is_plain(child) for child in node.children)
    return isinstance(node, Value | Packed)


_PLAIN = frozenset("dict OrderedDict Counter defaultdict list tuple deque set frozenset".split())


def is_hollow(node: Node) -> bool:
    """Whether there is nothing in it but empty branches, of which a file of flat names shows nothing."""
    return isinstance(node, Branch) and all(is_hollow(child) for child in node.children)


def describe(node: Node | None) -> str:
    """What a node is, in a few words for a message."""
    if node is None:
        return "nothing"
    if isinstance(node, Array):
        return f"{arrays.dtype_name(node)[:120]} {arrays.shape_of(node)}"
    if isinstance(node, Packed):
        return f"a {'container' if node.kind == 'json' else node.kind}"
    if isinstance(node, Value):
        return "None" if node.kind == "none" else f"a {node.kind}"
    if node.kind == "untyped":
        return f"a group of {len(node.children)} names"
    return f"a {node.kind} ({node.meta})" if isinstance(node.meta, str) else f"a {node.kind} of {len(node.children)}"
