"""Judges for data whose modes are known.

All take samples, (n, *shape), and the `Mixture`, some also `Stacked` images. A mixture's sample is
of high quality when it lies within `Mixture.radius` of the nearest centre: Euclidean 3 standard
deviations in the plane. Of stacked images every sample counts, in the mode that a classifier sees.
"""

from __future__ import annotations

import torch
from torch import Tensor

from egan.data import Mixture, Stacked
from egan.scores.classes import modes_of

ENOUGH = 0.01  # share of all samples that makes a mode count


def _nearest(samples: Tensor, mixture: Mixture) -> tuple[Tensor, Tensor]:
    """Distance to the nearest centre and that centre's index, sample by sample."""
    distances = torch.cdist(samples, mixture.centres, compute_mode="donot_use_mm_for_euclid_dist")
    found = distances.min(dim=1)
    return found.values, found.indices


def _hits(samples: Tensor, data: Mixture | Stacked) -> Tensor:
    """High-quality samples in each mode, (modes,)."""
    if isinstance(data, Stacked):
        return torch.bincount(modes_of(samples, data), minlength=len(data.weights))
    distance, mode = _nearest(samples, data)
    return torch.bincount(mode[distance <= data.radius], minlength=len(data.centres))


def modes_covered(samples: Tensor, data: Mixture | Stacked) -> float:
    """Modes within whose 3 sigma at least 1 % of all samples lie; of stacked images, any sample.

    A mixture's mode whose own weight is below 2 % counts from half its weight on. Of the modes of
    stacked images each counts that one sample is taken for, as published (Metz et al., 2017).
    """
    hits = _hits(samples, data)
    if isinstance(data, Stacked):
        return float((hits > 0).sum())
    enough = torch.clamp(data.weights / 2, max=ENOUGH) * len(samples)
    return float((hits >= enough).sum())


def modes_lenient(samples: Tensor, mixture: Mixture) -> float:
    """Modes within whose 3 sigma at least one sample lies (PacGAN's rule)."""
    return float((_hits(samples, mixture) > 0).sum())


def high_quality(samples: Tensor, mixture: Mixture) -> float:
    """Share of samples within 3 sigma (Euclidean) of the nearest centre."""
    return float((_nearest(samples, mixture)[0] <= mixture.radius).float().mean())


def high_quality_box(samples: Tensor, mixture: Mixture) -> float:
    """Share of samples within 3 sigma (`veegan-1200d`: 10) of a centre in every coordinate.

    Of the nearest centre, and within `Mixture.box` times sigma.
    """
    _, mode = _nearest(samples, mixture)
    inside = (samples - mixture.centres[mode]).abs() <= mixture.box * mixture.deviation
    return float(inside.all(dim=1).float().mean())


def reverse_kl(samples: Tensor, data: Mixture | Stacked) -> float:
    """KL(samples' modes || the data's weights) over high-quality samples, in nats.

    PacGAN's counts; all high-quality samples in one of k equal modes give log k, none gives inf. It
    depends on the number of samples: n real ones of k modes have about (k - 1) / 2n, and of stacked
    MNIST .0043 more, since its modes count as equal.
    """
    return _divergence(_hits(samples, data), data)


def reverse_kl_all(samples: Tensor, mixture: Mixture) -> float:
    """KL(samples' modes || the mixture's weights) over all samples by nearest mode, in nats."""
    _, mode = _nearest(samples, mixture)
    return _divergence(torch.bincount(mode, minlength=len(mixture.centres)), mixture)


def _divergence(counts: Tensor, data: Mixture | Stacked) -> float:
    if not int(counts.sum()):
        return float("inf")
    share = counts / counts.sum()
    return float(torch.special.xlogy(share, share / data.weights).sum())


def total_variation(samples: Tensor, data: Mixture | Stacked) -> float:
    """Half the L1 distance between mode shares and weights, low-quality samples a mode of weight 0.

    Range [0, 1]: the share of samples that would have to move to another mode.
    """
    share = _hits(samples, data) / len(samples)
    return float((data.weights - share).clamp(min=0).sum())


def deviation_ratio(samples: Tensor, mixture: Mixture) -> float:
    """Standard deviation of high-quality samples around their modes' means over the mixture's.

    Below 1 the modes are shrunken; nan without high-quality samples. The rule cuts real data's
    tails, so their ratio is slightly below 1 as well.
    """
    distance, mode = _nearest(samples, mixture)
    keep = distance <= mixture.radius
    kept, mode = samples[keep], mode[keep]
    counts = torch.bincount(mode, minlength=len(mixture.centres)).clamp(min=1)
    sums = torch.zeros_like(mixture.centres).index_add_(0, mode, kept)
    squares = (kept - (sums / counts[:, None])[mode]).square().sum(1)
    return float((squares.mean() / mixture.inner_dimensions).sqrt()) / mixture.deviation
