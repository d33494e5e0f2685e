"""Arrows go one way: a room imports only rooms that stand above it in LAYERS, and no two modules import each other.

Imports are read from the source, those inside functions included; imports under `if TYPE_CHECKING` load nothing and are
left out.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "holdfast"

LAYERS = (
    ("errors", "_version"),  # every exception; the version
    ("scarcity",),  # a lack of memory, however it shows
    ("snapshot",),  # what is known of one committed snapshot
    ("crew",),  # work shared out among threads
    ("memory",),  # host memory for bulk bytes
    ("state",),  # live object <-> state tree
    ("format",),  # state tree <-> snapshot file
    ("image",),  # a snapshot file in memory
    ("staging",),  # the arena
    ("storage",),  # where bytes go
    ("commit",),  # the one place that orders writes
    ("files", "catalog", "retention", "lock", "keep"),  # one file; all of a store's; which stay; who may write
    ("serializers",),  # Chainer's npz
    ("writers",),  # when, and in which thread, a staged snapshot is committed
    ("series",),  # capture, stage, hand over
    ("arguments",),  # what a store is given
    ("store",),  # the snapshots of one run
    ("run",),  # a loop written by hand
    ("iterators",),  # batches, with their exact place
    ("reporter",),  # what is measured
    ("training",),  # Chainer's face
    ("integrations",),  # other hosts
    ("cli",),  # the command
    ("__init__",),  # the public names
)

LAZY = frozenset("torch jax rich click h5py matplotlib ml_dtypes safetensors optax chainer".split())
"""Never at module level: importing holdfast must not load them."""

FORBIDDEN = {
    "storage": ("holdfast.state", "holdfast.format", "holdfast.serializers", "holdfast.staging"),  # knows no trees
    "writers": ("holdfast.state", "holdfast.format"),  # nor do these
    "retention": ("holdfast.storage", "time", "os", "random", "pathlib", "shutil", "logging"),  # pure
}


@dataclass(frozen=True)
class Import:
    """One import: `target` is the module, or a name in it where that is a module itself."""

    module: str
    target: str
    line: int
    at_module_level: bool

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


def modules(source: Path) -> dict[str, Path]:
    """Every module of a package, under its dotted name."""
    found = {}
    for path in sorted(source.rglob("*.py")):
        parts = [source.name, *path.relative_to(source).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(source: Path) -> list[Import]:
    """Every import statement of a package, a line for each name."""
    known = modules(source)
    return [found for module, path in known.items() for found in _imports(module, path, known)]


def _imports(module: str, path: Path, known: Mapping[str, Path]) -> Iterator[Import]:
    for node, at_module_level in _statements(ast.parse(path.read_text(encoding="utf-8"), str(path)).body, True):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, alias.name, node.lineno, at_module_level)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, module, path.name == "__init__.py")
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield Import(module, inner if inner in known else base, node.lineno, at_module_level)


def _absolute(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    if not node.level:
        return node.module or ""
    parts = module.split(".") if is_package else module.split(".")[:-1]
    parts = parts[: len(parts) - node.level + 1]
    return ".".join([*parts, *([node.module] if node.module else [])])


def _statements(body: list[ast.stmt], at_module_level: bool) -> Iterator[tuple[ast.stmt, bool]]:
    for node in body:
        yield node, at_module_level
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from _statements(node.orelse, at_module_level)
            continue
        inside = at_module_level and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for name in ("body", "orelse", "finalbody", "handlers", "cases"):
            for child in getattr(node, name, ()):
                yield from _statements([child] if isinstance(child, ast.stmt) else child.body, inside)


def room(module: str) -> str:
    """The part of the package that a module belongs to; `__init__` for the package's own."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def upward_arrows(found: list[Import]) -> list[str]:
    """Imports of a room that does not stand above the importing one, in words."""
    rank = {name: level for level, names in enumerate(LAYERS) for name in names}
    wrong = []
    for one in found:
        package = one.module.split(".")[0]
        if one.target.split(".")[0] != package:
            continue
        ours, theirs = room(one.module), room(one.target)
        if ours not in rank or theirs not in rank:
            wrong.append(f"{one}: '{ours if ours not in rank else theirs}' has no place in LAYERS")
        elif ours != theirs and rank[theirs] > rank[ours]:
            wrong.append(f"{one}: '{theirs}' stands below '{ours}'")
    return wrong


def circles(found: list[Import], known: Mapping[str, Path]) -> list[str]:
    """Modules that import each other, each circle once, as `a -> b -> a`."""
    graph = {
        module: sorted({one.target for one in found if one.module == module and one.target in known})
        for module in known
    }
    rings: dict[frozenset[str], str] = {}
    done: set[str] = set()

    def visit(module: str, trail: list[str]) -> None:
        if module in trail:
            ring = trail[trail.index(module) :]
            rings.setdefault(frozenset(ring), " -> ".join([*ring, module]))
        elif module not in done:
            for target in graph[module]:
                visit(target, [*trail, module])
            done.add(module)

    for module in graph:
        visit(module, [])
    return list(rings.values())


def eager(found: list[Import]) -> list[str]:
    """Imports that would load a framework together with holdfast."""
    return [str(one) for one in found if one.at_module_level and one.target.split(".")[0] in LAZY]


def forbidden(found: list[Import]) -> list[str]:
    """Imports that FORBIDDEN rules out."""
    return [
        str(one)
        for one in found
        for name in FORBIDDEN.get(room(one.module), ())
        if one.target == name or one.target.startswith(name + ".")
    ]


def test_no_room_imports_one_below_it():
    assert upward_arrows(imports(SOURCE)) == []


def test_no_modules_import_each_other():
    assert circles(imports(SOURCE), modules(SOURCE)) == []


def test_nothing_loads_a_framework_at_module_level():
    assert eager(imports(SOURCE)) == []


def test_storage_and_writers_know_no_trees_and_retention_is_pure():
    assert forbidden(imports(SOURCE)) == []


def test_every_room_is_read():
    assert {room(one.module) for one in imports(SOURCE)} >= {"state", "format", "storage", "training", "__init__"}


@pytest.fixture
def package(tmp_path):
    """Writes a package named holdfast of the given files, and returns its folder."""

    def write(**files: str) -> Path:
        source = tmp_path / "holdfast"
        for name, text in files.items():
            path = source / (name.replace("__", "/") + ".py" if name != "__init__" else "__init__.py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return source

    return write


@pytest.mark.parametrize(
    "statement",
    [
        "from holdfast import store",
        "from holdfast.store import SnapshotStore",
        "import holdfast.store",
        "from ..store import SnapshotStore",
        "def later():\n    from holdfast.store import SnapshotStore",
        "try:\n    pass\nexcept ImportError:\n    import holdfast.store",
    ],
)
def test_an_arrow_that_points_upwards_is_found(package, statement):
    source = package(storage__local=statement, store="class SnapshotStore: ...")
    [wrong] = upward_arrows(imports(source))
    assert "holdfast.storage.local" in wrong
    assert "'store' stands below 'storage'" in wrong


def test_an_arrow_that_points_downwards_is_none_to_report(package):
    source = package(storage__local="", store="from holdfast.storage import local\nimport os")
    assert upward_arrows(imports(source)) == []


def test_an_import_for_type_checkers_alone_is_no_arrow(package):
    source = package(
        state__tree="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from holdfast import store", store=""
    )
    assert upward_arrows(imports(source)) == []


def test_a_room_without_a_place_is_found(package):
    source = package(attic="from holdfast import errors", errors="")
    [wrong] = upward_arrows(imports(source))
    assert "'attic' has no place in LAYERS" in wrong


def test_a_circle_is_found_inside_one_room(package):
    source = package(
        state__a="from holdfast.state import b", state__b="from .c import x", state__c="def f():\n    from . import a"
    )
    assert circles(imports(source), modules(source)) == [
        "holdfast.state.a -> holdfast.state.b -> holdfast.state.c -> holdfast.state.a"
    ]


def test_a_diamond_is_no_circle(package):
    source = package(state__a="from . import b, c", state__b="from . import d", state__c="from . import d", state__d="")
    assert circles(imports(source), modules(source)) == []


def test_a_framework_at_module_level_is_found_and_one_inside_a_function_is_not(package):
    source = package(
        state__a="import torch.nn", state__b="def f():\n    import torch", state__c="if True:\n    from rich import bar"
    )
    assert eager(imports(source)) == ["holdfast.state.a:1 imports torch.nn", "holdfast.state.c:2 imports rich"]


@pytest.mark.parametrize(
    ("module", "statement"),
    [
        ("storage__local", "from holdfast.state.tree import Leaf"),
        ("writers__thread", "import holdfast.format.header"),
        ("retention", "import os.path"),
    ],
)
def test_knowledge_that_a_room_must_not_have_is_found(package, module, statement):
    source = package(**{module: statement, "state__tree": "", "format__header": ""})
    assert len(forbidden(imports(source))) == 1
