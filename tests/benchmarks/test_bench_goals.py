"""From samples to the rows of the goals, and to the tables."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import goals
import report
from contestants import LIGHTNING, NONE, OURS, SHIPPED, TUNED

MIB = 1 << 20


def save(name, number, stall_s, fsynced_s, state="a", **more):
    return {
        "what": "save", "state": state, "contestant": name, "round": number, "stall_s": stall_s,
        "fsynced_s": fsynced_s, "memcpy_s": 0.1, "floor_s": 0.08, "idle_floor_s": 0.16, **more,
    }  # fmt: skip


def row(samples, start):
    return next(one for one in goals.rows(samples) if one.what.startswith(start))  # the default writer's is the first


def test_a_run_without_samples_measures_nothing_and_holds_nothing():
    assert {one.verdict for one in goals.rows([])} == {"not measured"}


def test_the_round_that_warms_up_does_not_count():
    samples = [save(OURS, 0, 5.0, 9.0), save(OURS, 1, 0.11, 1.0), save(OURS, 2, 0.12, 1.0), save(OURS, 3, 0.10, 1.0)]
    found = row(samples, f"stall, warm / one memcpy: {OURS}")
    assert found.found.values == pytest.approx((1.1, 1.2, 1.0))
    assert found.verdict == "holds"


def test_the_stall_is_shown_beside_a_bare_copy_and_beside_one_into_memory_that_lay_idle():
    samples = [save(OURS, 1, 0.12, 1.0), save(OURS, 2, 0.16, 1.0, idle_floor_s=0.2), save(OURS, 3, 0.24, 1.0)]
    assert row(samples, f"stall, warm / a bare copy by all processors: {OURS}").found.median == pytest.approx(2.0)
    found = row(samples, "the same, into memory that lay idle")
    assert found.found.values == pytest.approx((0.75, 0.8, 1.5))
    assert found.verdict == "stated"


def test_the_time_until_acknowledged_is_held_against_copy_and_raw_write_together():
    found = row([save(OURS, 1, 0.1, 1.2, raw_write_s=0.7)], "call until acknowledged / (one memcpy + raw O_DIRECT")
    assert found.found.median == pytest.approx(1.5)
    assert found.verdict == "does not hold"


def test_peers_are_held_against_in_the_same_round():
    samples = [save(OURS, 1, 0.1, 1.0), save(OURS, 2, 0.3, 1.0), save(SHIPPED, 1, 1.0, 2.0), save(SHIPPED, 2, 1.0, 4.0)]
    assert row(samples, f"stall / {SHIPPED}").found.values == pytest.approx((0.1, 0.3))
    assert row(samples, f"stall / {TUNED}").verdict == "not measured"


def test_other_states_do_not_count_for_the_large_one():
    assert row([save(OURS, 1, 0.1, 1.0, state="c")], "stall, warm / one memcpy").found is None


def test_the_fastest_peer_may_be_another_in_every_round():
    samples = [save(OURS, 1, 0.1, 1.0), save(OURS, 2, 0.1, 1.0)]
    samples += [save("torch.save", 1, 2.0, 2.0), save("safetensors", 1, 4.0, 4.0)]
    samples += [save("torch.save", 2, 5.0, 5.0), save("safetensors", 2, 2.5, 2.5)]
    assert row(samples, "until fsynced / the fastest").found.values == pytest.approx((0.5, 0.4))


def test_peak_memory_is_held_against_the_state_and_64_mib():
    size = 1000 * MIB
    sample = {"what": "memory", "state": "a", "contestant": OURS, "after": 1, "size_bytes": size}
    found = row(
        [{**sample, "peak_bytes": 1084 * MIB}], f"peak memory above the state / (1.02 x state + 64 MiB): {OURS}"
    )
    assert found.found.median == pytest.approx(1.0)
    assert found.verdict == "holds"


def test_memory_that_grows_with_the_snapshots_does_not_hold():
    sample = {"what": "memory", "state": "bytes:1", "contestant": OURS, "size_bytes": 128 * MIB}
    samples = [{**sample, "after": 1, "peak_bytes": 130 * MIB}, {**sample, "after": 100, "peak_bytes": 140 * MIB}]
    found = row(samples, f"peak memory after 100 snapshots / after 1: {OURS}")
    assert found.verdict == "does not hold"
    assert found.note == "a state of 128 MiB"


def test_the_training_loop_is_compared_slice_by_slice_with_every_peer():
    def loop(name, number, seconds):
        return {"what": "loop", "contestant": name, "slice": number, "seconds": seconds, "stall_s": 0.1}

    samples = [loop(NONE, 0, 50.0), loop(OURS, 0, 51.0), loop(LIGHTNING, 0, 60.0), loop(NONE, 1, 100.0),
               loop(OURS, 1, 103.0), loop(LIGHTNING, 1, 101.0)]  # fmt: skip
    assert row(samples, "training loop, snapshot").found.values == pytest.approx((1.02, 1.03))
    assert row(samples, f"training loop / the same with {LIGHTNING}").found.values == pytest.approx((0.85, 103 / 101))
    assert row(samples, f"training loop / the same with {TUNED}").verdict == "not measured"


def grown(fixed_s, costs):
    """Samples of stalls of a fixed part and a cost per MiB; a bare copy takes three quarters of the latter."""
    return [
        {"what": "bytes", "spinning": False, "size_bytes": int(size * MIB), "stall_s": fixed_s + cost * size,
         "floor_s": 0.75 * cost * size}
        for size, cost in costs
    ]  # fmt: skip


def test_growth_takes_off_what_a_snapshot_of_nothing_may_cost():
    samples = grown(0.0005, [(16, 1e-4), (4096, 1.2e-4)])
    assert row(samples, "growth by bytes").found.median == pytest.approx(1.2)
    assert row(samples, "growth by bytes: dearest / cheapest bare copy").found.median == pytest.approx(1.2)
    alone = row(samples, "the same, if the stall were a bare copy")
    assert alone.found.median == pytest.approx((0.9e-4 - 0.0005 / 4096) / (0.75e-4 - 0.0005 / 16))


def test_growth_also_takes_off_what_a_snapshot_of_nothing_does_cost():
    samples = grown(0.0002, [(goals.NOTHING / MIB, 0.0), (16, 1e-4), (4096, 1e-4)])
    assert row(samples, "growth by bytes").found.median == pytest.approx(1.6 / 1.3, rel=0.01)
    assert row(samples, "growth by bytes: dearest / cheapest (stall - what a").found.median == pytest.approx(1.0)
    assert "0.20 ms" in row(samples, "growth by bytes: dearest / cheapest (stall - what a").what


def test_beside_each_peer_stands_what_the_bare_copy_would_need_of_its_stall():
    samples = [save(OURS, 1, 0.1, 1.0), save(SHIPPED, 1, 0.25, 2.0)]
    assert row(samples, "stall, warm / a bare copy").found.median == pytest.approx(1.25)
    assert row(samples, f"its floor: a bare copy by all processors / {SHIPPED}").found.median == pytest.approx(0.32)


def test_beside_the_tuned_peer_stands_what_a_bare_copy_and_a_bare_write_need_of_its_time():
    samples = [save(OURS, 1, 0.1, 0.6, raw_write_s=0.42), save(TUNED, 1, 0.25, 1.0)]
    assert row(samples, f"until fsynced / {TUNED}").verdict == "does not hold"
    assert row(samples, "its floor: (a bare copy + raw").found.median == pytest.approx(0.5)


def test_a_first_snapshot_without_memory_made_ready_says_why_it_is_missing():
    found = row([{"what": "absent", "contestant": "prepare", "why": "no prepare()"}], "stall of the first snapshot")
    assert (found.verdict, found.note) == ("not measured", "no prepare()")


def test_the_report_names_who_is_missing_and_why():
    samples = [save(OURS, 1, 0.1, 1.0), {"what": "absent", "contestant": SHIPPED, "why": "does not import: x"}]
    text = report.markdown(goals.rows(samples), samples, {"processor": "p"})
    assert f"- {SHIPPED}: does not import: x" in text
    assert f"| {SHIPPED} | not measured, see below |" in text


def test_every_line_of_a_table_has_as_many_cells():
    samples = [save(OURS, 1, 0.1, 1.0, raw_write_s=0.5), {"what": "absent", "contestant": SHIPPED, "why": "x"},
               {"what": "moment", "contestant": OURS, "kept": True}]  # fmt: skip
    text = report.markdown(goals.rows(samples), samples, {})
    widths = [line.count("|") for line in text.splitlines() if line.startswith("|")]
    assert set(widths) == {8, 10}


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (1234.5, "1,234"), (12.345, "12.35"), (0.98765, "0.988"), (0.000712, "0.001")]
)
def test_numbers_have_no_exponent(value, text):
    assert report.number(value) == text


def test_figures_are_made_without_a_peer():
    folder = Path(goals.__file__).parent
    peers = "'torchsnapshot', 'lightning', 'orbax', 'pytorch_pfn_extras'"
    look = f"import sys, goals, report; print({{{peers}}} & {{*sys.modules}})"
    found = subprocess.run([sys.executable, "-c", look], cwd=folder, capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"
