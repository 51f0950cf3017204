"""Judges for mixtures whose modes are known.

All take samples, (n, dimensions), and the `Mixture`. A sample is of high quality when it lies
within `Mixture.radius` of the nearest centre: Euclidean 3 standard deviations in the plane.
"""

from __future__ import annotations

import torch
from torch import Tensor

from egan.data import Mixture

ENOUGH = 0.01  # share of all samples that makes a mode count


def _nearest(samples: Tensor, mixture: Mixture) -> tuple[Tensor, Tensor]:
    """Distance to the nearest centre and that centre's index, sample by sample."""
    distances = torch.cdist(samples, mixture.centres, compute_mode="donot_use_mm_for_euclid_dist")
    found = distances.min(dim=1)
    return found.values, found.indices


def _hits(samples: Tensor, mixture: Mixture) -> Tensor:
    """High-quality samples in each mode, (modes,)."""
    distance, mode = _nearest(samples, mixture)
    return torch.bincount(mode[distance <= mixture.radius], minlength=len(mixture.centres))


def modes_covered(samples: Tensor, mixture: Mixture) -> float:
    """Modes within whose 3 sigma at least 1 % of all samples lie.

    A mode whose own weight is below 2 % counts from half its weight on.
    """
    enough = torch.clamp(mixture.weights / 2, max=ENOUGH) * len(samples)
    return float((_hits(samples, mixture) >= enough).sum())


def modes_lenient(samples: Tensor, mixture: Mixture) -> float:
    """Modes within whose 3 sigma at least one sample lies (PacGAN's rule)."""
    return float((_hits(samples, mixture) > 0).sum())


def high_quality(samples: Tensor, mixture: Mixture) -> float:
    """Share of samples within 3 sigma (Euclidean) of the nearest centre."""
    return float((_nearest(samples, mixture)[0] <= mixture.radius).float().mean())


def high_quality_box(samples: Tensor, mixture: Mixture) -> float:
    """Share of samples within 3 sigma of the nearest centre in every coordinate."""
    _, mode = _nearest(samples, mixture)
    inside = (samples - mixture.centres[mode]).abs() <= 3 * mixture.deviation
    return float(inside.all(dim=1).float().mean())


def reverse_kl(samples: Tensor, mixture: Mixture) -> float:
    """KL(samples' modes || the mixture's weights) over high-quality samples, in nats.

    PacGAN's counts; all high-quality samples in one of k equal modes give log k, none gives inf.
    """
    return _divergence(_hits(samples, mixture), mixture)


def reverse_kl_all(samples: Tensor, mixture: Mixture) -> float:
    """KL(samples' modes || the mixture's weights) over all samples by nearest mode, in nats."""
    _, mode = _nearest(samples, mixture)
    return _divergence(torch.bincount(mode, minlength=len(mixture.centres)), mixture)


def _divergence(counts: Tensor, mixture: Mixture) -> float:
    if not int(counts.sum()):
        return float("inf")
    share = counts / counts.sum()
    return float(torch.special.xlogy(share, share / mixture.weights).sum())


def total_variation(samples: Tensor, mixture: Mixture) -> float:
    """Half the L1 distance between mode shares and weights, low-quality samples a mode of weight 0.

    Range [0, 1]: the share of samples that would have to move to another mode.
    """
    share = _hits(samples, mixture) / len(samples)
    return float((mixture.weights - share).clamp(min=0).sum())


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
    spread = kept - (sums / counts[:, None])[mode]
    return float(spread.square().mean().sqrt()) / mixture.deviation
