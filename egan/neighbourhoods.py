"""How much of the data a generator reaches and how its samples vary, each with a standard error.

Both are read off one set of samples against real ones that are set aside when a run begins, so that
two measurements of a run differ by the noise of their fakes alone. That noise is estimated by the
jackknife, from what each measurement would be without one of its fakes: it knows that one fake may
cover many neighbourhoods and that neighbourhoods overlap, where a binomial error, of so many
independent hits, is too small by a factor of up to 3. The jackknife errs towards too large
variances (Efron and Stein, 1981).

Neighbourhoods are wide: of 20 real samples in 1,000. Ones of five tell of samples that draw
together within their modes, as the default run's do, long before a mode is lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from egan.data import Data
from egan.fitness import distances, radii
from populations.randomness import generator as keyed
from populations.randomness import seeded

SAMPLES = 1000  # real ones that are set aside, and fakes of a measurement
NEIGHBOURS = 20  # real samples to which a neighbourhood reaches


class Estimate(NamedTuple):
    """A measured value and its standard error."""

    value: float
    error: float


@dataclass(frozen=True, eq=False)
class Neighbourhoods:
    """Real samples that are set aside, and how far their neighbourhoods reach.

    Attributes:
        real: different samples, (n, *shape), n > 20.
        radii: distances to each one's 20th nearest other sample, (n,), float64.
        distance: between two of them, the mean.
    """

    real: Tensor
    radii: Tensor
    distance: float


def set_aside(data: Data, seed: int) -> Neighbourhoods | None:
    """Neighbourhoods of samples drawn by a key of their own; None where too few are different.

    Data without end do not draw them again; of a table they are rows like any other.

    Args:
        data: from which 1,000 samples are drawn; equal ones count once.
        seed: of the run, on which they are keyed.
    """
    with seeded(seed, 0, "set aside"):  # data of one's own may draw as they like
        real = data.draw(SAMPLES, keyed(seed, 0, "set aside")).cpu().unique(dim=0)
    if len(real) <= NEIGHBOURS:
        return None
    count = len(real)
    mean = distances(real, real).sum() / (count * (count - 1))
    return Neighbourhoods(real, radii(real, NEIGHBOURS), float(mean))


def measure(fake: Tensor, aside: Neighbourhoods) -> dict[str, Estimate]:
    """Coverage and diversity of samples.

    Args:
        fake: three samples or more, (n, *shape).
        aside: real samples.

    Returns:
        `coverage`: the share of real samples with a fake in their neighbourhood (Naeem et al.,
        2020), in [0, 1]. `diversity`: the mean distance between two fakes over that between two
        real samples, of which more than 1 counts as 1. Both are 0 where a fake is not finite.
    """
    if not bool(torch.isfinite(fake).all()):
        return {"coverage": Estimate(0.0, 0.0), "diversity": Estimate(0.0, 0.0)}
    return {"coverage": _coverage(fake, aside), "diversity": _diversity(fake, aside)}


def _coverage(fake: Tensor, aside: Neighbourhoods) -> Estimate:
    near = distances(fake, aside.real) <= aside.radii
    hits = near.sum(0)
    alone = (near & (hits == 1)).sum(1)  # neighbourhoods that no other fake reaches
    count = len(aside.real)
    return Estimate(int((hits > 0).sum()) / count, _jackknife(alone / count))


def _diversity(fake: Tensor, aside: Neighbourhoods) -> Estimate:
    sums, count = distances(fake, fake).sum(1), len(fake)
    mean = sums.sum() / (count * (count - 1))
    without = (sums.sum() - 2 * sums) / ((count - 1) * (count - 2))
    return Estimate(
        min(1.0, float(mean) / aside.distance), _jackknife(without - mean) / aside.distance
    )


def _jackknife(changes: Tensor) -> float:
    """The standard error, of what leaving out each sample changes, (n,). Efron and Stein (1981)."""
    changes, count = changes.double(), len(changes)
    return float(((count - 1) * changes.var(correction=0)).sqrt())
