"""Medians, pairs and verdicts of the benchmark."""

from __future__ import annotations

import pytest

from ratios import Row, Spread, fastest, flatness, paired, spread


def test_a_ratio_is_made_of_the_same_round_only():
    found = paired({1: 2.0, 2: 9.0, 3: 6.0}, {1: 4.0, 3: 3.0, 4: 1.0})
    assert found is not None
    assert found.values == (0.5, 2.0)


def test_the_median_of_ratios_is_not_the_ratio_of_medians():
    found = paired({1: 1.0, 2: 10.0, 3: 3.0}, {1: 10.0, 2: 1.0, 3: 2.0})
    assert found is not None
    assert found.median == 1.5
    assert (found.least, found.most, len(found)) == (0.1, 10.0, 3)


def test_nothing_in_common_is_no_figure():
    assert paired({1: 1.0}, {2: 1.0}) is None
    assert spread([]) is None


def test_the_fastest_is_looked_for_in_every_round():
    assert fastest([{1: 3.0, 2: 1.0}, {1: 2.0}, {2: 4.0, 3: 5.0}]) == {1: 2.0, 2: 1.0, 3: 5.0}


@pytest.mark.parametrize(
    ("found", "limit", "verdict"),
    [
        ((1.0, 1.1, 9.0), 1.1, "holds"),
        ((1.0, 1.2, 1.2), 1.1, "does not hold"),
        ((3.0,), None, "stated"),
        ((), 1.1, "not measured"),
    ],
)
def test_a_goal_holds_by_its_median(found, limit, verdict):
    assert Row("", spread(found), limit).verdict == verdict


def test_flat_is_the_dearest_median_over_the_cheapest():
    assert flatness({16: [1.0, 1.2, 9.0], 64: [2.4], 256: [1.8, 1.8]}) == pytest.approx(2.0)


def test_a_spread_keeps_every_value():
    assert Spread((3.0, 1.0)).values == (3.0, 1.0)
