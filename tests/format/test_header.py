"""Where a layout puts things, and that other safetensors readers find them there."""

from __future__ import annotations

import json
from enum import Enum, IntEnum

import numpy as np
import pytest
import safetensors
import safetensors.numpy

from format.handmade import (
    FACTS,
    array,
    branch,
    bytes_of,
    changed_facts,
    data_of,
    file_of,
    grow,
    leaf,
    memory,
    packed,
    small_tree,
    spec_of,
    value,
    window,
)
from holdfast.format import header
from holdfast.format.prefix import MAX_HEADER
from holdfast.format.sums import HEADER_SUM, PAGE, PREFIX, header_sum
from holdfast.state.encoding import encode_values
from holdfast.state.reading import leaves_of
from holdfast.state.tree import Array, Branch, StateTree


def many(**arrays):
    return grow(branch("dict", {key: array(one) for key, one in arrays.items()}))


def test_the_data_starts_at_a_multiple_of_4096_and_holds_the_leaves_with_no_holes():
    tree = small_tree()
    layout = header.plan(tree)
    plain, packed = leaves_of(tree)
    data = data_of(file_of(tree))
    assert (len(file_of(tree)) - len(data)) % PAGE == 0
    for one, slot in zip(plain, layout.slots, strict=True):
        assert data[slot.offset : slot.offset + slot.nbytes] == bytes_of(one)
    assert sorted(slot.offset + slot.nbytes for slot in layout.slots) == list(layout.ends)
    assert sum(slot.nbytes for slot in layout.slots) == layout.array_bytes
    assert data[layout.array_bytes :] == b"".join(map(bytes_of, packed))
    assert [leaf.path for leaf in packed] == list(layout.packed)


def test_the_header_is_padded_with_spaces_and_its_sum_covers_length_json_and_padding():
    file = file_of(small_tree())
    length = PREFIX.size + PREFIX.unpack_from(file)[0]
    assert file[:length].rstrip(b" ").endswith(b"}}")
    assert file[HEADER_SUM] == header_sum(file[:length])
    for at in (0, 8, 38, 71, 1000, length - 1):
        changed = bytearray(file[:length])
        changed[at] ^= 1
        assert header_sum(changed) != file[HEADER_SUM]


def test_the_keys_of_the_metadata_stand_in_the_order_of_the_format():
    assert list(spec_of(file_of(small_tree()))["__metadata__"]) == [
        "holdfast", "holdfast.metadata", "holdfast.values", "holdfast.checksums", "holdfast.tree", "tied",
    ]  # fmt: skip


def test_leaves_stand_by_the_falling_power_of_two_that_divides_their_items_and_those_that_grow_last():
    tree = grow(
        branch(
            "dict",
            {
                "text": packed("bytes", b"x" * 64),
                "u8": array(np.zeros(3, np.uint8)),
                "s3": array(np.zeros(2, "S3")),
                "f8": array(np.zeros(1, np.float64)),
                "s6": array(np.zeros(2, "S6")),
                "i2": array(np.zeros(1, np.int16)),
                "c16": array(np.zeros(1, np.complex128)),
                "s12": array(np.zeros(1, "S12")),
                "f4": array(np.zeros(1, np.float32)),
            },
        )
    )
    assert list(spec_of(file_of(tree)))[1:] == ["c16", "f8", "s12", "f4", "s6", "i2", "u8", "s3", "text"]


def test_common_memory_is_aligned_for_the_windows_that_look_into_it():
    common = memory(bytes(24))
    tree = grow(
        branch(
            "dict",
            {
                "u8": array(np.zeros(3, np.uint8)),
                "f8": window(common, 0, "F64", (2,), (8,)),
                "i2": window(common, 8, "I16", (2,), (2,)),
            },
        )
    )
    assert list(spec_of(file_of(tree)))[1:] == ["~shared/0", "u8"]


@pytest.mark.parametrize("seed", range(20))
def test_every_leaf_is_aligned_to_its_item_size(seed):
    random = np.random.default_rng(seed)
    kinds = ["u1", "f2", "i4", "f8", "c16", "S3", "S6", "S12", "S40"]
    tree = many(**{str(i): np.zeros(random.integers(0, 9), random.choice(kinds)) for i in range(30)})
    for one, slot in zip(tree.leaves(), header.plan(tree).slots, strict=True):
        size = one.source.itemsize
        assert slot.offset % (size & -size) == 0


def test_other_safetensors_readers_find_the_arrays_under_their_names():
    arrays = {
        "model/0.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
        "n": np.int64(3),
        "empty": np.zeros((0, 4), np.float64),
        "flags": np.array([True, False]),
        "half": np.arange(3, dtype=np.float16),
        "unsigned": np.arange(3, dtype=np.uint16),
    }
    tree = many(**{"model": np.zeros(0, np.uint8)} | {name.replace("/", "."): one for name, one in arrays.items()})
    found = safetensors.numpy.load(file_of(tree))
    for name, one in arrays.items():
        back = found[name.replace("/", ".")]
        assert (back.dtype, back.shape, back.tobytes()) == (one.dtype, one.shape, one.tobytes())


def test_other_safetensors_readers_see_dtypes_they_lack_as_rows_of_bytes(tmp_path):
    times = np.array([["2030-01-01"], ["2031-01-01"]], "M8[s]")
    path = tmp_path / "file.safetensors"
    path.write_bytes(file_of(many(times=times, swapped=np.arange(3, dtype=">i4"))))
    with safetensors.safe_open(path, "numpy") as file:
        assert file.get_tensor("times").shape == (2, 1, 8)
        assert file.get_tensor("times").tobytes() == times.tobytes()
        assert file.get_slice("swapped").get_dtype() == "U8"
        assert file.metadata()["holdfast.tree"].startswith('{"dtypes":{"0":"<M8[s]","1":">i4"}')


@pytest.mark.parametrize("step", [1, 10**15])
def test_a_longer_step_number_moves_no_leaf(step):
    tree = small_tree()
    assert len(file_of(tree, changed_facts(step=step))) == len(file_of(tree))


def test_values_that_grow_a_little_move_no_leaf_and_those_that_grow_much_make_the_header_longer():
    def size_with(text: str, planned_for: str = "") -> int:
        shape = grow(branch("dict", {"log": value("str", planned_for)}))
        tree = grow(branch("dict", {"log": value("str", text)}))
        return len(header.encode(header.plan(shape), encode_values(tree), [], FACTS, None).text)

    assert size_with("x" * 200) == size_with("")
    assert size_with("x" * 5000) > size_with("")
    assert size_with("x" * 5000) % PAGE == 0


def test_a_layout_serves_every_tree_of_the_same_shape_and_no_other():
    first = grow(branch("list", [value("int", 1), value("none", None)]))
    later = grow(branch("list", [value("int", 2), value("str", "now")]))
    other = grow(branch("list", [value("int", 2)]))
    layout = header.plan(first)
    values = encode_values(later)
    assert header.encode(layout, values, [], FACTS, None) == header.encode(header.plan(later), values, [], FACTS, None)
    with pytest.raises(ValueError, match="tree of another shape"):
        header.encode(layout, encode_values(other), [], FACTS, None)
    with pytest.raises(ValueError, match="tree of another shape"):
        header.encode(layout, values, [16], FACTS, None)


def test_a_layout_serves_packed_values_that_grow_and_only_the_last_entries_change():
    def tree(size: int) -> StateTree:
        return grow(branch("dict", {"w": array(np.zeros(3)), "log": packed("bytes", b"x" * size)}))

    layout = header.plan(tree(300))
    longer = header.encode(layout, [], [4000], FACTS, None)
    assert longer == header.encode(header.plan(tree(4000)), [], [4000], FACTS, None)
    assert longer != header.encode(layout, [], [300], FACTS, None)


def test_equal_states_with_equal_facts_make_equal_bytes():
    assert file_of(small_tree()) == file_of(small_tree())


def test_a_header_over_64_mib_is_refused_and_says_what_is_long():
    tree = grow(value("none", None))
    with pytest.raises(ValueError, match=rf"at most {MAX_HEADER} can be read: keep long metadata \(671"):
        file_of(tree, metadata={"log": "x" * (MAX_HEADER - 100)})


def test_a_leaf_whose_bytes_do_not_fit_its_shape_is_refused():
    wrong = leaf("w", np.zeros(3, np.float32), "F64")
    with pytest.raises(ValueError, match="'w' has 12 bytes"):
        header.plan(StateTree(Branch("dict", ("w",), (Array(wrong, "numpy"),))))


@pytest.mark.parametrize("path", ["v", "__metadata__", "~root"])
def test_a_leaf_that_is_named_other_than_its_place_is_refused(path):
    with pytest.raises(ValueError, match=f"the leaf '{path}' stands at 'w'"):
        header.plan(StateTree(Branch("dict", ("w",), (Array(leaf(path, np.zeros(3)), "numpy"),))))


def test_two_common_memories_of_one_name_are_refused():
    windows = [window(memory(bytes(4)), 0, "U8", (2,), (1,)) for _ in range(2)]
    with pytest.raises(ValueError, match="two leaves of the tree have the same path"):
        header.plan(grow(branch("list", windows)))


def test_a_tied_array_is_one_entry_and_a_pair_of_names():
    tied = array(np.zeros(2))
    spec = spec_of(file_of(grow(branch("dict", {"a": tied, "b": branch("list", [tied]), "holdfast.c": tied}))))
    assert list(spec) == ["__metadata__", "a"]
    pairs = {key: name for key, name in spec["__metadata__"].items() if not key.startswith("holdfast")}
    assert pairs == {"b/~i0": "a"}


# --- metadata --------------------------------------------------------------------------------------------------------


class Word(str, Enum):
    YES = "yes"


class Number(IntEnum):
    TWO = 2


def test_metadata_is_kept_as_plain_json():
    metadata = {"a": [1, 2.5, None, True, "é", (1, 2)], "b": {"c": {}}, "word": Word.YES, "number": Number.TWO}
    checked = header.check_metadata(metadata)
    assert checked == {"a": [1, 2.5, None, True, "é", [1, 2]], "b": {"c": {}}, "word": "yes", "number": 2}
    assert json.dumps(checked["word"]) == '"yes"'
    assert type(checked["word"]) is str
    assert type(checked["number"]) is int


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ([1], "metadata is list"),
        ({"a": float("nan")}, r"metadata\['a'\] is nan"),
        ({"a": {"b": [float("inf")]}}, r"metadata\['a'\]\['b'\]\[0\] is inf"),
        ({1: 2}, "has the key 1"),
        ({"a": "\ud800"}, "half a surrogate pair"),
        ({"\udfff": 1}, "half a surrogate pair"),
        ({"a": 1 << 5000}, "an int of 5001 bits"),
        ({"a": b"bytes"}, r"metadata\['a'\] is builtins.bytes"),
        ({"a": np.float32(1)}, r"numpy\.float32"),
    ],
)
def test_metadata_that_json_lacks_is_refused_with_its_place(metadata, message):
    with pytest.raises(ValueError, match=message):
        header.check_metadata(metadata)


def test_metadata_that_never_ends_is_refused():
    loop: dict[str, object] = {}
    loop["again"] = loop
    with pytest.raises(ValueError, match="over 64 levels deep"):
        header.check_metadata(loop)
