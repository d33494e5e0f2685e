"""Arrays that share memory: one leaf under several names, or windows into common bytes; and tied again afterwards."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.state import sharing
from holdfast.state.capture import capture
from holdfast.state.load import load
from holdfast.state.restore import restore
from holdfast.state.sharing import extent_of
from holdfast.state.tree import Array


def leaves(target: Any) -> list[str]:
    return [f"{leaf.path} {leaf.shape}" for leaf in capture(target).leaves()]


def test_one_array_at_two_places_is_one_leaf_under_two_names():
    row = np.arange(3)
    tree = capture({"a": row, "b": row, "c": row.copy()})
    assert [leaf.path for leaf in tree.leaves()] == ["a", "c"]
    assert tree.aliases() == {"b": "a"}


def test_two_views_of_the_same_elements_are_one_leaf():
    row = np.arange(6)
    assert leaves({"a": row[1:5], "b": row[1:5]}) == ["a (4,)"]


def test_a_tensor_and_the_array_over_its_memory_are_one_leaf():
    tensor = torch.arange(3)
    tree = capture({"t": tensor, "n": tensor.numpy()})
    assert len(tree.leaves()) == 1
    assert [child.framework for child in tree.root.children] == ["torch", "numpy"]


def test_the_same_bytes_as_another_dtype_or_shape_are_a_window():
    row = np.arange(4, dtype="f4")
    assert leaves({"a": row, "b": row.view("i4")}) == ["~shared/0 (16,)"]
    assert leaves({"a": row, "b": row.reshape(2, 2)}) == ["~shared/0 (16,)"]


def test_views_that_overlap_are_windows_into_their_common_bytes_alone():
    row = np.zeros(1000)
    tree = capture({"a": row[10:20], "b": row[15:30], "far": row[500:]})
    assert [(leaf.path, leaf.nbytes) for leaf in tree.leaves()] == [("~shared/0", 160), ("far", 4000)]
    assert [child.view.offset for child in tree.root.children[:2]] == [0, 40]


def test_disjoint_views_are_leaves_of_their_own():
    row = np.zeros(10)
    matrix = torch.zeros(4, 6)
    assert leaves({"a": row[:5], "b": row[5:]}) == ["a (5,)", "b (5,)"]
    assert leaves({"a": matrix[:, :3], "b": matrix[:, 3:]}) == ["a (4, 3)", "b (4, 3)"]
    assert leaves({"a": row[::2], "b": row[1::2]}) == ["a (5,)", "b (5,)"]


def test_of_interleaved_views_only_those_that_meet_are_joined():
    matrix = np.zeros((4, 6))
    assert leaves({"a": matrix[:, :2], "b": matrix[:, 1:3], "c": matrix[:, 4:]}) == ["~shared/0 (168,)", "c (4, 2)"]


def test_very_many_overlapping_views_are_taken_to_be_one_group():
    row = np.zeros(400)
    saved = {str(number): row[number : number + 2] for number in range(300)}
    row[:] = np.arange(400)
    assert leaves(saved) == ["~shared/0 (2408,)"]
    fresh = {str(number): np.zeros(2) for number in range(300)}
    restore(capture(saved), fresh)
    assert fresh["7"].tolist() == [7, 8]


def test_an_expanded_tensor_takes_the_room_of_its_one_element():
    assert leaves({"a": torch.ones(1).expand(1000)}) == ["~shared/0 (4,)"]


def test_nothing_is_shared_by_what_has_no_elements_or_no_plain_bytes():
    assert leaves({"a": np.empty((0, 2)), "b": np.empty((0, 2))}) == ["a (0, 2)", "b (0, 2)"]
    tensor = torch.ones(2, dtype=torch.complex64)
    assert leaves({"a": tensor, "b": tensor.conj()}) == ["a (2,)", "b (2,)"]


def test_tied_weights_of_a_module_are_one_leaf_and_stay_tied():
    module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    module[1].weight = module[0].weight
    assert leaves(module) == ["0.weight (2, 2)", "0.bias (2,)", "1.bias (2,)"]
    fresh = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    fresh[1].weight = fresh[0].weight
    restore(capture(module), fresh)
    assert fresh[1].weight is fresh[0].weight
    assert torch.equal(fresh[0].weight, module[0].weight)


def test_a_tied_snapshot_goes_into_a_target_that_is_not():
    row = np.arange(4.0)
    target = {"a": np.zeros(4), "b": np.zeros(4), "c": torch.zeros(2, dtype=torch.float64)}
    restore(capture({"a": row, "b": row, "c": row[2:]}), target)
    assert [target["a"].tolist(), target["b"].tolist(), target["c"].tolist()] == [[0, 1, 2, 3]] * 2 + [[2, 3]]


@pytest.mark.parametrize("framework", ["numpy", "torch"])
def test_what_was_tied_or_overlapped_is_so_after_a_load(framework):
    row = np.arange(6)
    loaded = load(capture({"a": row, "b": row, "c": row[2:4]}), framework=framework)
    assert loaded["a"] is loaded["b"]
    if framework == "torch":
        loaded["a"][2] = 9
        assert loaded["c"].tolist() == [9, 3]
    else:
        assert np.shares_memory(loaded["a"], loaded["c"])


def test_what_was_tied_is_so_where_the_target_had_nothing_yet():
    row = np.arange(4)
    made = restore(capture({"a": row, "b": row, "c": row[1:]}), {"a": None, "b": None, "c": None})
    made["a"][1] = 7
    assert [made["b"].tolist(), made["c"].tolist()] == [[0, 7, 2, 3], [7, 2, 3]]


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 20), st.lists(st.tuples(st.integers(1, 4), st.integers(-6, 6)), max_size=3)),
        min_size=2,
        max_size=5,
    )
)
def test_arrays_of_any_strides_come_back_with_their_ties(drawn):
    def make(memory: np.ndarray) -> list[np.ndarray]:
        made = []
        for start, axes in drawn:
            low = sum((size - 1) * min(stride, 0) for size, stride in axes)
            shape, strides = tuple(size for size, _ in axes), tuple(8 * stride for _, stride in axes)
            made.append(np.ndarray(shape, "f8", memory.data, 8 * (start - low), strides))
        return made

    saved, fresh = np.arange(150.0), np.zeros(150)
    targets = make(fresh)
    restore(capture(make(saved)), targets)
    for one, other in zip(targets, make(saved), strict=True):
        assert one.tolist() == other.tolist()


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(-8, 8)), min_size=1, max_size=4), st.integers(1, 4))
def test_an_array_is_never_taken_to_lie_apart_from_itself_where_it_does_not(axes, item):
    low = sum((size - 1) * min(stride, 0) for size, stride in axes)
    shape, strides = tuple(size for size, _ in axes), tuple(stride for _, stride in axes)
    array = np.ndarray(shape, f"V{item}", bytearray(200), -low, strides)
    extent = extent_of(array, "numpy")
    assert extent is not None
    positions = [
        sum(index * stride for index, stride in zip(place, strides, strict=True)) + byte
        for place in np.ndindex(*shape)
        for byte in range(item)
    ]
    assert extent.overlaps_itself() or len(set(positions)) == len(positions)
    assert (extent.low - extent.address, extent.high - extent.address) == (min(positions), max(positions) + 1)


def test_shared_bytes_are_found_exactly_as_long_as_that_is_not_too_hard(monkeypatch):
    memory = np.zeros((50, 50), np.uint8)
    one, other = (extent_of(view, "numpy") for view in (memory[:, :25], memory[:, 25:]))
    assert not sharing.share_bytes(one, other)
    monkeypatch.setattr(sharing, "MAX_WORK", 0)
    assert sharing.share_bytes(one, other)


def test_a_window_shows_the_array_that_it_was_made_for():
    row = np.arange(6, dtype="i2")
    tree = capture([row[4:0:-1], row[2:]])
    assert all(isinstance(child, Array) and child.view is not None for child in tree.root.children)
    assert [array.tolist() for array in load(tree)] == [[4, 3, 2, 1], [2, 3, 4, 5]]
