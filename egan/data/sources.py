"""What data are: a name, the shape of one sample, and a way to draw."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import scipy.stats
import torch
from torch import Tensor

from populations.randomness import generator as keyed

PLANAR_SHARE = 1 - math.exp(-4.5)
"""Share of a two-dimensional Gaussian within 3 standard deviations of its centre."""
CHANNELS = 3  # of stacked images
LOOKED_AT = 1000  # samples by which a table is known again
AT_ONCE = 1024 * 3 * 32 * 32  # values of samples that a network makes or sees at a time


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
        embedding: orthonormal columns, (dimensions, inner dimensions), within whose span the modes
            spread, where that is not the whole space.
        box: deviations from a centre within which a sample is of high quality by coordinates.
    """

    name: str
    centres: Tensor
    deviation: float
    weights: Tensor
    embedding: Tensor | None = None
    box: float = 3.0

    @property
    def shape(self) -> tuple[int, ...]:
        """(dimensions,)."""
        return (self.centres.shape[1],)

    @property
    def inner_dimensions(self) -> int:
        """Of the space in which the modes spread."""
        return (self.centres if self.embedding is None else self.embedding).shape[1]

    @property
    def radius(self) -> float:
        """How far from a centre a sample still belongs to the mode.

        3 standard deviations in two dimensions; in others the distance that holds the same share
        (98.89 %) of the mode.
        """
        inner = self.inner_dimensions
        reach = 3.0 if inner == 2 else scipy.stats.chi.ppf(PLANAR_SHARE, inner)
        return float(reach) * self.deviation

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Fresh samples; the distribution is sampled itself, there is no finite training set."""
        modes = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        noise = torch.randn(count, self.inner_dimensions, generator=generator)
        if self.embedding is not None:
            noise = noise @ self.embedding.T
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


def at_once(shape: tuple[int, ...], most: int) -> int:
    """How many samples of a shape a network makes or sees at a time, to bound memory."""
    return max(1, min(most, AT_ONCE // math.prod(shape)))


def scaled(values: Tensor) -> Tensor:
    """Pixels (uint8) as float32 in [-1, 1]; other values as they are."""
    return values if values.is_floating_point() else values.float() / 127.5 - 1


@dataclass(frozen=True, eq=False)
class Table:
    """A finite set of samples, drawn with replacement.

    Attributes:
        name: what it is called.
        values: (samples, *shape), on the CPU: float32, or pixels as uint8, drawn in [-1, 1].
        labels: classes, (samples,), int64, where known.
        unseen: samples that are not drawn, on which a classifier is tested, where the data come
            with such.
        flip: whether half of the images that are drawn are mirrored, left to right.
        classes: the names of the classes, where they have any.
        note: what whoever reads scores on these data must know.
        digest: a text that changes when the values do, where there is one cheaper than theirs.
        device: where samples are drawn to. Values that lie elsewhere travel as they are: pixels as
            bytes, a quarter of what they then become.
    """

    name: str
    values: Tensor
    labels: Tensor | None = None
    unseen: Table | None = None
    flip: bool = False
    classes: tuple[str, ...] = ()
    note: str = ""
    digest: str = ""
    device: torch.device = torch.device("cpu")

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample."""
        return tuple(self.values.shape[1:])

    @property
    def count(self) -> int:
        """Of classes; 0 where they are not known."""
        return 0 if self.labels is None else int(self.labels.max()) + 1

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Samples drawn uniformly with replacement, on `device`."""
        return self.take(torch.randint(len(self.values), (count,), generator=generator), generator)

    def take(self, chosen: Tensor, generator: torch.Generator) -> Tensor:
        """The samples of those indices, mirrored at random where that is asked for."""
        found = scaled(self.values[chosen.to(self.values.device)].to(self.device))
        if not self.flip:
            return found
        mirrored = torch.rand(len(chosen), 1, 1, 1, generator=generator) < 0.5
        return torch.where(mirrored.to(found.device), found.flip(-1), found)


def fingerprint(data: Data) -> str:
    """A text that changes when a table does, or what is stacked; empty: the data are drawn afresh.

    It is of a thousand samples and their labels, and the same on every machine.
    """
    table = data.table if isinstance(data, Stacked) else data
    if not isinstance(table, Table):
        return ""
    chosen = torch.randint(len(table.values), (LOOKED_AT,), generator=keyed(0, 0, "fingerprint"))
    parts = [table.values, *([] if table.labels is None else [table.labels])]
    digest = hashlib.sha256()
    for each in parts:
        digest.update(each[chosen.to(each.device)].cpu().contiguous().numpy().data)
    return digest.hexdigest()[:32]


def near(data: Data, device: torch.device) -> Data:
    """The data as drawn to a GPU, in whose memory a table lies that takes at most half of it."""
    if device.type != "cuda" or not isinstance(data, Table):
        return data
    free, _ = torch.cuda.mem_get_info(device)
    fits = 2 * data.values.nbytes <= free
    return replace(data, values=data.values.to(device) if fits else data.values, device=device)


@dataclass(frozen=True, eq=False)
class Stacked:
    """Images whose colour channels are three grey ones: a mode for each triple of classes.

    Metz et al. (2017), Unrolled GANs, section 3.3.1.

    Attributes:
        name: what it is called.
        pool: grey images that channels are drawn from, (images, 1, height, width), as of a `Table`.
        table: labelled grey images, from which a classifier learns to tell modes.
        triples: the pool's images that make a sample, (samples, 3), where there is a finite set of
            them; None: three are drawn for every sample.
    """

    name: str
    pool: Tensor
    table: Table
    triples: Tensor | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """(3, height, width)."""
        return (CHANNELS, *self.pool.shape[2:])

    @property
    def weights(self) -> Tensor:
        """Of the modes, (classes^3,): equal, as published; the classes of MNIST are nearly so."""
        assert self.table.labels is not None
        modes = len(self.table.labels.unique()) ** CHANNELS
        return torch.full((modes,), 1 / modes)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Samples of three images, each drawn uniformly with replacement."""
        if self.triples is None:
            chosen = torch.randint(len(self.pool), (count, CHANNELS), generator=generator)
        else:
            chosen = self.triples[torch.randint(len(self.triples), (count,), generator=generator)]
        return scaled(self.pool[chosen].flatten(1, 2))
