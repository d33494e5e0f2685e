"""Compare what two training runs left behind: every array, every random generator, every row of the log, bit by bit.

Time is the one thing that may differ: whatever stands under `elapsed_time`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from killing import TEMPORARY

import holdfast
from holdfast.format import reader
from holdfast.state import encoding, tree
from holdfast.state.arrays import copy_into
from holdfast.state.dtypes import item_size

LOG = "log"
GENERATORS = frozenset("random.Random numpy.Generator numpy.RandomState torch.Generator jax.key".split())


@dataclass(frozen=True)
class Contents:
    """Everything that one snapshot file holds, by path."""

    arrays: dict[str, tuple[Any, bytes]] = field(default_factory=dict)  # (dtype, shape, window), and the bytes
    generators: dict[str, Contents] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """What was compared, and each difference in a line of its own."""

    iteration: int | None  # of the final snapshot, which the next three counts are about
    arrays: int
    generators: int
    values: int
    rows: int  # of the log
    files: int  # snapshot files compared, the final one among them
    accuracy: float | None  # in the last row of the log
    differences: tuple[str, ...]


def compare(expected: Path, found: Path) -> Comparison:
    """Compare two folders that a trainer wrote into.

    Args:
        expected: the folder of the run that nothing happened to.
        found: the folder of the other one.
    Raises:
        FileNotFoundError: there is no snapshot or no log in `expected`.
        DamagedError: a snapshot is damaged.
    """
    names, others = _files(expected), _files(found)
    differences = [f"{name}: only in {expected}" for name in sorted(names - others)]
    differences += [f"{name}: only in {found}" for name in sorted(others - names)]
    snapshots = {name: holdfast.info(expected / name) for name in names - {LOG}}
    trainers = [name for name, snapshot in snapshots.items() if snapshot.role == "trainer"]
    if not trainers:
        raise FileNotFoundError(f"{expected}: no snapshot of a trainer in it")
    final = max(trainers, key=lambda name: snapshots[name].step or 0)
    for name in sorted((names & others) - {LOG}):
        differences += _differences(f"{name}: ", read(expected / name), read(found / name))

    rows, other_rows = (_without_time(json.loads((folder / LOG).read_text())) for folder in (expected, found))
    differences += _log_differences(rows, other_rows)
    contents = read(expected / final)
    return Comparison(
        iteration=snapshots[final].step,
        arrays=len(contents.arrays),
        generators=len(contents.generators),
        values=len(contents.values),
        rows=len(rows),
        files=len(names & others - {LOG}),
        accuracy=rows[-1].get("accuracy") if rows else None,
        differences=tuple(differences),
    )


def read(path: Path) -> Contents:
    """The contents of one snapshot file, what the trainer keeps for itself included."""
    with reader.open_file(path) as file:
        state = file.tree()
        contents = Contents()
        _collect(contents, "", state.root)
        if state.reserved is not None:
            _collect(contents, tree.RESERVED, state.reserved)
        return contents


def _collect(contents: Contents, path: str, node: tree.Node) -> None:
    if isinstance(node, tree.Branch) and node.kind in GENERATORS and path not in contents.generators:
        state = Contents()
        for child, value in _children(path, node):
            _collect(state, child, value)
        contents.generators[path] = state
    elif isinstance(node, tree.Branch):
        contents.values[path] = (node.kind, node.keys, node.meta)
        for child, value in _children(path, node):
            if value is not None:
                _collect(contents, child, value)
    elif isinstance(node, tree.Array):
        contents.arrays[path] = ((node.leaf.dtype, node.leaf.shape, node.view), _bytes(node.leaf))
    elif isinstance(node, tree.Packed) and node.kind == "json":
        _collect(contents, path, encoding.decode_plain(_bytes(node.leaf)))
    elif isinstance(node, tree.Packed):
        data = _bytes(node.leaf)
        contents.values[path] = _plain(data.decode() if node.kind == "str" else data)
    else:
        contents.values[path] = (node.kind, _plain(node.data))


def _children(path: str, node: tree.Branch) -> Iterator[tuple[str, tree.Node]]:
    """Paths and nodes below `node`, without what tells the time."""
    for key, child in zip(node.keys, node.children, strict=True):
        if not (isinstance(key, str) and key.endswith("elapsed_time")):
            yield tree.join(path, key), child


def _bytes(leaf: tree.Leaf) -> bytes:
    data = np.empty(leaf.nbytes, np.uint8)
    copy_into(leaf, data)
    return data.tobytes()


def _plain(data: Any) -> Any:
    """A value as it is; a text of JSON (the log inside a trainer's snapshot is one) without the times in it."""
    if isinstance(data, str) and data[:1] in ("[", "{"):
        try:
            return _without_time(json.loads(data))
        except ValueError:
            return data
    return data


def _without_time(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _without_time(value) for key, value in data.items() if key != "elapsed_time"}
    if isinstance(data, list):
        return [_without_time(value) for value in data]
    return data


def _differences(where: str, expected: Contents, found: Contents) -> Iterator[str]:
    for kind in ("arrays", "generators", "values"):
        ours, theirs = getattr(expected, kind), getattr(found, kind)
        for path in sorted(ours.keys() ^ theirs.keys()):
            yield f"{where}{kind[:-1]} '{path}' is only in the {'first' if path in ours else 'second'} run"
        for path in sorted(ours.keys() & theirs.keys()):
            if ours[path] != theirs[path]:
                yield f"{where}{kind[:-1]} '{path}' {_how(kind, ours[path], theirs[path])}"


def _how(kind: str, ours: Any, theirs: Any) -> str:
    """How two unequal things differ, in a few words."""
    if kind == "generators":
        return "is in another state"
    if kind == "values":
        return f"is {str(ours)[:60]} in the first run and {str(theirs)[:60]} in the second"
    (dtype, shape, _), data = ours
    if ours[0] != theirs[0]:
        return f"is {dtype} {shape} in the first run and {theirs[0][0]} {theirs[0][1]} in the second"
    size = item_size(dtype)
    starts = range(0, len(data), size)
    wrong = sum(data[start : start + size] != theirs[1][start : start + size] for start in starts)
    return f"differs in {wrong} of {len(starts)} elements"


def _log_differences(expected: list[dict[str, Any]], found: list[dict[str, Any]]) -> Iterator[str]:
    if len(expected) != len(found):
        yield f"log: {len(expected)} rows in the first run and {len(found)} in the second"
    for number, (ours, theirs) in enumerate(zip(expected, found, strict=False), start=1):
        for key in sorted(ours.keys() | theirs.keys()):
            mine, other = ours.get(key), theirs.get(key)
            if mine != other:
                yield f"log: row {number}, '{key}' is {mine} in the first run and {other} in the second"


def _files(folder: Path) -> set[str]:
    """Every file of a run but hidden ones, unless these are what a broken-off write left behind."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and (not path.name.startswith(".") or path.name.endswith(TEMPORARY))
    }
