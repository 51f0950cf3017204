"""Fitness: pure functions of logits, gradients and samples; larger values are fitter.

Qualities read the logits of fakes. Arguments' names say what a diversity reads, of `SEEN`: `fake`
and `real` are samples, (n, *shape) each, `gradient` is that of the discriminator's objective,
`behaviour` the share of fakes nearest to each of k landmarks of the data, (k,), and `past` the
behaviours of parents and of earlier generations, (m, k), in the first generation none, m = 0
(`losses.reads` finds out, `losses.value` calls). Combinations make totals of both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from populations.ranking import mid_ranks

SEEN = ("fake", "real", "gradient", "behaviour", "past")
NEAREST = 5  # neighbours in a ball of coverage
NEIGHBOURS = 15  # in the past, from which novelty is measured


def probability(fake: Tensor) -> Tensor:
    """E sigma(s): the mean probability that fakes are taken for real.

    Wang et al. (2018), Eq. 6. Range (0, 1).
    """
    return fake.sigmoid().mean()


def logit(fake: Tensor) -> Tensor:
    """E s: the mean logit on fakes.

    Li et al. (2021, IE-GAN). Range (-inf, inf).
    """
    return fake.mean()


def none(fake: Tensor) -> Tensor:
    """0 for all: children are judged by their diversity alone."""
    return fake.new_zeros(())


qualities: dict[str, Callable[[Tensor], Tensor]] = {
    "probability": probability,
    "logit": logit,
    "none": none,
}


def diversity(gradient: Tensor) -> Tensor:
    """-log || grad_D L ||: how flat a child leaves the discriminator's objective.

    Wang et al. (2018), Eq. 7, over all the discriminator's parameters. Where the objective
    separates, its gradient is the sum of a real half, the same for all children, and a child's own.
    A gradient that vanishes, as the hinge's does beyond its margin, counts as the smallest normal
    number: such children are told apart by their quality.

    Args:
        gradient: of the whole objective, one entry a parameter of the discriminator.

    Returns:
        A scalar in [-inf, 87.4] of float32, -inf where the gradient overflows.
    """
    smallest = torch.finfo(gradient.dtype).tiny
    return -torch.linalg.vector_norm(gradient).clamp(min=smallest).log()


def pairwise(fake: Tensor) -> Tensor:
    """Mean absolute difference between two fakes, per dimension: how far apart they lie.

    Li et al. (2021, IE-GAN), who draw 5 partners for each fake; here over all pairs.

    Args:
        fake: two samples or more.

    Returns:
        A scalar in [0, inf), in the data's units.
    """
    flat = fake.flatten(1)
    return torch.pdist(flat, p=1).mean() / flat.shape[1]


def energy_distance(fake: Tensor, real: Tensor) -> Tensor:
    """-(2 E|x - y| - E|x - x'| - E|y - y'|): minus the energy distance to the real samples.

    Székely and Rizzo (2013), the U-statistic: pairs within a set are of two different samples. For
    equal distributions it is 0 on average, at any number of samples; with each sample beside
    itself, small batches would reward fakes for lying close together.

    Args:
        fake: two samples or more.
        real: likewise, not necessarily as many.

    Returns:
        A scalar in (-inf, inf), in the data's units.
    """
    within = _pair_distances(fake).mean() + _pair_distances(real).mean()
    return (within - 2 * distances(fake, real).mean()).to(fake.dtype)


def kernel_distance(fake: Tensor, real: Tensor) -> Tensor:
    """-MMD^2 under a Gaussian kernel as wide as the median distance of real samples.

    Gretton et al. (2012), Eq. 3, unbiased. The bandwidth reads no fakes, so that all children of a
    generation are measured by one kernel.

    Args:
        fake: two samples or more.
        real: likewise, not necessarily as many.

    Returns:
        A scalar in [-2, 2]; NaN where a fake is not finite.
    """
    inside, outside = _pair_distances(fake), _pair_distances(real)
    # Above 0 even where most real samples are the same.
    scale = 2 * outside.median().square().clamp(min=torch.finfo(outside.dtype).tiny)
    within, beyond, across = (
        (-each.square() / scale).exp().mean() for each in (inside, outside, distances(fake, real))
    )
    return (2 * across - within - beyond).to(fake.dtype) + zero(fake)


def coverage(fake: Tensor, real: Tensor) -> Tensor:
    """Share of real samples with a fake no farther off than their 5th nearest real neighbour.

    Naeem et al. (2020): coverage, with closed balls.

    Args:
        fake: one sample or more.
        real: more than five.

    Returns:
        A scalar in [0, 1]; NaN where a fake is not finite.

    Raises:
        ValueError: there are too few real samples.
    """
    covered = distances(fake, real).amin(0) <= radii(real)
    return covered.to(fake.dtype).mean() + zero(fake)


def radii(real: Tensor, nearest: int = NEAREST) -> Tensor:
    """Distance of each of n samples to its `nearest`-th nearest other one, (n,), float64.

    Raises:
        ValueError: there are too few.
    """
    if len(real) <= nearest:
        raise ValueError(f"coverage needs more than {nearest} real samples")
    # The nearest of a sample's neighbours is itself.
    return distances(real, real).topk(nearest + 1, dim=1, largest=False).values[:, -1]


def distances(left: Tensor, right: Tensor) -> Tensor:
    """Euclidean distances of all pairs of flattened samples, in float64.

    From one matrix product, which in float64 errs by less than float32 samples are rounded, and is
    several times faster on images than differences are.
    """
    x, y = (each.flatten(1).to(torch.float64) for each in (left, right))
    return torch.cdist(x, y, compute_mode="use_mm_for_euclid_dist")


def _pair_distances(samples: Tensor) -> Tensor:
    """Those of two different samples, each pair once."""
    count = len(samples)
    row, column = torch.triu_indices(count, count, 1, device=samples.device)
    return distances(samples, samples)[row, column]


def zero(samples: Tensor) -> Tensor:
    """0, or NaN where a sample is not finite."""
    return (samples - samples).mean()


def novelty(behaviour: Tensor, past: Tensor) -> Tensor:
    """Mean distance to the 15 nearest behaviours of parents and of earlier generations.

    Lehman and Stanley (2011), Eq. 1. The distance is the total variation between the two shares:
    how many of the samples lie elsewhere. A parent that competes with its children is measured from
    its own past too.

    Args:
        behaviour: of the child.
        past: fewer than 15 are all read; where there are none all are equally novel, 0.

    Returns:
        A scalar in [0, 1].
    """
    if not len(past):
        return behaviour.new_zeros(())
    distances = (behaviour - past).abs().sum(dim=1) / 2
    return distances.topk(min(NEIGHBOURS, len(past)), largest=False).values.mean()


Diversity = Callable[..., Tensor]

diversities: dict[str, Diversity] = {
    "gradient": diversity,
    "pairwise": pairwise,
    "energy-distance": energy_distance,
    "kernel-distance": kernel_distance,
    "coverage": coverage,
    "novelty": novelty,
}


def weighted_sum(
    qualities: Sequence[float], diversities: Sequence[float], gamma: float
) -> list[float]:
    """Quality + gamma * diversity (the paper).

    Wang et al. (2018), Eq. 8. What gamma means depends on the scale of both, which drifts.
    """
    return [
        quality + gamma * variety for quality, variety in zip(qualities, diversities, strict=True)
    ]


def ranks(qualities: Sequence[float], diversities: Sequence[float], gamma: float) -> list[float]:
    """The sum of ranks among the candidates, so that gamma means the same at every scale.

    A rank is the share of the other candidates that one is above, ties counted half. Range
    [0, 1 + gamma].
    """
    return weighted_sum(mid_ranks(qualities), mid_ranks(diversities), gamma)


Combination = Callable[[Sequence[float], Sequence[float], float], list[float]]

combinations: dict[str, Combination] = {
    "sum": weighted_sum,
    "ranks": ranks,
}
"""Totals of the candidates of a generation, from finite qualities and diversities and gamma."""
