"""The first 4 KiB: what is written there is read again, and what is wrong is refused."""

from __future__ import annotations

import json
import math
import time
from datetime import datetime, timedelta, timezone
from enum import Enum

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from format.handmade import FACTS, changed_facts, data_of, facts_of, file_of, sealed, small_tree, spec_of
from holdfast.errors import DamagedError, UnknownFormatError
from holdfast.format.prefix import (
    MAX_HEADER,
    Facts,
    facts_from_json,
    facts_sum,
    facts_text,
    facts_to_json,
    is_snapshot,
    read_facts,
    resembles_snapshot,
)
from holdfast.format.sums import FACTS_AT, FACTS_SUM, HEADER_SUM, LITERAL, PAGE, PREFIX, VERSION_AT

FILE = file_of(small_tree())
TEXT = st.text(max_size=40)
FLOATS = st.floats(allow_nan=False)


def read(file: bytes, size: int | None = None) -> Facts:
    return read_facts(file[:PAGE], len(file) if size is None else size, "here")


def test_a_file_begins_with_the_bytes_that_the_format_fixes():
    assert LITERAL == b'{"__metadata__":{"holdfast":"'
    assert FILE[8:39] == b'{"__metadata__":{"holdfast":"1 '
    assert (VERSION_AT, FACTS_AT) == (37, 89)
    assert [slice(39, 71), slice(72, 88)] == [HEADER_SUM, FACTS_SUM]
    assert [FILE[at] for at in (38, 71, 88)] == [ord(" ")] * 3
    assert all(c in b"0123456789abcdef" for c in FILE[HEADER_SUM] + FILE[FACTS_SUM])


def test_facts_come_back_from_the_first_4_kib():
    found = read(FILE)
    assert math.isnan(found.metrics["gone"])
    assert facts_to_json(found) == facts_to_json(FACTS)
    assert found.created_at == FACTS.created_at
    assert found.created_at.utcoffset() == timedelta(0)


@settings(deadline=None)
@given(
    step=st.none() | st.integers(),
    epoch=st.none() | FLOATS,
    metrics=st.dictionaries(TEXT, FLOATS, max_size=5),
    created_at=st.datetimes(timezones=st.just(timezone.utc)),
    sequence=st.integers(min_value=0),
    name=st.text(st.characters(exclude_categories=("Cs",)), max_size=40),
    template=TEXT,
)
def test_any_facts_come_back(**changes):
    facts = changed_facts(**changes)
    text = facts_text(facts, 4096)
    spec = json.loads(json.loads(b'"' + text + b'"'))
    assert spec["size_bytes"] == 4096
    assert facts_from_json(spec) == facts


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), -0.0, 5e-324, 1e308])
def test_floats_that_json_lacks_or_bends_come_back_bit_for_bit(value):
    [found] = facts_from_json(facts_to_json(changed_facts(metrics={"m": value}))).metrics.values()
    assert found == value
    assert math.copysign(1, found) == math.copysign(1, value)


@pytest.mark.parametrize(
    ("changes", "longest"),
    [
        ({"metrics": {f"metric {i}": i / 3 for i in range(200)}}, "metrics"),
        ({"template": "x" * 5000}, "template"),
        ({"name": "é" * 700}, "name"),
    ],
)
def test_facts_that_do_not_fit_the_first_4_kib_are_refused_and_the_longest_is_named(changes, longest):
    with pytest.raises(ValueError, match=rf"of 4006, most of them its '{longest}' \(\d+\)"):
        facts_text(changed_facts(**changes), 1)


def test_the_longest_facts_that_fit_end_inside_the_first_4_kib_and_one_character_more_is_refused():
    spare = PAGE - FACTS_AT - 1 - len(facts_text(changed_facts(reason=""), 1 << 62))
    facts = changed_facts(reason="r" * spare)
    assert len(facts_text(facts, 1 << 62)) == PAGE - FACTS_AT - 1
    file = file_of(small_tree(), facts)
    assert PAGE - 20 < file.index(b'","holdfast.metadata"') < PAGE
    assert read(file).reason == facts.reason
    with pytest.raises(ValueError, match="'reason'"):
        file_of(small_tree(), changed_facts(reason="r" * (spare + 1)))


class Text(str, Enum):
    WORD = "word"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"step": True}, "'step' is True"),
        ({"step": 1.0}, "'step' is 1.0"),
        ({"sequence": None}, "'sequence' is None"),
        ({"reason": None}, "'reason' is None"),
        ({"reason": Text.WORD}, "'reason' is"),
        ({"metrics": {1: 1.0}}, "names that are no str"),
        ({"created_at": datetime(2030, 1, 1)}, "wanted a time in UTC"),
        ({"created_at": datetime(2030, 1, 1, tzinfo=timezone(timedelta(hours=1)))}, "wanted a time in UTC"),
        ({"name": "\ud83d\ude00"}, "two surrogates in a row"),
    ],
)
def test_facts_that_could_not_be_read_again_are_not_written(changes, message):
    with pytest.raises(ValueError, match=message):
        facts_text(changed_facts(**changes), 1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("step", "7"),
        ("step", True),
        ("epoch", 1),
        ("epoch", "7ff8"),
        ("metrics", []),
        ("metrics", {"m": None}),
        ("metrics", {"m": "7FF8000000000000"}),
        ("created_at", "2030-12-31"),
        ("created_at", "2030-12-31T23:59:59.999999+01:00"),
        ("created_at", "2030-13-31T23:59:59.999999+00:00"),
        ("sequence", 1.0),
        ("library", None),
        ("size_bytes", "1"),
        ("size_bytes", None),
        ("size_bytes", True),
    ],
)
def test_a_fact_of_another_type_is_damage_though_the_sums_are_right(name, value):
    spec = spec_of(FILE)
    with pytest.raises(
        DamagedError, match=r"here: the header \(bytes 0-4095\) (holds no facts|says that the file has)"
    ):
        read(sealed(spec, data_of(FILE), **{name: value}))


@pytest.mark.parametrize("name", sorted(facts_to_json(FACTS)))
def test_a_missing_fact_is_damage(name):
    spec = spec_of(FILE)
    facts = facts_of(spec)
    del facts[name]
    spec["__metadata__"]["holdfast"] = f"1 {'0' * 32} {'0' * 16} {json.dumps(facts)}"
    with pytest.raises(DamagedError, match=name):
        read(sealed(spec, data_of(FILE)))


def test_a_fact_that_is_not_known_is_left_alone():
    assert read(sealed(spec_of(FILE), data_of(FILE), mood="good")).step == FACTS.step


@pytest.mark.parametrize("change", [-1, 1, -93, 4096])
def test_a_file_of_another_length_than_its_facts_say_is_damaged(change):
    with pytest.raises(
        DamagedError, match=rf"says that the file has {len(FILE)} bytes, but it has {len(FILE) + change}"
    ):
        read(FILE, len(FILE) + change)


def test_every_bit_of_what_the_facts_sum_covers_matters():
    end = FILE.index(b'","holdfast.metadata"')
    for at in [*range(HEADER_SUM.start), *range(FACTS_SUM.start, FACTS_SUM.stop), *range(FACTS_AT, end + 1)]:
        for bit in range(8):
            flipped = bytearray(FILE)
            flipped[at] ^= 1 << bit
            with pytest.raises(DamagedError, match="the header"):
                read(bytes(flipped))


def with_length(length: int) -> bytes:
    return PREFIX.pack(length - PREFIX.size) + FILE[PREFIX.size :]


@pytest.mark.parametrize("length", [8, 4095, 4097, MAX_HEADER + 4096, 8 + (1 << 64) - 1])
def test_a_length_that_no_header_has_is_damage(length):
    with pytest.raises(DamagedError, match=f"gives its own length as {length}"):
        read(with_length(length))


def test_a_header_that_is_longer_than_the_file_is_cut_off():
    with pytest.raises(DamagedError, match=rf"\(bytes 0-{MAX_HEADER - 1}\) is cut off: the file has {len(FILE)} bytes"):
        read(with_length(MAX_HEADER))


@pytest.mark.parametrize("size", [0, 1, 8, 9, 15, 16, 37, 100, 4095])
def test_less_than_4_kib_of_a_snapshot_file_is_cut_off(size):
    with pytest.raises(DamagedError, match=f"is cut off: the file has {size} bytes"):
        read(FILE[:size])


def test_a_page_that_could_not_be_read_whole_is_no_crash():
    with pytest.raises(DamagedError, match="is cut off"):
        read_facts(FILE[:100], len(FILE), "here")


def test_a_newer_version_is_told_from_damage():
    newer = bytearray(FILE)
    newer[VERSION_AT] = ord("2")
    text = FILE[FACTS_AT : FILE.index(b'","holdfast.metadata"')]
    newer[FACTS_SUM] = facts_sum(bytes(newer), text)
    with pytest.raises(UnknownFormatError, match="version '2' of the format, this holdfast reads version '1'; upgrade"):
        read(bytes(newer))


@pytest.mark.parametrize(
    "page",
    [
        b"\0" * PAGE,
        FILE[:20] + b"\0" * 8 + FILE[28:PAGE],
        b"\0" * 512 + FILE[512:PAGE],
        FILE[:8] + b"\0" * 64 + FILE[72:PAGE],
        FILE[:20] + b"x" + FILE[21:37],
    ],
)
def test_what_may_have_been_a_snapshot_file_is_damaged_and_not_foreign(page):
    assert resembles_snapshot(page)
    with pytest.raises(DamagedError, match="the header"):
        read_facts(page, len(FILE), "here")


@pytest.mark.parametrize(
    "page",
    [
        b"PK\x03\x04" + b"x" * 100,
        PREFIX.pack(100) + b'{"holdfast.weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        b"once upon a time there was a text",
        PREFIX.pack(100) + b'{"__metadata__":{"format":"pt"},"w":{}}',
        PREFIX.pack(104) + b'{"__metadata__":{"1.weight":"0.weight"},"0.weight":{"dtype":"F32","shape":[3,3]}}',
    ],
)
def test_another_file_is_of_an_unknown_format(page):
    assert not is_snapshot(page)
    with pytest.raises(UnknownFormatError, match="is no snapshot file"):
        read(page)


def test_the_facts_of_1000_files_are_read_in_less_than_a_tenth_of_a_second_of_work():
    page, size = FILE[:PAGE], len(FILE)

    def once() -> float:
        begun = time.process_time()
        for _ in range(1000):
            read_facts(page, size, "here")
        return time.process_time() - begun

    assert min(once() for _ in range(5)) < 0.1
