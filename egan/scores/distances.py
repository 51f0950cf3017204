"""Distances between two sets of samples."""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK = 1024  # rows of either side at a time, to bound memory
ENOUGH = 5_000  # samples of each set that an energy distance reads; the cost grows with the square


def mean_distance(left: Tensor, right: Tensor) -> float:
    """Mean Euclidean distance over all pairs of rows, in the data's units.

    In float64, in which the distances come fast and exactly enough from one matrix product.
    """
    sums = [
        torch.cdist(one.double(), other.double(), compute_mode="use_mm_for_euclid_dist").sum()
        for one in left.split(CHUNK)
        for other in right.split(CHUNK)
    ]
    return float(torch.stack(sums).sum()) / (len(left) * len(right))


def energy_distance(samples: Tensor, real: Tensor) -> float:
    """2 E|X-Y| - E|X-X'| - E|Y-Y'| over all pairs of samples and real ones.

    Székely and Rizzo (2013), the V-statistic: never negative up to rounding, and slightly above 0
    for equal distributions. Rows are flattened; of more than 5,000 the first 5,000 are read. In
    the data's units; lower is better.
    """
    x, y = samples[:ENOUGH].flatten(1), real[:ENOUGH].flatten(1)
    return 2 * mean_distance(x, y) - mean_distance(x, x) - mean_distance(y, y)
