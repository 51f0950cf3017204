"""Data that need no download: mixtures, curves and scikit-learn's handwritten digits."""

from __future__ import annotations

import math

import torch

from egan.data.sources import Curve, Mixture, Stacked, Table
from populations.errors import UsageError
from populations.randomness import generator as keyed

SQRT2 = 1.414  # as the released toys round it


def ring(modes: int = 8, radius: float = 2 / SQRT2, deviation: float = 0.02 / SQRT2) -> Mixture:
    """8 Gaussians on a circle, as in the released toy (radius 1.414, deviation 0.0141)."""
    angles = torch.arange(modes) * (2 * math.pi / modes)
    centres = radius * torch.stack([angles.cos(), angles.sin()], dim=1)
    return Mixture("ring", centres, deviation, torch.full((modes,), 1 / modes))


def ring_pacgan() -> Mixture:
    """8 Gaussians on a circle at PacGAN's scale (radius 1, deviation 0.01)."""
    return ring(radius=1.0, deviation=0.01)


def grid(side: int = 5, spacing: float = 2 / 2.828, deviation: float = 0.05 / 2.828) -> Mixture:
    """25 Gaussians on a grid, as in the released toy (spacing 0.707, deviation 0.0177)."""
    line = (torch.arange(side) - (side - 1) / 2) * spacing
    centres = torch.cartesian_prod(line, line)
    return Mixture("grid", centres, deviation, torch.full((side**2,), 1 / side**2))


def grid_pacgan() -> Mixture:
    """25 Gaussians on a grid at PacGAN's scale (spacing 2, deviation 0.05)."""
    return grid(spacing=2.0, deviation=0.05)


def random(
    modes: int = 12, dimensions: int = 2, deviation: float = 0.03, ratio: float = 4.0, seed: int = 0
) -> Mixture:
    """Gaussians of unequal weights at random centres (12 modes, weights up to 1 : 4).

    Args:
        modes: how many.
        dimensions: of the space.
        deviation: standard deviation of every mode.
        ratio: the largest weight over the smallest, >= 1; they form a geometric sequence.
        seed: of the centres, which keep a distance of 12 standard deviations.

    Raises:
        UsageError: so many modes do not fit, or the ratio is below 1.
    """
    if ratio < 1:
        raise UsageError(f"data_options.ratio is {ratio}: it must be at least 1.")
    draw = keyed(seed, 0, "centres")
    centres, misses = torch.empty(0, dimensions), 0
    while len(centres) < modes and misses < 1000:
        new = torch.rand(1, dimensions, generator=draw) * 3 - 1.5
        if not len(centres) or torch.cdist(centres, new).min() > 12 * deviation:
            centres, misses = torch.cat([centres, new]), 0
        else:
            misses += 1
    if len(centres) < modes:
        raise UsageError(f"{modes} modes of deviation {deviation} do not fit into the square.")
    weights = torch.logspace(0, math.log10(ratio), modes)
    return Mixture("random", centres, deviation, weights / weights.sum())


def random_64d() -> Mixture:
    """10 Gaussians of equal weights at random centres in 64 dimensions."""
    return random(modes=10, dimensions=64, deviation=0.1, ratio=1.0)


def veegan_1200d(deviation: float = 0.1, seed: int = 0) -> Mixture:
    """10 Gaussians of 700 dimensions in 1,200, as VEEGAN describes them.

    From Srivastava et al. (2017), section 4.1: ten isotropic Gaussians of 700 dimensions, embedded
    in a space of 1,200; 2,500 samples are judged, and are of high quality within 10 standard
    deviations of the nearest mode. They leave open the centres, the deviation, the weights and the
    embedding. Here samples are A (centre + deviation * noise): the entries of the centres and of
    the noise are standard normal, A has orthonormal columns that span a random subspace, and all
    modes weigh the same.

    The distance of a real sample from its centre is 26.5 deviations, give or take 0.7, so that 10
    read as a distance would call none of them good. High quality is therefore, as for all mixtures,
    the distance that holds 98.89 % of a mode (28.1 deviations); and by coordinates
    (`high-quality-box`) the published 10.

    Args:
        deviation: standard deviation of every mode in each of its 700 dimensions.
        seed: of the centres and of A.
    """
    draw = keyed(seed, 0, "centres")
    centres = torch.randn(10, 700, generator=draw)
    columns = torch.randn(1200, 700, generator=draw, dtype=torch.float64)
    embedding = torch.linalg.qr(columns).Q.float()
    weights = torch.full((10,), 1 / 10)
    return Mixture("veegan-1200d", centres @ embedding.T, deviation, weights, embedding, box=10.0)


def spiral(turns: float = 2.0, deviation: float = 0.02) -> Curve:
    """A planar spiral, evenly filled along its length: a curve, no modes."""

    def trace(uniform: torch.Tensor) -> torch.Tensor:
        way = uniform[:, 0].sqrt()  # the length of an Archimedean spiral grows with the square
        angle = 2 * math.pi * turns * way
        return 1.5 * way[:, None] * torch.stack([angle.cos(), angle.sin()], dim=1)

    return Curve("spiral", (2,), trace, deviation)


def swiss_roll(deviation: float = 0.02) -> Curve:
    """The Swiss roll, a rolled-up sheet in three dimensions."""

    def trace(uniform: torch.Tensor) -> torch.Tensor:
        angle = 1.5 * math.pi * (1 + 2 * uniform[:, 0])
        roll = torch.stack([angle * angle.cos(), angle * angle.sin()], dim=1) / 10
        return torch.cat([roll, uniform[:, 1:] * 2 - 1], dim=1)

    return Curve("swiss-roll", (3,), trace, deviation)


def digits() -> Table:
    """1,797 handwritten digits, grey 8x8 images in [-1, 1], from scikit-learn."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.tensor(bunch.images, dtype=torch.float32)[:, None] / 8 - 1
    return Table("digits", images, torch.tensor(bunch.target))


def stacked_digits() -> Stacked:
    """Three of scikit-learn's digits as colour channels, 8x8 in [-1, 1]: 1,000 modes."""
    table = digits()
    return Stacked("stacked-digits", table.values, table)
