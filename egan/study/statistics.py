"""Statistics of a study, on merits: numbers that are the higher the better.

SciPy does the work. A run without a score (it diverged) has the merit -inf, the worst of all: it is
compared, never left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from scipy import stats

LEVEL = 0.95  # of intervals
RESAMPLES = 9_999


def median_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The median and its bootstrap interval (percentile, 95 %), from the same resamples always.

    Both ends are values, or means of two: an end that is infinite says that diverged runs reach
    into the interval. Of fewer than two values the interval is unknown, (nan, nan).
    """
    middle = float(np.median(values)) if len(values) else math.nan
    if len(values) < 2:
        return middle, math.nan, math.nan
    medians = np.sort(np.sort(values)[_middles(len(values))].mean(axis=1))
    tail = (1 - LEVEL) / 2
    low, high = medians[int(tail * RESAMPLES)], medians[int((1 - tail) * RESAMPLES)]
    return middle, float(low), float(high)


@cache
def _middles(count: int) -> np.ndarray:
    """The places, among so many values in order, of the middle two of resamples, (RESAMPLES, 2)."""
    draws = np.random.default_rng(0).integers(count, size=(RESAMPLES, count))
    return np.sort(draws, axis=1)[:, [(count - 1) // 2, count // 2]]


def difference(
    values: Sequence[float], mean: float, error: float, runs: int
) -> tuple[float, float, float]:
    """The mean of values less another one, and its interval (Welch's t, 95 %).

    Args:
        values: two or more.
        mean: of others.
        error: its standard error.
        runs: over which it was taken, two or more.
    """
    ours, theirs = stats.sem(values) ** 2, error**2
    found = float(np.mean(values)) - mean
    if not ours + theirs:
        return found, found, found
    freedom = (ours + theirs) ** 2 / (ours**2 / (len(values) - 1) + theirs**2 / (runs - 1))
    reach = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * math.sqrt(ours + theirs)
    return found, found - reach, found + reach


def a12(left: Sequence[float], right: Sequence[float]) -> float:
    """The probability that a merit of the left is above one of the right, ties counted half.

    Vargha and Delaney (2000), Eq. 14; 0.5 where both are alike.
    """
    return float(stats.mannwhitneyu(left, right).statistic) / (len(left) * len(right))


def mann_whitney(left: Sequence[float], right: Sequence[float]) -> float:
    """The two-sided p of Mann and Whitney (1947): both merits come from one distribution."""
    return float(stats.mannwhitneyu(left, right, alternative="two-sided").pvalue)


def wilcoxon(left: Sequence[float], right: Sequence[float]) -> float:
    """The two-sided p of Wilcoxon's signed ranks over pairs; 1 where all pairs are equal.

    Pairs of two diverged runs are equal; where one diverged, the difference is above all others.
    """
    differences = np.array([
        0.0 if one == other else one - other for one, other in zip(left, right, strict=True)
    ])  # fmt: skip
    if not differences.any():
        return 1.0
    finite = np.abs(differences[np.isfinite(differences)])
    largest = 1 + 2 * (finite.max() if len(finite) else 0.0)
    differences = np.clip(differences, -largest, largest)
    return float(stats.wilcoxon(differences, zero_method="zsplit").pvalue)


def holm(ps: Sequence[float]) -> list[float]:
    """The p of a family of tests after Holm (1979), in the order they came in.

    The smallest times their number, the next times one less, and so on; never below one before.
    """
    adjusted, highest = [0.0] * len(ps), 0.0
    for place, index in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        highest = max(highest, min(1.0, (len(ps) - place) * ps[index]))
        adjusted[index] = highest
    return adjusted
