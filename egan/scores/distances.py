"""Distances between two sets of samples."""

from __future__ import annotations

import torch
from torch import Tensor

ROWS = 1024  # of a distance matrix at a time, to bound memory


def mean_distance(left: Tensor, right: Tensor) -> float:
    """Mean Euclidean distance over all pairs of rows, in the data's units."""
    sums = [
        torch.cdist(chunk, right, compute_mode="donot_use_mm_for_euclid_dist").sum().double()
        for chunk in left.split(ROWS)
    ]
    return float(torch.stack(sums).sum()) / (len(left) * len(right))


def energy_distance(samples: Tensor, real: Tensor) -> float:
    """2 E|X-Y| - E|X-X'| - E|Y-Y'| over all pairs of samples and real ones.

    Székely and Rizzo (2013), the V-statistic: never negative up to rounding, and slightly above 0
    for equal distributions. Rows are flattened. In the data's units; lower is better.
    """
    x, y = samples.flatten(1), real.flatten(1)
    return 2 * mean_distance(x, y) - mean_distance(x, x) - mean_distance(y, y)
