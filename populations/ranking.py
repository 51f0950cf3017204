"""Ranks: numbers whose scale means nothing made comparable."""

from __future__ import annotations

from collections.abc import Sequence

from scipy.stats import rankdata


def mid_ranks(values: Sequence[float]) -> list[float]:
    """The share of the others that each value is above, ties counted half.

    Args:
        values: infinite ones may be among them, NaN may not.

    Returns:
        One number in [0, 1] a value, 1/2 on average; 1/2 for a value alone.
    """
    if len(values) < 2:
        return [0.5] * len(values)
    ranks: list[float] = ((rankdata(values) - 1) / (len(values) - 1)).tolist()
    return ranks
