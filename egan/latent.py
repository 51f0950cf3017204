"""Arithmetic of noise: paths from one noise to another, and noise without its tails."""

from __future__ import annotations

import math

import torch
from torch import Tensor

SQRT2 = math.sqrt(2)
PARALLEL = 1e-9  # sine of an angle below which vectors share a line


def linear(start: Tensor, end: Tensor, shares: Tensor) -> Tensor:
    """The straight path.

    Args:
        start: noise, (n, noise_dimension).
        end: likewise.
        shares: of the way, in [0, 1], (steps,).

    Returns:
        (steps, n, noise_dimension).
    """
    return torch.lerp(start, end, shares.to(start)[:, None, None])


def spherical(start: Tensor, end: Tensor, shares: Tensor) -> Tensor:
    """The path along the great circle (White, 2016, Sampling Generative Networks, section 2.1).

    Between normal noises it stays about as far from 0 as these lie, where a straight path passes
    where there is hardly ever noise. Vectors on one line through 0 have no such circle, or many:
    between them the path is straight.

    Args:
        start: noise, (n, noise_dimension).
        end: likewise.
        shares: of the way, in [0, 1], (steps,).

    Returns:
        (steps, n, noise_dimension).
    """
    one, other, share = start.double(), end.double(), shares.double()[:, None, None]
    angle = _angle(one, other)
    sine = angle.sin()
    arc = (((1 - share) * angle).sin() * one + (share * angle).sin() * other) / sine
    return torch.where(sine > PARALLEL, arc, torch.lerp(one, other, share)).to(start)


def _angle(one: Tensor, other: Tensor) -> Tensor:
    """Between vectors, (n, 1); accurate for small angles too, as their cosine is not."""
    one, other = one * other.norm(dim=1, keepdim=True), other * one.norm(dim=1, keepdim=True)
    apart, along = (one - other).norm(dim=1), (one + other).norm(dim=1)
    return 2 * torch.atan2(apart, along)[:, None]


def truncated(noise: Tensor, threshold: float, distribution: str) -> Tensor:
    """Noise with no value beyond a threshold: the truncation trick (Brock et al., 2019, BigGAN).

    There, values beyond the threshold are drawn again until they lie within. Here every value goes
    to the same quantile of the distribution that this leaves: the normal one within the threshold,
    or U(-threshold, threshold). So the noise stays recognisable at every threshold.

    Args:
        noise: of any shape.
        threshold: above 0; infinity leaves the noise as it is, and so does 1 if it is uniform.
        distribution: "normal" or "uniform", of the noise.
    """
    if distribution == "uniform":
        return noise * min(threshold, 1.0)
    tail, beyond = _tail(noise.abs().double()), math.erfc(threshold / SQRT2) / 2
    size = -torch.special.ndtri(beyond + tail * (1 - 2 * beyond))
    return (size.clamp(0, threshold) * noise.sign()).to(noise)


def _tail(size: Tensor) -> Tensor:
    """The share of N(0, 1) beyond a size; `torch.special.ndtr` loses it in its rounding."""
    return torch.special.erfc(size / SQRT2) / 2


interpolations = {"linear": linear, "spherical": spherical}
"""Paths between noises, by name."""
USUAL = {"normal": "spherical", "uniform": "linear"}
"""The path that suits a distribution of noise."""
