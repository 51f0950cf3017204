"""What data are: a name, the shape of one sample, and a way to draw."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import scipy.stats
import torch
from torch import Tensor

PLANAR_SHARE = 1 - math.exp(-4.5)
"""Share of a two-dimensional Gaussian within 3 standard deviations of its centre."""


class Data(Protocol):
    """Anything with a name, the shape of one sample, and `draw`."""

    @property
    def name(self) -> str:
        """What the data are called."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample: (dimensions,) or (channels, height, width)."""

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Independent samples, (count, *shape), float32, on the CPU."""


@dataclass(frozen=True, eq=False)
class Mixture:
    """Gaussians with known centres, so that modes can be counted.

    Attributes:
        name: what it is called.
        centres: (modes, dimensions).
        deviation: standard deviation of every mode in every dimension.
        weights: of the modes, (modes,), sum 1.
    """

    name: str
    centres: Tensor
    deviation: float
    weights: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """(dimensions,)."""
        return (self.centres.shape[1],)

    @property
    def radius(self) -> float:
        """How far from a centre a sample still belongs to the mode.

        3 standard deviations in two dimensions; in others the distance that holds the same share
        (98.89 %) of the mode.
        """
        dimensions = self.centres.shape[1]
        reach = 3.0 if dimensions == 2 else scipy.stats.chi.ppf(PLANAR_SHARE, dimensions)
        return float(reach) * self.deviation

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Fresh samples; the distribution is sampled itself, there is no finite training set."""
        modes = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        noise = torch.randn(count, self.centres.shape[1], generator=generator)
        return torch.add(self.centres[modes], noise, alpha=self.deviation)


@dataclass(frozen=True, eq=False)
class Curve:
    """Points around a curve, made from uniform parameters; no modes to count.

    Attributes:
        name: what it is called.
        shape: (dimensions,).
        trace: maps parameters in [0, 1), (count, 2), to points, (count, dimensions).
        deviation: standard deviation of the noise around the curve.
    """

    name: str
    shape: tuple[int, ...]
    trace: Callable[[Tensor], Tensor]
    deviation: float

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Fresh samples."""
        points = self.trace(torch.rand(count, 2, generator=generator))
        noise = torch.randn(points.shape, generator=generator)
        return torch.add(points, noise, alpha=self.deviation)


@dataclass(frozen=True, eq=False)
class Table:
    """A finite set of samples, drawn with replacement.

    Attributes:
        name: what it is called.
        values: (samples, *shape), float32, on the CPU.
        labels: classes, (samples,), int64, where known.
    """

    name: str
    values: Tensor
    labels: Tensor | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample."""
        return tuple(self.values.shape[1:])

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Samples drawn uniformly with replacement."""
        return self.values[torch.randint(len(self.values), (count,), generator=generator)]
