"""Ranks say how many of the others a value is above."""

import math

import pytest
from scipy.stats import rankdata

from populations.ranking import mid_ranks


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], []),
        ([7.0], [0.5]),
        ([3.0, -1.0], [1.0, 0.0]),
        ([1.0, 1.0], [0.5, 0.5]),
        ([0.0, 5.0, 5.0, 9.0], [0.0, 0.5, 0.5, 1.0]),
        ([-math.inf, 2.0, -math.inf, -1e300, 1e300], [0.125, 0.75, 0.125, 0.5, 1.0]),
    ],
)
def test_a_rank_is_the_share_of_the_others_below_with_ties_counted_half(values, expected):
    assert mid_ranks(values) == expected


def test_ranks_are_those_of_scipy_scaled():
    values = [math.sin(7 * each) // 0.1 for each in range(60)]
    assert mid_ranks(values) == pytest.approx((rankdata(values) - 1) / 59, abs=1e-15)


def test_ranks_are_plain_numbers():
    assert all(type(each) is float for each in mid_ranks([2.0, 1.0, 2.0]))
