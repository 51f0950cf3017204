"""Statistics agree with tables and with counting, and diverged runs take part in them."""

import itertools
import math
import statistics

import numpy as np
import pytest

from egan.study.statistics import a12, holm, mann_whitney, median_interval, wilcoxon

LOST = -math.inf


def draws(count, seed=0, mean=0.0):
    return list(np.random.default_rng(seed).normal(mean, size=count))


def test_the_interval_of_a_median_holds_the_true_one_about_as_often_as_it_says():
    held = 0
    for seed in range(60):
        _, low, high = median_interval(draws(15, seed))
        held += low <= 0 <= high
    assert 0.85 <= held / 60 <= 1.0


def test_the_interval_is_that_of_scipys_percentile_bootstrap():
    values = draws(21, 3)
    middle, low, high = median_interval(values)
    from scipy.stats import bootstrap

    found = bootstrap((values,), np.median, method="percentile", n_resamples=9_999, rng=1)
    assert middle == statistics.median(values)
    assert low == pytest.approx(found.confidence_interval.low, abs=0.15)
    assert high == pytest.approx(found.confidence_interval.high, abs=0.15)
    assert median_interval(values) == (middle, low, high)


def test_runs_that_diverged_reach_into_the_interval_and_one_value_has_none():
    middle, low, high = median_interval([1.0, 2.0, LOST, LOST, 3.0])
    assert (middle, low) == (1.0, LOST)
    assert high >= 2.0
    found = median_interval([4.0])
    assert found[0] == 4.0
    assert all(map(math.isnan, found[1:]))


def test_the_interval_is_the_same_in_any_order():
    values = [*draws(8, 5), LOST]
    assert median_interval(values) == median_interval(values[::-1])


def test_a12_counts_the_pairs_in_which_the_left_is_better():
    left, right = [1.0, 4.0, 4.0, LOST], [0.0, 4.0, LOST]
    pairs = list(itertools.product(left, right))
    better = sum((one > other) + (one == other) / 2 for one, other in pairs)
    assert a12(left, right) == pytest.approx(better / len(pairs))
    assert a12(right, left) == pytest.approx(1 - better / len(pairs))
    assert a12([5.0] * 3, [1.0] * 4) == 1.0


def test_mann_whitney_is_the_exact_share_of_arrangements():
    # All of 4 above all of 3: 2 of the 35 arrangements are as far out.
    assert mann_whitney([4.0, 5.0, 6.0, 7.0], [1.0, 2.0, 3.0]) == pytest.approx(2 / 35)
    assert mann_whitney(draws(8), draws(8)) == pytest.approx(1.0, abs=0.1)


def test_wilcoxon_reads_pairs_and_ranks_a_diverged_run_farthest():
    left = [1.1, 2.1, 3.1, 4.1, 5.1, 6.1]
    right = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert wilcoxon(left, right) == pytest.approx(2 / 64)
    assert wilcoxon(left, left) == 1.0
    assert wilcoxon([LOST] * 6, [LOST] * 6) == 1.0
    assert wilcoxon(left, [LOST, *right[1:]]) == pytest.approx(2 / 64)


def test_holm_is_the_published_step_down():
    # Holm (1979): 4 tests; .01 * 4, then .0134 * 3, .02 * 2, .3 * 1, never below one before.
    assert holm([0.02, 0.01, 0.3, 0.0134]) == pytest.approx([0.0402, 0.04, 0.3, 0.0402])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
