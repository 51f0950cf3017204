"""Scores of images as distributions of features, from torchmetrics.

They take what a feature network made of samples (`features.Sight`), and of the data
(`features.Reference`).
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from egan.scores.classifiers import Sight
from egan.scores.features import Reference
from populations.randomness import seeded

LOGGER = logging.getLogger("egan")
WORST = 1e6  # a Frechet distance that no network's features reach
PARTS, PART = 100, 1_000  # of the kernel distance, as published
SPLITS = 10  # of the Inception score, as published
RAREST = -700.0  # logarithm of a probability that float64 still tells from 0
PAIRS = 1_000  # whose similarity, or distance, is averaged
KERNEL, SIGMA = 11, 1.5  # of structural similarity, as published
SHARES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of its scales, as published


def frechet_distance(seen: Sight, real: Reference) -> float:
    """Squared Frechet distance between Gaussians fitted to features.

    Heusel et al. (2017), Eq. 6: |m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)). Real features are those
    of up to 50,000 images of the data. With samples hardly more than dimensions it is too large. Of
    fewer than two samples, or of features that are not finite, it is a million.
    """
    features = seen.features.double()
    found = _frechet(features, real) if len(features) > 1 and real.size > 1 else float("nan")
    if math.isfinite(found):
        return min(WORST, max(0.0, found))
    LOGGER.warning(
        "The Frechet distance needs two samples and two real ones with finite features: it is set "
        f"to {WORST:,.0f}."
    )
    return WORST


def _frechet(features: Tensor, real: Reference) -> float:
    from torchmetrics.image.fid import FrechetInceptionDistance

    if not bool(torch.isfinite(features).all() & torch.isfinite(real.covariance).all()):
        return float("nan")
    metric = FrechetInceptionDistance(_Passing(features.shape[1])).set_dtype(torch.float64)
    metric.real_features_num_samples = torch.tensor(real.size)
    metric.real_features_sum = real.size * real.mean
    scatter = (real.size - 1) * real.covariance
    metric.real_features_cov_sum = scatter + real.size * torch.outer(real.mean, real.mean)
    metric.update(features, real=False)
    return float(metric.compute())


def kernel_distance(seen: Sight, real: Reference) -> float:
    """Squared maximum mean discrepancy of features, unbiased, by a cubic kernel.

    Binkowski et al. (2018), Eq. 4, with k(x, y) = (x.y / dimensions + 1)^3, of all samples and as
    many real ones; of more than 1,000 the mean over a hundred random parts of 1,000, as published.
    Around 0, and so also below it, where they are alike.
    """
    from torchmetrics.image.kid import KernelInceptionDistance

    fake = seen.features[: len(real.features)].double()
    real_features = real.features[: len(fake)].double()
    if len(fake) < 2:
        return float("nan")
    size, parts = min(PART, len(fake)), PARTS if len(fake) > PART else 1
    metric = _quiet(
        KernelInceptionDistance, _Passing(fake.shape[1]), subsets=parts, subset_size=size
    )
    with seeded(0, 0, "kernel distance"):
        metric.update(real_features, real=True)
        metric.update(fake, real=False)
        return float(metric.compute()[0])


def inception_score(seen: Sight, real: Reference) -> float:
    """How sure a classifier is of each sample and how unsure of all.

    Salimans et al. (2016): exp E KL(p(y|x) || p(y)), the mean of ten parts of the samples; between
    1 and the number of classes. It is published for Inception's classes; for other classifiers it
    is an analogue.
    """
    from torchmetrics.image.inception import InceptionScore

    assert seen.logits is not None
    metric = _quiet(
        InceptionScore, _Passing(seen.logits.shape[1]), splits=min(SPLITS, len(seen.logits))
    )
    with seeded(0, 0, "inception score"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "std\\(\\)")  # of one part
        metric.update(seen.logits.double().log_softmax(1).clamp(min=RAREST))
        return float(metric.compute()[0])


def ms_ssim(samples: Tensor) -> float:
    """Mean multi-scale structural similarity of pairs of samples.

    Wang et al. (2003), as a measure of diversity by Odena et al. (2017): of up to 1,000 pairs of
    neighbours in the order drawn. Images of less than 176 pixels have fewer than the published five
    scales, as many as the kernel of 11 pixels fits on, with their published weights rescaled.
    """
    from torchmetrics.functional.image import (
        multiscale_structural_similarity_index_measure as similarity,
    )

    left, right = pairs(samples)
    shares = SHARES[: scales(samples.shape[2:])]
    found = similarity(
        left, right, kernel_size=KERNEL, sigma=SIGMA, data_range=(-1.0, 1.0),
        betas=tuple(each / sum(shares) for each in shares), normalize="relu",
    )  # fmt: skip
    return float(found)


def pairs(samples: Tensor) -> tuple[Tensor, Tensor]:
    """Neighbours in the order drawn, up to 1,000."""
    count = 2 * min(PAIRS, len(samples) // 2)
    return samples[:count:2], samples[1:count:2]


def scales(sides: tuple[int, ...]) -> int:
    """Scales of `ms_ssim` that fit: sides are halved from one to the next; 0 or 1: too few."""
    side = min(sides)
    return sum(
        side // 2**scale >= KERNEL and side // max(1, scale**2) >= KERNEL  # torchmetrics' bound
        for scale in range(len(SHARES))
    )


class _Passing(nn.Module):
    """Features in the place of a network that makes them."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.num_features = dimensions

    def forward(self, features: Tensor) -> Tensor:
        return features


def _quiet(kind: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """A metric made without its warning of the memory that features take."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Metric `.*` will save all extracted features")
        return kind(*arguments, **options)
