"""Names of places: unique, safe in every safetensors reader, and the same for the same state."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from format.drawn_trees import keys, trees
from format.handmade import array, branch, grow, leaf, memory, packed, value, window
from holdfast.state.tree import Array, Branch, StateTree, escape, escape_all, join, unescape


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("weight", "weight"),
        ("0.weight", "0.weight"),
        ("model:main", "model:main"),
        ("", "~e"),
        ("a/b", "a~1b"),
        ("a~b", "a~0b"),
        ("~1", "~01"),
        ("__metadata__", "~2metadata__"),
        ("a__b", "a__b"),
        ("é", "é"),
        ("\ud800", "~ud800"),
        ("\ud83d\ude00", "~ud83d~ude00"),
        ("😀", "😀"),
        (None, "~n"),
        (True, "~b1"),
        (False, "~b0"),
        (0, "~i0"),
        (-12, "~i-12"),
        (1.0, "~f0x1.0000000000000p+0"),
        (b"\x00\xff", "~y00ff"),
        ((), "~t"),
        ((1, "a"), "~t3:~i11:a"),
        (("é/", (None,)), "~t3:é~16:~t2:~n"),
    ],
)
def test_a_key_has_the_name_of_the_format(key, name):
    assert escape(key) == name


@settings(deadline=None)
@given(keys)
def test_no_name_is_empty_or_holds_a_slash_or_begins_like_a_name_of_safetensors_own(key):
    name = escape(key)
    assert name
    assert "/" not in name
    assert not name.startswith("__")
    name.encode()  # no surrogate is left


@settings(max_examples=300, deadline=None)
@given(keys, keys)
def test_two_keys_never_share_a_name(one, other):
    same = repr(one) == repr(other)  # tells types apart, and NaN from nothing
    assert (escape(one) == escape(other)) == same


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text("a_~/\né", max_size=4), max_size=4) | st.lists(st.text("a_\n", max_size=4) | keys, max_size=4))
def test_many_keys_have_the_names_that_each_has_alone(many):
    assert list(escape_all(many)) == [escape(key) for key in many]


@settings(deadline=None)
@given(keys.filter(lambda key: type(key) is not tuple))
def test_a_name_leads_back_to_its_key(key):
    found = unescape(escape(key))
    assert (type(found), repr(found)) == (type(key), repr(key))


def test_a_key_of_another_type_is_refused():
    for key in (np.int64(1), np.str_("a"), frozenset(), (1, [2])):
        with pytest.raises(TypeError, match="a key must be"):
            escape(key)


def test_a_path_joins_names_with_slashes():
    assert join(join("", "a/b"), 0) == "a~1b/~i0"


def test_nodes_with_leaves_come_in_tree_order_the_reserved_ones_last():
    common = memory(bytes(8))
    tree = grow(
        branch(
            "dict",
            {
                "n": value("int", 1),
                "inner": branch("list", [array([1.0]), packed("str", b"text")]),
                "view": window(common, 0, "U8", (2,), (1,)),
                "last": array([2.0]),
            },
        ),
        branch("dict", {"seed": array([3])}),
    )
    assert [path for path, _ in tree.arrays()] == ["inner/~i0", "inner/~i1", "view", "last", "~run/seed"]
    assert [one.path for one in tree.leaves()] == ["inner/~i0", "inner/~i1", "~shared/0", "last", "~run/seed"]


@pytest.mark.parametrize("seed", [array([1.0]), packed("bytes", b"x")])
def test_a_tree_of_one_leaf_is_named_root(seed):
    assert [path for path, _ in grow(seed).arrays()] == ["~root"]
    assert grow(seed).leaves()[0].path == "~root"


def test_a_tree_of_one_value_has_no_leaves():
    assert grow(value("none", None)).leaves() == []


def test_a_tied_array_is_one_leaf_and_its_further_names_are_aliases():
    tied = array([1.0])
    tree = grow(branch("dict", {"a": tied, "b": tied, "c": branch("list", [tied])}), branch("dict", {"d": tied}))
    assert [one.path for one in tree.leaves()] == ["a"]
    assert tree.aliases() == {"b": "a", "c/~i0": "a", "~run/d": "a"}


def test_windows_into_common_memory_are_no_aliases():
    common = memory(bytes(8))
    tree = grow(branch("list", [window(common, at, "U8", (4,), (1,)) for at in (0, 2)]))
    assert tree.aliases() == {}


def test_a_leaf_that_is_named_after_another_place_is_found():
    tree = StateTree(Branch("dict", ("a", "b"), tuple(Array(leaf(name, np.zeros(1)), "numpy") for name in ("a", "a"))))
    with pytest.raises(ValueError, match="the leaf 'a' stands at 'b'"):
        tree.aliases()


@settings(max_examples=25, deadline=None)
@given(trees())
def test_no_two_places_of_a_tree_share_a_name(tree):
    paths = [path for path, _ in tree.arrays()]
    assert len(set(paths)) == len(paths)
