"""Ranks: numbers whose scale means nothing made comparable."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def mid_ranks(values: Sequence[float]) -> list[float]:
    """The share of the others that each value is above, ties counted half.

    Args:
        values: infinite ones may be among them, NaN may not.

    Returns:
        One number in [0, 1] a value, 1/2 on average; 1/2 for a value alone.
    """
    if len(values) < 2:
        return [0.5] * len(values)
    ordered = np.sort(values)
    below, up_to = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
    ranks: list[float] = ((below + up_to - 1) / 2 / (len(values) - 1)).tolist()
    return ranks
