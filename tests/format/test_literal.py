"""The literals of .npy headers: those that numpy writes are read as Python reads them, and nothing is compiled."""

from __future__ import annotations

import ast
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.format import literal

DTYPES = [
    np.dtype("f4"), np.dtype(">c16"), np.dtype("M8[25s]"), np.dtype("U7"), np.dtype(bool),
    np.dtype([("a", "i4"), ("b", "f8", (2, 3)), (("title", "c"), "S3")]),
    np.dtype([("ä'\"\\", "i2")]), np.dtype({"names": ["x"], "formats": ["u1"], "itemsize": 16}),
]  # fmt: skip

plain = st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    plain, lambda some: st.lists(some) | st.lists(some).map(tuple) | st.dictionaries(st.text("ab'\"\\\n"), some)
)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (3,), (0, 7)])
def test_what_numpy_writes_is_read(dtype, shape):
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    assert literal.parse(repr(header)) == header
    text = "{" + "".join(f"{key!r}: {value!r}, " for key, value in sorted(header.items())) + "}" + " " * 9 + "\n"
    assert literal.parse(text) == header


@settings(deadline=None)
@given(values)
def test_any_literal_of_these_kinds_is_read_as_python_reads_it(value):
    found = literal.parse(repr(value))
    assert found == ast.literal_eval(repr(value)) == value
    assert repr(found) == repr(value)


def test_what_python_2_wrote_is_read():
    assert literal.parse("{u'shape': (3L, 12L), 'n': -5L}") == {"shape": (3, 12), "n": -5}


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "(", ")", "(1", "[1,,2]", "[,]", "{,}", "(1 2)", "{'a'}", "{'a': }", "{'a': 1, 'a': 2}", "{1: 2}",
        "{(): 1}", "[1]]", "1 2", "1.5", "0x10", "1e5", "True1", "true", "f('x')", "__import__('os')", "'a", "'\\q'",
        "'\\x1'", "'a' 'b'", "b'a'", "9" * 21, "[" * 65 + "]" * 65, "{'a': 1}; 2", "[x for x in ()]", "...", "\0",
        "(*a,)",
    ],
)  # fmt: skip
def test_anything_else_is_a_value_error(text):
    with pytest.raises(ValueError, match="its header"):
        literal.parse(text)


def test_nothing_is_compiled():
    seen = []
    watching = [True]
    sys.addaudithook(
        lambda event, arguments: seen.append(event) if watching[0] and event in ("compile", "exec") else None
    )
    ast.literal_eval("{'a': (1, 2)}")
    assert seen
    seen.clear()
    literal.parse("{'a': (1, 2)}")
    watching[0] = False
    assert seen == []
