"""R7: every damage is refused and named; and a campaign that would see one that is not."""

from __future__ import annotations

import pytest

from faults.broken import use_broken_copy
from faults.campaigns import in_processes
from faults.r07_damage import BITS, LARGE, MIDDLE, SMALL, accidents, campaign, complaint, parsed, restored, victim

COUNT = 2_000


@pytest.mark.timeout(600)
def test_no_damage_loads_silently_and_each_refusal_names_what_is_damaged(tmp_path):
    outcome = campaign(COUNT, folder=tmp_path)
    assert outcome.bad == ()
    assert outcome.tried == BITS + COUNT
    assert BITS == 655_360


def test_the_files_have_the_sizes_that_they_are_to_have_and_are_whole(tmp_path):
    for size in (SMALL, MIDDLE, LARGE):
        with victim(size, tmp_path) as one:
            assert len(one.whole) == size
            assert one.read(one.whole) == "accepted"
            assert one.restore() == "the target was changed; restored"


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ("x: the leaf 'w' (bytes 10-19) does not match", ""),
        ("x: the header (bytes 0-15) does not match", ""),
        ("x: the leaf 'w' (bytes 16-19) does not match", "what is named did not change"),
        ("x: the file is damaged", "neither a leaf nor the header is named"),
        ("accepted", "neither a leaf nor the header is named"),
    ],
)
def test_a_refusal_must_name_a_range_that_holds_a_byte_that_differs(said, wrong):
    assert complaint(said, lambda start, end: start <= 15 <= end).startswith(wrong)
    assert bool(wrong) == bool(complaint(said, lambda start, end: start <= 15 <= end))


@pytest.mark.parametrize(
    ("module", "old", "new", "function", "span"),
    [
        pytest.param("format/checking.py", "        if found != digest:", "        if False:", restored,
                     (SMALL - 40, SMALL - 20), id="the sums of leaves, when restoring"),
        pytest.param("format/checking.py", "        if found != digest:", "        if False:", parsed,
                     (MIDDLE - 40, MIDDLE - 20), id="the sums of leaves, when reading"),
        pytest.param("format/snapshot_file.py", "raw[HEADER_SUM] != header_sum(raw)", "False", parsed, (64, 1500),
                     id="the sum of the header"),
        pytest.param("format/checking.py", "        if found != digest:", "        if False:", accidents, (40, 0),
                     id="the sums of leaves, in accidents"),
        pytest.param("format/checking.py", "(bytes {start}-{start + leaf", "(bytes 0-{leaf", parsed,
                     (MIDDLE - 40, MIDDLE - 20), id="a range that is not the leaf's"),
    ],
)  # fmt: skip
def test_a_check_that_is_left_out_is_found(tmp_path, monkeypatch, module, old, new, function, span):
    use_broken_copy(monkeypatch, tmp_path / "broken", (module, old, new))
    (outcome,) = in_processes(function, [(*span, str(tmp_path))])
    assert outcome.bad_count > 0
