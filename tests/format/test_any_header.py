"""Headers of any content, their sums made right: the errors are holdfast's own, whatever stands there."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from format.handmade import data_of, file_of, sealed, small_tree, spec_of
from holdfast.errors import DamagedError, UnknownFormatError
from holdfast.format import reader

FILE = file_of(small_tree())
SPEC = spec_of(FILE)
DATA = data_of(FILE)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4)
    | st.sampled_from(["a", "p", "dict", "list", "F32", "U8", "<c16", "n", 0, 1, 2, -1, 1 << 40, "0x1", "00" * 8]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


def places(spec: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every part of a JSON document, itself left out."""
    items = spec.items() if isinstance(spec, dict) else enumerate(spec) if isinstance(spec, list) else ()
    found = []
    for key, part in items:
        found += [(*path, key), *places(part, (*path, key))]
    return found


def opened_up(spec: dict[str, Any]) -> dict[str, Any]:
    """A header with the documents inside it parsed."""
    whole = copy.deepcopy(spec)
    for name in ("metadata", "values", "tree"):
        whole["__metadata__"][f"holdfast.{name}"] = json.loads(whole["__metadata__"][f"holdfast.{name}"])
    return whole


OPEN = opened_up(SPEC)
PLACES = [path for path in places(OPEN) if path not in {("__metadata__",), ("__metadata__", "holdfast")}]


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PLACES), json_values | st.just(...)), min_size=1, max_size=2))
def test_whatever_stands_in_a_header_the_errors_are_holdfasts_own(changes):
    spec = copy.deepcopy(OPEN)
    for path, content in changes:
        at = spec
        try:
            for step in path[:-1]:
                at = at[step]
            if content is ...:
                del at[path[-1]]
            else:
                at[path[-1]] = content
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took it away
    pairs = spec["__metadata__"]
    for name in ("metadata", "values", "tree"):
        if f"holdfast.{name}" in pairs:
            pairs[f"holdfast.{name}"] = json.dumps(pairs[f"holdfast.{name}"])
    file = sealed(spec, DATA)
    try:
        tree = read_tree(file)
    except (DamagedError, UnknownFormatError) as error:
        assert str(error).startswith("here: ")  # noqa: PT017
    else:
        for leaf in tree.leaves():
            assert leaf.source.nbytes == leaf.nbytes


def read_tree(file: bytes) -> Any:
    with reader.parse(memoryview(file), "here") as opened:
        opened.metadata()
        opened.verify()
        return opened.tree()
